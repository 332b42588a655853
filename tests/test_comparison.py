"""The rules of comparison: how far an answer may be off, and what is said of one that is wrong."""

import math
import random

import pytest
import torch

from checks.comparison import agrees, difference, tolerance


def tensor(values):
    return torch.tensor(values, dtype=torch.float64)


def right(answer, truth, **how):
    return agrees(tensor(answer), tensor(truth), **how).tolist()


def three_digits(value):
    return float(f"{value:.3g}")


def test_every_rounding_to_three_digits_is_right():
    # Mistake caught: the tolerance is a hair too small at some power of ten, or at a half.
    source = random.Random(0)
    values = [source.choice([-1, 1]) * 10 ** source.uniform(-30, 30) for _ in range(2000)]
    values += [10.0**k for k in range(-30, 31)] + [1.125, 2.345, 0.9995, 99.95, 1e300, 5e-300]
    values += [math.nextafter(10.0**k, 0) for k in range(-30, 31)]
    for value in values:
        assert right([three_digits(value)], [value]) == [True], value


def test_a_digit_that_is_off_is_wrong():
    # Mistake caught: a tolerance that is too large: the third digit would not count.
    source = random.Random(1)
    for _ in range(2000):
        value = 10 ** source.uniform(-20, 20)
        unit = 10.0 ** (math.floor(math.log10(value)) - 2)
        for sign in (-1, 1):
            assert right([value + sign * 0.51 * unit], [value]) == [False], value
            assert right([value + sign * 0.49 * unit], [value]) == [True], value


def test_the_largest_entry_does_not_cover_the_others():
    # Mistake caught: a tolerance scaled by the largest entry takes −0.15 for 0.3 beside a 100.
    assert right([100.0, -0.15], [100.0, 0.3]) == [True, False]
    assert right([100.0, 0.3], [100.0, 0.3]) == [True, True]


def test_entries_that_cancel_to_nothing():
    # Mistake caught: 1e-9 beside a 1 is compared digit by digit, though it is only rounding.
    assert right([1.0, 0.0], [1.0, 3e-7]) == [True, True]
    assert right([1.0, 1.1e-6], [1.0, 0.0]) == [True, False]
    assert right([1.0, 0.9e-6], [1.0, 0.0]) == [True, True]


def test_a_truth_of_zeros():
    # Mistake caught: 0.1 + 0.2 − 0.3 is called wrong where 0 is right, or a small number right.
    assert right([0.1 + 0.2 - 0.3, 0.0], [0.0, 0.0]) == [True, True]
    assert right([1e-9, 0.0], [0.0, 0.0]) == [False, True]
    assert right([-0.0], [0.0]) == [True]


@pytest.mark.parametrize("truth", [1e-12, 1e-300, 5e-324])
def test_zero_is_not_right_for_a_small_number(truth):
    # Mistake caught: an absolute tolerance takes 0, an untouched stub, for a small gradient.
    assert right([0.0], [truth]) == [False]


def test_the_resolution_of_a_format_adds_to_the_tolerance():
    # Mistake caught: three digits, then stored as bfloat16, is refused: 0.246 becomes 0.24609.
    truth = 0.2464999
    stored = float(torch.tensor(three_digits(truth), dtype=torch.bfloat16))
    assert right([stored], [truth], resolution=2.0**-8) == [True]
    assert right([1.02], [1.0], resolution=2.0**-8) == [False]


def test_rounding_counts_only_where_the_truth_is_nothing_else():
    # Mistake caught: the noise of a cancelled entry widens what is taken for a real one.
    noise = tensor([1e-7, 1e-7])
    assert right([0.0, 0.0], [3e-8, -9e-8], rounding=noise) == [True, True]
    assert right([2e-7, 1.5e-7], [3e-8, 2e-7], rounding=noise) == [False, False]


def test_complex_numbers_are_compared_by_distance():
    # Mistake caught: only the real parts, or only the sizes, are compared.
    answer = torch.tensor([3 + 4j, 3 + 4j, 5], dtype=torch.complex128)
    truth = torch.tensor([3 + 4j, 3 - 4j, 3 + 4j], dtype=torch.complex128)
    assert agrees(answer, truth).tolist() == [True, False, False]


def test_no_entries():
    # Mistake caught: the largest of nothing is asked for.
    assert agrees(torch.zeros(0), torch.zeros(0)).tolist() == []
    assert tolerance(torch.zeros(0, 3)).shape == (0, 3)


