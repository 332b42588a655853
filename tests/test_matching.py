"""Whether numbers are those of a mistake: as exactly as they were given, and no more."""

import pytest
import torch

from checks.matching import Given


def given(*numbers, resolution=0.0):
    return Given(torch.tensor(numbers, dtype=torch.float64), resolution)


def tensor(*numbers):
    return torch.tensor(numbers, dtype=torch.float64)


@pytest.mark.parametrize(
    "number, near, far",
    [
        (7.5, 7.5049, 7.5051),  # stands for 7.50: three digits at least
        (-7.5, -7.4951, -7.4949),
        (7.501, 7.50149, 7.50151),
        (75010.0, 75014.0, 75016.0),  # a round number has as many digits as it shows
        (7.512345, 7.51241, 7.51250),  # six digits are enough
        (0.007, 0.00749, 0.00751),  # rounded to three digits behind the point
    ],
)
def test_a_number_stands_for_its_digits(number, near, far):
    # Mistake caught: a mistake that gives another number is named; or the right one is not.
    assert given(number, 1.0).is_given_by(tensor(near, 1.0))
    assert not given(number, 1.0).is_given_by(tensor(far, 1.0))


def test_every_entry_must_fit():
    # Mistake caught: the largest entry alone decides.
    assert given(100.0, 1.5).is_given_by(tensor(100.0, 1.5))
    for other in (tensor(100.0, 1.7), tensor(1.5, 100.0), tensor(100.0), tensor(100.0, 1.5)[None]):
        assert not given(100.0, 1.5).is_given_by(other)
    for odd in (float("nan"), float("inf")):
        assert not given(100.0, 1.5).is_given_by(tensor(100.0, odd))
    assert not given().is_given_by(tensor())  # nothing is no evidence


def test_a_coarse_format_is_held_to_its_digits():
    # Mistake caught: what a float16 makes of 1/3 is taken for a number of twelve digits.
    third = given(float(torch.tensor(1 / 3).half()), 2.0, resolution=2.0**-11)
    assert third.is_given_by(tensor(1 / 3, 2.0))
    assert not third.is_given_by(tensor(0.335, 2.0))
    coarse = given(float(torch.tensor(9.99).half()), 2.0, resolution=2.0**-11)
    assert coarse.is_given_by(tensor(9.9845, 2.0))
    assert not coarse.is_given_by(tensor(9.98, 2.0))
    assert third.alike() == pytest.approx((2 * 2 / 0.001 + 1) ** 2)


def test_complex_numbers():
    # Mistake caught: the imaginary part is not looked at.
    numbers = Given(torch.tensor([1.25 + 2.5j, 3.0], dtype=torch.complex128))
    assert numbers.is_given_by(torch.tensor([1.25 + 2.5j, 3.0]))
    assert not numbers.is_given_by(torch.tensor([1.25 - 2.5j, 3.0]))
    assert not numbers.is_given_by(torch.tensor([1.25 + 2.6j, 3.0]))


@pytest.mark.parametrize(
    "numbers, size, count",
    [
        ((3.0,), 0.0, 7),  # -3 … 3
        ((3.0,), 10.0, 21),
        ((3.0, 0.0), 0.0, 7),  # that an entry is zero tells nothing
        ((3.0, -2.0), 0.0, 49),
        ((2.5,), 0.0, 51),
        ((0.25, 3.0), 0.0, 601**2),
        ((1200.0,), 0.0, 2401),
        ((1 / 3,), 0.0, 2_000_001),  # more than six digits are no more evidence
    ],
)
def test_how_many_answers_look_alike(numbers, size, count):
    # Mistake caught: round numbers are taken for evidence, or long ones are not.
    assert given(*numbers).alike(size) == pytest.approx(count)


def test_which_numbers_are_evidence():
    # Mistake caught: "your numbers are what comes out when …", said of one number, or of 2 and 3.
    assert given(1.234, 5.678).is_telling
    assert not given(1.23456).is_telling
    assert not given(3.0, 2.0).is_telling
    assert given(*range(1, 8)).is_telling


def test_each_number_is_rounded_to_its_own_last_digit():
    # Mistake caught: "rounded too much" is said of none but numbers of the same length; or of one
    # digit that fits by chance.
    assert given(1.5, 0.225).is_rounded(tensor(1.54, 0.2251))
    assert not given(1.5, 0.225).is_rounded(tensor(1.54, 0.2256))
    assert not given(1.5, 0.225).is_rounded(tensor(1.56, 0.2251))
    for halfway in (1.2, 1.3):
        assert given(halfway, 0.225).is_rounded(tensor(1.25, 0.2251))
    assert given(2.0, 0.225).is_rounded(tensor(2.0004, 0.2251))
    assert not given(2.0, 0.225).is_rounded(tensor(2.004, 0.2251))


def test_which_numbers_are_as_round():
    # Mistake caught: an answer in whole numbers is compared with mistakes that give no such.
    assert given(3.0, 2.0).looks_like(tensor(5.0, -1.0))
    assert not given(3.0, 2.0).looks_like(tensor(5.5, -1.0))
    assert given(2.5, 1.0).looks_like(tensor(5.5, -1.0))
    assert not given(3.0, 2.0).looks_like(tensor(5.0, float("inf")))
