"""Whether the numbers that a learner gave are the ones that a mistake gives.

Matching is as exact as the digits that were given: `7.5` stands for 7.50, the numbers of a float32
tensor for about six digits. And a few round numbers fit something by chance: how much an answer
says is counted, in digits.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

_FEWEST, _MOST = 3, 6  # digits that an answer is held to
_LOOSE_SHARE = 1e-6
_TELLING = 5  # digits in all


@dataclass(frozen=True)
class Given:
    """The numbers that a learner gave, float64 or complex128, and the type that they came in."""

    numbers: Tensor
    dtype: torch.dtype = torch.float64

    @cached_property
    def digits(self) -> int:
        """The significant digits of the most exact entry, between 3 and 6."""
        most = max((_digits(x, self.dtype) for x in self.numbers.flatten().tolist()), default=0)
        return min(max(most, _FEWEST), _MOST)

    @cached_property
    def weight(self) -> float:
        """How many digits the answer has in all: few can fit something by chance."""
        return sum(_digits(x, self.dtype) for x in self.numbers.flatten()[:64].tolist())

    @property
    def is_telling(self) -> bool:
        """Whether the numbers are so many, or so exact, that they hardly fit by chance."""
        return self.numbers.numel() > 1 and self.weight >= _TELLING

    def is_given_by(self, gradient: Tensor) -> bool:
        """Whether a mistake that results in `gradient` gives these numbers, shape and all."""
        if gradient.shape != self.numbers.shape:
            return False
        wanted = gradient.detach().cpu().to(self.numbers.dtype)
        if not torch.isfinite(wanted).all():
            return False
        return bool(((self.numbers - wanted).abs() <= self._slack(wanted)).all())

    def _slack(self, wanted: Tensor) -> Tensor:
        size = wanted.abs()
        if self.digits == _MOST:
            relative = 1e-5 if self.dtype not in _COARSE else torch.finfo(self.dtype).eps
            slack = relative * size
        else:
            unit = torch.floor(torch.log10(size)) - (self.digits - 1)
            slack = torch.where(size > 0, 10.0**unit / 2, 0.0)
        return slack * (1 + 1e-9) + _LOOSE_SHARE * (size.max() if size.numel() else 0.0)


_COARSE = (torch.float16, torch.bfloat16)


def _digits(number: float | complex, dtype: torch.dtype) -> int:
    """Significant digits of a number as it would be written down."""
    if isinstance(number, complex):
        return max(_digits(number.real, dtype), _digits(number.imag, dtype))
    if dtype in (torch.float32, *_COARSE):
        text = f"{number:.6g}" if dtype is torch.float32 else f"{number:.3g}"
    else:
        text = f"{number:.12g}"
    mantissa = text.split("e")[0].replace("-", "").replace(".", "").lstrip("0").rstrip("0")
    return len(mantissa)
