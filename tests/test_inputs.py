"""The inputs on which a learner's function is tried: what is drawn, and how it is made."""

import math
from random import Random

import pytest
import torch

from checks.inputs import (
    PATTERN,
    Classes,
    Numbers,
    Recipe,
    _spread,
    _table,
    letters,
    profiles,
    simplest,
    telling,
)

KINDS = {"X": Numbers(("N", "D")), "w": Numbers(("D",))}
SIZES = (("N", 4), ("D", 2))


def ones(profile):
    """A recipe of nothing but ones: what is made of them shows how they are scaled."""
    return Recipe(SIZES, profile, (bytes(PATTERN),) * (len(KINDS) + 1))


def test_each_profile_scales_in_its_own_way():
    # Mistake caught: two profiles are the same; a large tensor has large ones beside it.
    odd = 1.0372519
    expected = [(1.0, 1.0, 1.0)]
    for which in range(3):
        for one, others in ((30.0, 0.1), (6.0, 0.3), (0.05, 1.0), (0.001, 1.0)):
            expected.append(tuple(odd * (one if k == which else others) for k in range(3)))
    expected += [(odd, odd, 1000 * odd), (odd, odd, odd)]
    made = []
    for profile in range(profiles(KINDS)):
        inputs, upstream = ones(profile).inputs(KINDS), ones(profile).upstream((4,), KINDS)
        for tensor in (*inputs.values(), upstream):
            assert len({*tensor.flatten().tolist()} - {0.0}) == 1
        made.append((inputs["X"][0, 0].item(), inputs["w"][0].item(), upstream[1].item()))
    assert made == [pytest.approx(one) for one in expected]


def test_zeros_stand_in_the_upstream_of_the_last_profile_only():
    # Mistake caught: a function that treats 0 as a special case is never met with one; or always.
    last = profiles(KINDS) - 1
    for profile in range(last + 1):
        inputs, upstream = ones(profile).inputs(KINDS), ones(profile).upstream((5,), KINDS)
        assert all((tensor != 0).all() for tensor in inputs.values())
        assert (upstream == 0).tolist() == [profile == last and k in (0, 3) for k in range(5)]


def test_shapes_and_a_pattern_that_repeats():
    # Mistake caught: numbers of another tensor's pattern, or an index behind the end of one.
    recipe = Recipe(SIZES, 0, (bytes([0, 2, 4]), bytes([1, 3, 5]), bytes([6, 7, 8])))
    made = recipe.inputs(KINDS)
    assert made["X"].tolist() == [[1, 2], [3, 1], [2, 3], [1, 2]]
    assert made["w"].tolist() == [-1, -2]
    assert recipe.upstream((), KINDS).item() == 0.5
    assert recipe.used(KINDS) == [3, 2, 3]


@pytest.mark.parametrize("above", [-math.inf, -2.0, 0.0, 5.0])
@pytest.mark.parametrize("below", [math.inf, 6.0])
@pytest.mark.parametrize("profile", [0, 1, 4, 8])
def test_numbers_lie_between_their_bounds(above, below, profile):
    # Mistake caught: the logarithm of a number that is not positive.
    kinds = {"x": Numbers((256,), above, below)}
    made = Recipe((), profile, (bytes(range(256)), bytes(1))).inputs(kinds)["x"]
    assert (made > above).all() and (made < below).all()
    assert made.unique().numel() > 100
    if math.isinf(above) and math.isinf(below):
        assert (made < 0).any() and (made > 0).any()


def test_classes_are_all_of_those_there_are():
    # Mistake caught: an index out of range, or the last class is never met.
    kinds = {"y": Classes(("N",), below="K")}
    made = Recipe((("N", 9), ("K", 3)), 1, (bytes(range(9)), bytes(1))).inputs(kinds)["y"]
    assert made.dtype == torch.int64 and made.tolist() == [0, 1, 2] * 3


def test_the_table_begins_with_what_is_simple():
    # Mistake caught: the smallest input has numbers of two decimals, or a 0, where all is easy.
    table = _table()
    assert table[:6] == [1, -1, 2, -2, 3, -3]
    assert len(table) == len({*table}) == 256
    assert min(map(abs, table)) > 0 and max(table) == 3.0
    assert table == [pytest.approx(round(x, 2)) for x in table]


def test_every_range_of_numbers_is_met():
    # Mistake caught: a function that is wrong between 0.1 and 0.4 only is never asked there.
    table = _table()
    ranks = {code: sorted(table).index(x) // 32 for code, x in enumerate(table)}
    drawn = _spread(61, Random("1"))
    assert len(drawn) >= 61
    for k in range(0, len(drawn) - 7, 8):
        assert sorted(ranks[code] for code in drawn[k : k + 8]) == [*range(8)]
    assert drawn == _spread(61, Random("1")) != _spread(61, Random("2"))


@pytest.mark.parametrize(
    "shapes, often",
    [({"x": ()}, 240 // 11), ({"x": ("N",)}, 6), ({"X": ("N", "D")}, 2), (KINDS, 2)],
)
def test_how_often_each_profile_is_tried(shapes, often):
    # Mistake caught: of single numbers too few are tried to meet each range, or all are the same.
    kinds = {k: Numbers(s) if isinstance(s, tuple) else s for k, s in shapes.items()}
    made = telling(kinds)
    assert [recipe.profile for recipe in made] == [
        profile for profile in range(profiles(kinds)) for _ in range(often)
    ]
    assert len({*made}) == len(made)
    assert all(len({*recipe.patterns}) == len(kinds) + 1 for recipe in made)
    sizes = dict(made[0].sizes)
    assert list(sizes) == letters(kinds) and len({*sizes.values()}) == len(sizes)
    assert all(size > 1 for size in sizes.values())


def test_the_simplest_input():
    # Mistake caught: the smallest failing input is not the smallest there is.
    kinds = {"X": Numbers(("N", 3)), "y": Classes(("N",), below="K")}
    assert letters(kinds) == ["N", "K"]
    made = simplest(kinds).inputs(kinds)
    assert made["X"].tolist() == [[1, 1, 1]] and made["y"].tolist() == [0]
    assert simplest(kinds, negative=True).inputs(kinds)["X"].tolist() == [[-1, -1, -1]]
    assert simplest(kinds).upstream((1, 3), kinds).tolist() == [[1, 1, 1]]