def test_agrees_is_what_the_tolerance_says():
    # Mistake caught: the short cut of `agrees` decides otherwise than the rule.
    generator = torch.Generator().manual_seed(3)
    truth = torch.randn(10_000, generator=generator, dtype=torch.float64) * 10
    answer = truth * (1 + 0.01 * torch.randn(10_000, generator=generator, dtype=torch.float64))
    expected = (answer - truth).abs() <= tolerance(truth)
    assert 1000 < int(expected.sum()) < 9000
    assert torch.equal(agrees(answer, truth), expected)


# -- what is said of a wrong answer ----------------------------------------------------------------

TRUTH = [[1.5, -2.25], [4.125, 8.375]]


def said(answer, truth=TRUTH, **how):
    return difference(tensor(answer), tensor(truth), **how)


@pytest.mark.parametrize(
    "change, sentence",
    [
        (lambda t: -t, "Every entry has the wrong sign."),
        (lambda t: t * tensor([[1, 1], [1, -1]]), "Only its sign is wrong."),
        (lambda t: t * tensor([[1, -1], [-1, 1]]), "Only their signs are wrong."),
        (lambda t: t.abs(), "Only its sign is wrong."),
        (lambda t: t.T, "Your numbers are the right ones, transposed."),
        (lambda t: t.flip(0), "Your numbers are the right ones, in another order."),
        (lambda t: t * 0, "Your answer is all zeros."),
        (
            lambda t: t * 2,
            "It is consistent with a factor of 2 too much or too little in one step.",
        ),
        (
            lambda t: t / 2,
            "It is consistent with a factor of 2 too much or too little in one step.",
        ),
        (
            lambda t: t / 7,
            "It is consistent with a factor of 7 (a number of entries) too much or too little in "
            "one step.",
        ),
    ],
)
def test_patterns(change, sentence):
    # Mistake caught: a pattern is missed, or named as another.
    assert said(change(tensor(TRUTH)).tolist(), sizes={7})[-1] == sentence


def test_an_unnamed_factor_is_not_told():
    # Mistake caught: for one number every answer has a ratio to the truth, which gives it away.
    assert said([37.0], [12.0], sizes={1, 2, 5}) == ()
    assert len(said((tensor(TRUTH) * 3.7).tolist(), sizes={7})) == 1


def test_one_number():
    # Mistake caught: "All 1 entries are wrong".
    assert said([-12.0], [12.0]) == ("The sign is wrong.",)
    assert said([0.0], [12.0]) == ("Your answer is zero.",)


def test_a_sign_is_told_of_what_is_wrong_only():
    # Mistake caught: a zero, or what rounding has left of one, is counted among the wrong signs.
    noise = tensor([1e-7, 1e-7, 0.0, 0.0])
    found = said([0.0, -3e-8, -2.0, 4.0], [3e-8, 3e-8, 2.0, 4.0], rounding=noise)
    assert found == ("1 of 4 entries is wrong: `[2]`.", "Only its sign is wrong.")
    assert said([0.0, -2.0, 4.0], [0.0, 2.0, 4.0])[1] == "Only its sign is wrong."
    turned = torch.tensor([1 + 2j, 3.0]), torch.tensor([2 + 1j, 3.0])
    assert len(difference(*turned)) == 1


def test_which_entries_are_off():
    # Mistake caught: entries are listed with wrong indices, or a thousand of them.
    assert said([[1.5, -2.25], [4.125, 9.0]]) == ("1 of 4 entries is wrong: `[1, 1]`.",)
    assert said([[1.5, -2.0], [4.125, 9.0]]) == ("2 of 4 entries are wrong: `[0, 1]`, `[1, 1]`.",)
    assert said([[1.0, 2.0], [3.0, 4.0]]) == ("All 4 entries are wrong.",)
    many = said([1.0] * 5 + [2.0] * 15, [1.0] * 20)[0]
    assert many.startswith("15 of 20") and many.endswith("`[10]` and 9 more.")


def test_an_entry_that_is_only_rounding_is_not_listed():
    # Mistake caught: the learner is sent to look for a mistake in an entry that is right.
    noise = tensor([1e-7, 1e-7])
    assert said([0.0, 5.0], [3e-8, 4.0], rounding=noise) == ("1 of 2 entries is wrong: `[1]`.",)


def test_a_size_of_nothing_is_no_factor():
    # Mistake caught: an empty tensor somewhere in the graph, and the check divides by zero.
    found = difference(torch.tensor([3.0]), torch.tensor([7.0]), sizes={0, 1, 2})
    assert found == ()
