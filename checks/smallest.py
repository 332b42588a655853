"""Try a function on many inputs, drawn with Hypothesis, and find the smallest on which it fails."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import replace
from itertools import islice, product
from random import Random
from unittest import mock

from checks.inputs import PATTERN, Kind, Recipe, letters, profiles

TRIED = 100  # inputs
_LARGEST = 5  # of a size
_MANY = 5  # letters; where there are more, each goes to 3 only
_DRAWN = 4  # inputs of the same sizes, to see whether these sizes fail
_MOST_DRAWN = 400  # of them
_PLAIN = (12, 60)  # of the numbers that can be drawn, so many are tried, the plainest first

_Sizes = tuple[tuple[str, int], ...]


def any_failing(fails: Callable[[Recipe], bool], kinds: Mapping[str, Kind]) -> Recipe | None:
    """Try about a hundred inputs, the same ones each time; None where none fails.

    Nothing is printed, and nothing is written to the disk.

    Args:
        fails: tells whether an input makes the function fail.
        kinds: the inputs.
    """
    known: dict[Recipe, bool] = {}

    def failing(recipe: Recipe) -> bool:
        if recipe not in known:
            known[recipe] = fails(recipe)
        return known[recipe]

    return _find(failing, kinds, _every_size(letters(kinds)))


def smaller(fails: Callable[[Recipe], bool], kinds: Mapping[str, Kind], found: Recipe) -> Recipe:
    """Look for the smallest input that fails, where one is found: small sizes, plain numbers.

    Hypothesis could do that, too. But it makes one thing smaller at a time, with thousands of calls
    where there are many numbers, and is stuck where smaller sizes fail with other numbers only.
    """
    sizes = _every_size(letters(kinds))
    here = sizes.index(found.sizes) + 1 if found.sizes in sizes else len(sizes)
    scales = dict.fromkeys((0, found.profile))
    drawn = (
        Recipe(size, profile, patterns)
        for size in sizes[:here]
        for profile in scales
        for patterns in _draws(len(kinds) + 1)
    )
    best = next((recipe for recipe in islice(drawn, _MOST_DRAWN) if fails(recipe)), found)
    if best.profile and fails(replace(best, profile=0)):
        best = replace(best, profile=0)
    for most in _PLAIN:
        best = _plainer(fails, best, best.used(kinds), most)
    return best


def _draws(tensors: int) -> Iterator[tuple[bytes, ...]]:
    """The numbers that are tried at each size: ones, then some of both signs."""
    yield (bytes(PATTERN),) * tensors
    for k in range(_DRAWN):
        source = Random(k)
        yield tuple(source.randbytes(PATTERN) for _ in range(tensors))


def _plainer(
    fails: Callable[[Recipe], bool], recipe: Recipe, used: Sequence[int], most: int
) -> Recipe:
    """Put plainer numbers in, one after the other, as long as the function still fails."""
    patterns = list(recipe.patterns)

    def goes(place: int, pattern: bytes) -> bool:
        tried = [*patterns[:place], pattern, *patterns[place + 1 :]]
        if pattern == patterns[place] or not fails(replace(recipe, patterns=tuple(tried))):
            return False
        patterns[place] = pattern
        return True

    for place, count in enumerate(used):
        if goes(place, bytes(len(patterns[place]))):
            continue
        for k in range(count):
            for code in range(min(most, patterns[place][k])):
                if goes(place, patterns[place][:k] + bytes([code]) + patterns[place][k + 1 :]):
                    break
    return replace(recipe, patterns=tuple(patterns))


def _every_size(names: Sequence[str]) -> list[_Sizes]:
    """All that the letters may stand for, the smallest first."""
    largest = _LARGEST if len(names) <= _MANY else _LARGEST - 2
    every = sorted(product(range(1, largest + 1), repeat=len(names)), key=lambda s: (sum(s), s))
    return [tuple(zip(names, sizes, strict=True)) for sizes in every]


def _find(
    failing: Callable[[Recipe], bool],
    kinds: Mapping[str, Kind],
    sizes: Sequence[_Sizes],
) -> Recipe | None:
    import hypothesis  # a tenth of a second, and only this check needs it
    from hypothesis import strategies as st

    # All numbers at once: of several parts that are alike, Hypothesis would often copy one.
    length = 1 + PATTERN * (len(kinds) + 1)

    def recipe(sizes: _Sizes, drawn: bytes) -> Recipe:
        patterns = tuple(drawn[k : k + PATTERN] for k in range(1, length, PATTERN))
        return Recipe(sizes, _profile(drawn[0], profiles(kinds)), patterns)

    drawn = st.binary(min_size=length, max_size=length)
    settings = hypothesis.settings(
        max_examples=TRIED,
        database=None,
        deadline=None,
        backend="hypothesis",
        phases=[hypothesis.Phase.generate],
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
