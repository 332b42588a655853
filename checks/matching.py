"""Whether the numbers that a learner gave are the ones that a mistake gives.

Matching is as exact as the digits that were given: `7.5` stands for 7.50, the numbers of a float32
tensor for about six digits. And round numbers fit something by chance: of two small whole numbers
there are only a few hundred, and a catalogue of mistakes may well contain a tenth of them.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_FEWEST, _MOST = 3, 6  # digits that an answer is held to
_CLOSE = 1e-5  # how near an answer of six digits or more must come, relative to each entry
_LOOSE_SHARE = 1e-6
_TELLING = 1e5  # answers that look alike
_WRITTEN = 12  # digits of a float64 that are looked at; those behind are rounding


@dataclass(frozen=True)
class Given:
    """The numbers that a learner gave, float64 or complex128.

    `resolution` is the rounding of the format that they came in, relative to each (see
    `answers.resolution`).
    """

    numbers: Tensor
    resolution: float = 0.0

    def is_given_by(self, gradient: Tensor) -> bool:
        """Whether a mistake that results in `gradient` gives these numbers, shape and all."""
        if gradient.shape != self.numbers.shape or not self._may_be(gradient):
            return False
        wanted = gradient.detach().cpu().to(self.numbers.dtype)
        if not torch.isfinite(wanted).all():
            return False
        return bool(((self.numbers - wanted).abs() <= self._slack(wanted)).all())

    def looks_like(self, gradient: Tensor) -> bool:
        """Whether all entries of `gradient` are as round as these numbers are."""
        wanted = gradient.detach().cpu().to(self.numbers.dtype)
        if not torch.isfinite(wanted).all():
            return False
        off = wanted - torch.round(wanted.real / self._unit) * self._unit
        return bool((off.abs() <= self._slack(wanted)).all())

    def alike(self, size: float = 0.0) -> float:
        """How many answers look like this one: as round, and up to its size or to `size`.

        Zeros do not count: that an entry is zero is easily got right by chance.
        """
        entries = int(self.numbers.count_nonzero())
        choices = 2 * max(self._largest, size) / self._unit + 1
        return math.exp(min(entries * math.log(choices), 100.0))

    @property
    def is_telling(self) -> bool:
        """Whether the numbers are so many, and so exact, that they hardly fit by chance."""
        return self.numbers.numel() > 1 and self.alike() >= _TELLING

    def is_rounded(self, gradient: Tensor) -> bool:
        """Whether these are the numbers of `gradient` with too few digits: all that are there fit.

        The largest must have two of them: one alone is no more than a guess.
        """
        if gradient.shape != self.numbers.shape or self._largest < 10 * self._unit:
            return False
        gap = (self.numbers - gradient.detach().cpu().to(self.numbers.dtype)).abs()
        return bool((gap <= self._last_digits / 2 * (1 + 1e-9)).all())

    # -- how exact the numbers are -------------------------------------------------------------

    @cached_property
    def _texts(self) -> list[tuple[int, int]]:
        """Of each number: its significant digits, and its digits behind the point."""
        numbers = torch.view_as_real(self.numbers) if self.numbers.is_complex() else self.numbers
        held = _WRITTEN
        if self.resolution:
            held = min(held, max(1, int(-math.log10(2 * self.resolution))))
        # Many entries of a large gradient are the same: each number is written down once.
        different, places = torch.unique(numbers, return_inverse=True)
        texts = [_digits(number, held) for number in different.tolist()]
        return [texts[place] for place in places.flatten().tolist()]

    @cached_property
    def _significant(self) -> int:
        most = max((significant for significant, _ in self._texts), default=0)
        return min(max(most, _FEWEST), _MOST)

    @cached_property
    def _unit(self) -> float:
        """The power of ten of which all numbers are multiples, no smaller than six digits tell."""
        decimals = max((behind for _, behind in self._texts), default=0)
        smallest = self._largest * 10.0**-_MOST
        return max(10.0**-decimals, smallest) or 1.0

    @cached_property
    def _last_digits(self) -> float | Tensor:
        """What one unit in the last digit of each number is; of a lone digit, that of them all."""
        if self.numbers.is_complex():
            return self._unit
        own = [10.0**-behind if digits > 1 else self._unit for digits, behind in self._texts]
        return torch.tensor(own, dtype=torch.float64).reshape(self.numbers.shape)

    @cached_property
    def _largest(self) -> float:
        return float(self.numbers.abs().max()) if self.numbers.numel() else 0.0

    def _may_be(self, gradient: Tensor) -> bool:
        """A quick look at the largest entry."""
        if not self.numbers.numel():
            return False
        place = self._place_of_largest
        there = complex(gradient.flatten()[place].item())
        ours = complex(self.numbers.flatten()[place].item())
        return abs(there - ours) <= (0.02 + 2 * self.resolution) * abs(ours)

    @cached_property
    def _place_of_largest(self) -> int:
        return int(self.numbers.abs().argmax())

    def _slack(self, wanted: Tensor) -> Tensor:
        size = wanted.abs()
        if self._significant == _MOST:
            slack = _CLOSE * size
        else:
            unit = torch.floor(torch.log10(size)) - (self._significant - 1)
            slack = torch.where(size > 0, 10.0**unit / 2, 0.0)
        if self._unit <= 10.0**-_FEWEST:  # rounded to so many digits behind the point
            slack = slack.clamp(min=self._unit / 2)
        slack = slack + self.resolution * size
        return slack * (1 + 1e-9) + _LOOSE_SHARE * (size.max() if size.numel() else 0.0)


def _digits(number: float, held: int) -> tuple[int, int]:
    """Significant digits, and digits behind the point, of a number as it would be written down."""
    mantissa, exponent = f"{number:.{held - 1}e}".split("e")
    digits = mantissa.replace("-", "").replace(".", "").rstrip("0")
    return len(digits), max(len(digits) - 1 - int(exponent), 0) if digits else 0
