"""Inputs for a function that is checked, and how each is made from a few bytes.

Numbers come from a table that begins with 1, 2, -1 and goes on to numbers of two decimals up to 3,
of both signs and never 0. In special profiles the numbers of one tensor are larger (up to 93) or
smaller (down to 0.0001), or the upstream gradient goes into the thousands, or has
some zeros.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from random import Random

import torch
from torch import Tensor

from checks.states import StateError
from checks.wording import a

Size = str | int
UPSTREAM = "upstream"
_TELLING = (7, 4, 5, 3, 6, 2)  # sizes for the input on which a mistake is looked for
PATTERN = 17  # numbers that are drawn for a tensor; a larger one repeats them
_LONG_PATTERN = 61
_SINGLE = 240  # inputs that are tried besides, where all are single numbers
# The special profiles: how much larger or smaller one tensor is, and all others beside it. Beside a
# large one the others are small, so that no exponential of a sum of products overflows.
_SPECIAL = ((30.0, 0.1), (6.0, 0.3), (0.05, 1.0), (0.001, 1.0))
_ODD = 1.0372519  # times that: a function that rounds to a few decimals finds none to keep
_LARGEST_UPSTREAM = 1000.0  # of the last profile but one; what is clipped is not linear in it
_EVERY = 3  # so many entries from one 0 to the next in the upstream gradient of the last profile


@dataclass(frozen=True)
class Numbers:
    """An input of float64 numbers strictly between two bounds."""

    shape: tuple[Size, ...]
    above: float = -math.inf
    below: float = math.inf


@dataclass(frozen=True)
class Classes:
    """An input of whole numbers (int64) from 0 to `below` - 1, such as the target classes."""

    shape: tuple[Size, ...]
    below: Size


Kind = Numbers | Classes


def numbers(*shape: Size, above: float = -math.inf, below: float = math.inf) -> Numbers:
    """Describe an input of numbers between bounds, for `shapes` of `checks.rule`.

    `checks.numbers("N", "D", above=0)` holds positive numbers, for a logarithm, say.
    """
    return Numbers(shape, above, below)


def classes(*shape: Size, below: Size) -> Classes:
    """Describe an input of whole numbers, for `shapes` of `checks.rule`.

    `checks.classes("N", below="K")` holds N class indices from 0 to K - 1. No gradient is asked
    for it.
    """
    return Classes(shape, below)


def described(shapes: object) -> dict[str, Kind]:
    """Read the `shapes` of a check.

    Raises:
        StateError: they are not a dict of names and tuples of letters and whole numbers.
    """
    if not isinstance(shapes, dict) or not shapes:
        raise StateError('`shapes` must be a dict of names and shapes, such as {"X": ("N", "D")}.')
    kinds = {}
    for name, given in shapes.items():
        if type(name) is not str or not name.isidentifier() or name == UPSTREAM:
            raise StateError(f"A key of `shapes` must be the name of an input, not {name!r}.")
        kind = Numbers(given) if isinstance(given, tuple) else given
        if not isinstance(kind, (Numbers, Classes)):
            raise StateError(f"The shape of `{name}` must be a tuple, but it is {a(given)}.")
        for size in _sizes(kind):
            if not (type(size) is int and size > 0) and not (
                type(size) is str and size.isidentifier()
            ):
                text = f"A size of `{name}` must be a letter or a number from 1, not {size!r}."
                raise StateError(text)
        kinds[name] = kind
    return kinds


@dataclass(frozen=True)
class Recipe:
    """What is drawn of one input: enough to make it again."""

    sizes: tuple[tuple[str, int], ...]
    profile: int  # 0: all numbers about 1; then the special ones of each tensor
    patterns: tuple[bytes, ...]  # of each input, then of the upstream gradient

    def inputs(self, kinds: Mapping[str, Kind]) -> dict[str, Tensor]:
        """Make the tensors."""
        made = {}
        for place, (name, kind) in enumerate(kinds.items()):
            shape = tuple(self._size(size) for size in kind.shape)
            codes = self._codes(place, math.prod(shape))
            if isinstance(kind, Classes):
                flat = torch.tensor([c % self._size(kind.below) for c in codes], dtype=torch.int64)
            else:
                flat = _between(_drawn(codes), self._scale(place), kind)
            made[name] = flat.reshape(shape)
        return made

    def upstream(self, shape: Sequence[int], kinds: Mapping[str, Kind]) -> Tensor:
        """Make the upstream gradient, of the shape of the forward result."""
        numbers = _drawn(self._codes(len(kinds), math.prod(shape)))
        if self.profile == profiles(kinds) - 1:
            numbers[::_EVERY] = 0.0
        return (numbers * self._scale(len(kinds))).reshape(tuple(shape))

    def used(self, kinds: Mapping[str, Kind]) -> list[int]:
        """How many numbers of each pattern can make a difference, at most."""
        counts = [math.prod(map(self._size, kind.shape)) for kind in kinds.values()]
        return [min(n, len(p)) for n, p in zip([*counts, PATTERN], self.patterns, strict=True)]

    def _size(self, size: Size) -> int:
        return dict(self.sizes)[size] if isinstance(size, str) else size

    def _codes(self, place: int, count: int) -> list[int]:
        pattern = self.patterns[place]
        return [pattern[k % len(pattern)] for k in range(count)]

    def _scale(self, place: int) -> float:
        if not self.profile:
            return 1.0
        which, special = divmod(self.profile - 1, len(_SPECIAL))
        if which == len(self.patterns):
            is_large = special == 0 and place == which - 1
            return _ODD * (_LARGEST_UPSTREAM if is_large else 1.0)
        return _ODD * _SPECIAL[special][place != which]


def letters(kinds: Mapping[str, Kind]) -> list[str]:
    """The sizes that are drawn, in the order in which they occur."""
    every = [size for kind in kinds.values() for size in _sizes(kind)]
    return list(dict.fromkeys(size for size in every if isinstance(size, str)))


def _sizes(kind: Kind) -> tuple[Size, ...]:
    return (*kind.shape, kind.below) if isinstance(kind, Classes) else kind.shape


def simplest(kinds: Mapping[str, Kind], *, negative: bool = False) -> Recipe:
    """The smallest input of all: sizes of 1, and ones; or -1 for each number."""
    sizes = tuple((name, 1) for name in letters(kinds))
    return Recipe(sizes, 0, (bytes([negative]) * PATTERN,) * (len(kinds) + 1))


def telling(kinds: Mapping[str, Kind]) -> list[Recipe]:
    """Inputs on which mistakes differ from each other: unequal sizes, numbers of two decimals.

    The first is plain; then come all profiles, so often that every range of numbers is met.
    """
    names = letters(kinds)
    sizes = tuple((name, _TELLING[k % len(_TELLING)]) for k, name in enumerate(names))
    often = {0: _SINGLE // profiles(kinds), 1: 6}.get(len(names), 2)
    made = []
    for profile in range(profiles(kinds)):
        spread = [
            _spread(often + _LONG_PATTERN, Random(f"{profile} {k}")) for k in range(len(kinds) + 1)
        ]
        for k in range(often):
            patterns = tuple(codes[k : k + _LONG_PATTERN] for codes in spread)
            made.append(Recipe(sizes, profile, patterns))
    return made


def _spread(count: int, source: Random) -> bytes:
    """Random codes; of eight that follow each other, one from each eighth of the numbers."""
    every = sorted(range(len(_TABLE)), key=_TABLE.__getitem__)
    eighth = len(every) // 8
    codes: list[int] = []
    while len(codes) < count:
        codes += (every[eighth * k + source.randrange(eighth)] for k in source.sample(range(8), 8))
    return bytes(codes)


def profiles(kinds: Mapping[str, Kind]) -> int:
    """How many there are: the plain one, those for each tensor, a large upstream, one with 0."""
    return 3 + len(_SPECIAL) * (len(kinds) + 1)


def _table() -> list[float]:
    """The numbers that are drawn, the simplest first."""
    simple = [1, 2, 3, 0.5, 1.5, 2.5]
    tenths = [k / 10 for k in range(1, 31) if k / 10 not in simple]
    hundredths = [k / 100 for k in range(7, 300, 2) if k % 10]
    return [sign * x for x in [*simple, *tenths, *hundredths][:128] for sign in (1, -1)]


_TABLE = _table()


def _drawn(codes: Sequence[int]) -> Tensor:
    return torch.tensor([_TABLE[code] for code in codes], dtype=torch.float64)


def _between(values: Tensor, scale: float, kind: Numbers) -> Tensor:
    """Bring numbers between the bounds of an input."""
    if math.isfinite(kind.above) and math.isfinite(kind.below):
        return kind.above + (kind.below - kind.above) * (values + 3.2) / 6.4
    if math.isfinite(kind.above):
        return kind.above + scale * values.abs()
    if math.isfinite(kind.below):
        return kind.below - scale * values.abs()
    return scale * values
