"""Try a function on many inputs, drawn with Hypothesis, and find the smallest on which it fails."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from itertools import product
from random import Random
from unittest import mock

from checks.inputs import PATTERN, Kind, Recipe, letters, profiles

TRIED = 100  # inputs
_LARGEST = 5  # of a size
_MANY = 5  # letters; where there are more, each goes to 3 only

_Sizes = tuple[tuple[str, int], ...]


def smallest(
    fails: Callable[[Recipe], bool], kinds: Mapping[str, Kind], profile: int | None = None
) -> Recipe | None:
    """Try about a hundred inputs, the same ones each time; None where none fails.

    Nothing is printed, and nothing is written to the disk.

    Args:
        fails: tells whether an input makes the function fail; asked once for each input.
        kinds: the inputs.
        profile: the only profile to try, where not all are to be tried.
    """
    known: dict[Recipe, bool] = {}

    def failing(recipe: Recipe) -> bool:
        if recipe not in known:
            known[recipe] = fails(recipe)
        return known[recipe]

    sizes = _every_size(letters(kinds))
    best = _find(failing, kinds, sizes, profile)
    while best is not None:
        # Hypothesis makes one thing smaller at a time. That may be stuck where smaller sizes, or
        # plain numbers, fail with other numbers only: so new ones are drawn for these.
        here = sizes.index(best.sizes)
        smaller = _find(failing, kinds, sizes[:here], profile)
        if smaller is None and best.profile and profile is None:
            smaller = _find(failing, kinds, sizes[: here + 1], 0)
        if smaller is None:
            return best
        best = smaller
    return None


def _every_size(names: Sequence[str]) -> list[_Sizes]:
    """All that the letters may stand for, the smallest first."""
    largest = _LARGEST if len(names) <= _MANY else _LARGEST - 2
    every = sorted(product(range(1, largest + 1), repeat=len(names)), key=lambda s: (sum(s), s))
    return [tuple(zip(names, sizes, strict=True)) for sizes in every]


def _find(
    failing: Callable[[Recipe], bool],
    kinds: Mapping[str, Kind],
    sizes: Sequence[_Sizes],
    profile: int | None,
) -> Recipe | None:
    if not sizes:
        return None
    import hypothesis  # a tenth of a second, and only this check needs it
    from hypothesis import strategies as st

    # All numbers at once: of several parts that are alike, Hypothesis would often copy one.
    length = 1 + PATTERN * (len(kinds) + 1)

    def recipe(sizes: _Sizes, drawn: bytes) -> Recipe:
        which = _profile(drawn[0], profiles(kinds)) if profile is None else profile
        patterns = tuple(drawn[k : k + PATTERN] for k in range(1, length, PATTERN))
        return Recipe(sizes, which, patterns)

    drawn = st.binary(min_size=length, max_size=length)
    settings = hypothesis.settings(
        max_examples=TRIED,
        database=None,
        deadline=None,
        backend="hypothesis",
        phases=[hypothesis.Phase.generate, hypothesis.Phase.shrink],
        print_blob=False,
        verbosity=hypothesis.Verbosity.quiet,
    )
    with _no_constants():
        try:
            return hypothesis.find(
                st.builds(recipe, st.sampled_from(sizes), drawn),
                failing,
                settings=settings,
                random=Random(0),
            )
        except (hypothesis.errors.NoSuchExample, hypothesis.errors.Unsatisfiable):
            return None


def _profile(code: int, count: int) -> int:
    """One of so many profiles; half of the codes stand for the plain one."""
    return 0 if code < 128 else 1 + (code - 128) * (count - 1) // 128


def _no_constants() -> AbstractContextManager[object]:
    """Hypothesis draws nothing that it finds in the source of the modules around.

    What is tried would depend on these modules, and a folder `.hypothesis` would be written.
    """
    try:
        from hypothesis.internal.conjecture.providers import HypothesisProvider
    except ImportError:  # another version; what is lost is not worth the check
        return nullcontext()
    nothing = mock.Mock(return_value=None)
    return mock.patch.object(HypothesisProvider, "_maybe_draw_constant", nothing, create=True)
