"""The search for an input on which a function fails, and for the smallest such input."""

from collections import Counter
from pathlib import Path

import pytest

from checks.inputs import PATTERN, Numbers, Recipe, profiles
from checks.smallest import TRIED, _profile, any_failing, smaller

KINDS = {"X": Numbers(("N", "D")), "w": Numbers(("D",))}
ONES = bytes(PATTERN)


@pytest.mark.parametrize("count", [7, 15, 40])
def test_half_of_the_codes_stand_for_the_plain_profile(count):
    # Mistake caught: a profile that is never drawn, or one that there is not.
    drawn = Counter(_profile(code, count) for code in range(256))
    assert drawn.pop(0) == 128
    assert sorted(drawn) == [*range(1, count)]
    assert max(drawn.values()) - min(drawn.values()) <= 1


def test_many_different_inputs_are_tried(capsys, tmp_path, monkeypatch):
    # Mistakes caught: the same inputs again and again; other ones each time; words of Hypothesis in
    # the notebook, or its folder beside it.
    monkeypatch.chdir(tmp_path)
    tried = []

    def never(recipe):
        tried.append(recipe)
        return False

    assert any_failing(never, KINDS) is None
    first, tried[:] = [*tried], []
    assert any_failing(never, KINDS) is None
    assert first == tried and len({*tried}) == len(tried) > TRIED * 0.8
    assert len({recipe.sizes for recipe in tried}) > 15
    assert len({recipe.profile for recipe in tried}) > profiles(KINDS) / 2
    assert capsys.readouterr() == ("", "") and not [*Path(tmp_path).iterdir()]


def test_an_input_that_fails_is_found():
    # Mistake caught: what fails is not returned, or something else is.
    def fails(recipe):
        return dict(recipe.sizes) == {"N": 3, "D": 2}

    found = any_failing(fails, KINDS)
    assert found is not None and fails(found)


SOME = Recipe((("N", 4), ("D", 5)), 3, (bytes(range(90, 90 + PATTERN)),) * 3)


@pytest.mark.parametrize(
    "fails, smallest",
    [
        (lambda r: True, Recipe((("N", 1), ("D", 1)), 0, (ONES,) * 3)),
        (lambda r: dict(r.sizes)["D"] > 2, Recipe((("N", 1), ("D", 3)), 0, (ONES,) * 3)),
        (lambda r: r.profile == 3, Recipe((("N", 1), ("D", 1)), 3, (ONES,) * 3)),
        (
            lambda r: r.patterns[1][0] >= 7,
            Recipe((("N", 1), ("D", 1)), 0, (ONES, bytes([7]) + SOME.patterns[1][1:], ONES)),
        ),
    ],
)
def test_the_smallest_input(fails, smallest):
    # Mistake caught: something is still larger, or less plain, than it need be.
    found = smaller(fails, KINDS, SOME)
    assert fails(found)
    assert (found.sizes, found.profile) == (smallest.sizes, smallest.profile)
    for place, used in enumerate(found.used(KINDS)[:2]):
        assert found.patterns[place][:used] == smallest.patterns[place][:used]


def test_where_nothing_smaller_fails_it_stays():
    # Mistake caught: an input is shown on which the function is right.
    assert smaller(lambda recipe: recipe == SOME, KINDS, SOME) == SOME
