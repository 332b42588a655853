"""Compare an answer with the truth: which entries differ, and by what pattern.

Shapes are compared before (in `answers`); here both tensors have the same shape and are float64 or
complex128.
"""

from __future__ import annotations

from collections.abc import Collection

import torch
from torch import Tensor

_SHOWN = 6  # indices of wrong entries that a message lists
_SURELY = 5e-4  # of an entry is at most half a unit in its third digit
_LARGEST_SHARE = 1e-6
_NOTHING = 1e-12  # taken for 0 where the truth is 0 everywhere, and so has no scale of its own
_PATTERNED = 1_000_000  # entries; in larger tensors no pattern is looked for


def tolerance(truth: Tensor, resolution: float = 0.0, rounding: Tensor | None = None) -> Tensor:
    """How far each entry may be off: half a unit in the third significant digit of that entry.

    Args:
        truth: the true values.
        resolution: relative rounding of the number formats themselves (see
            `answers.resolution`).
        rounding: for each entry, how large a number rounding alone can make of it (see
            `truth.Question.rounding`). An entry that is no larger is taken for zero.

    Returns:
        A tensor of the shape of `truth`. For entries that cancel to nothing there is 1e-6 of the
        largest entry. Nothing looser: a tolerance scaled by the largest entry alone would take
        [100, -0.15] for [100, 0.3].
    """
    size = truth.abs()
    return _allowed(size, _largest(size), resolution, rounding)


def agrees(
    answer: Tensor, truth: Tensor, resolution: float = 0.0, rounding: Tensor | None = None
) -> Tensor:
    """Tell for each entry whether the answer is right, as a boolean tensor of the same shape."""
    gap, size = (answer - truth).abs(), truth.abs()
    right = gap <= _SURELY * size
    if right.all():  # the usual case, and much faster for ten million entries
        return right
    open_ = ~right
    rounding = None if rounding is None else rounding[open_]
    right[open_] = gap[open_] <= _allowed(size[open_], _largest(size), resolution, rounding)
    return right


def _allowed(size: Tensor, largest: float, resolution: float, rounding: Tensor | None) -> Tensor:
    digits = torch.where(size > 0, 10.0 ** (torch.floor(torch.log10(size)) - 2), 0.0)
    smallest = _LARGEST_SHARE * largest if largest else _NOTHING
    allowed = digits / 2 + resolution * size + smallest
    if rounding is None:
        return allowed
    return torch.where(size <= rounding, torch.maximum(allowed, rounding), allowed)


def _largest(size: Tensor) -> float:
    return float(size.max()) if size.numel() else 0.0


def difference(
    answer: Tensor,
    truth: Tensor,
    *,
    sizes: Collection[int] = (),
    resolution: float = 0.0,
    rounding: Tensor | None = None,
    pattern: bool = True,
) -> tuple[str, ...]:
    """Describe a wrong answer: how many entries are off and which, and the pattern if there is one.

    No sentence gives a true value away.

    Args:
        answer: what the learner gave.
        truth: the true values, of the same shape.
        sizes: numbers N of the exercise (entries, rows, columns); factors N and 1/N are named.
        resolution, rounding: as in `tolerance`.
        pattern: whether to look for one.
    """
    sentences = []
    right = agrees(answer, truth, resolution, rounding)
    wrong = int((~right).sum())
    if truth.numel() > 1:
        sentences.append(_which(right, wrong))
    if pattern and (found := _pattern(answer, truth, sizes, resolution, wrong)):
        sentences.append(found)
    return tuple(sentences)


def _which(right: Tensor, wrong: int) -> str:
    if wrong == right.numel():
        return "Both entries are wrong." if wrong == 2 else f"All {wrong} entries are wrong."
    indices = (~right).nonzero()[:_SHOWN].tolist()
    listed = ", ".join(f"`[{', '.join(map(str, index))}]`" for index in indices)
    more = "" if wrong <= _SHOWN else f" and {wrong - _SHOWN} more"
    return (
        f"{wrong} of {right.numel()} entries {'is' if wrong == 1 else 'are'} wrong: {listed}{more}."
    )


def _pattern(
    answer: Tensor, truth: Tensor, sizes: Collection[int], resolution: float, wrong: int
) -> str:
    def fits(candidate: Tensor) -> bool:
        return bool(agrees(answer, candidate, resolution).all())

    if not truth.any() or truth.numel() > _PATTERNED:
        return ""  # zero times anything is zero: there is no pattern to see
    if not answer.any():
        return "Your answer is zero." if truth.numel() == 1 else "Your answer is all zeros."
    if fits(-truth):
        return "Every entry has the wrong sign." if truth.numel() > 1 else "The sign is wrong."
    if not truth.is_complex() and agrees(answer.abs(), truth.abs(), resolution).all():
        return "Only its sign is wrong." if wrong == 1 else "Only their signs are wrong."
    if truth.ndim == 2 and truth.shape[0] == truth.shape[1] and fits(truth.T):
        return "Your numbers are the right ones, transposed."
    for name, factor in _factors(sizes):
        if fits(factor * truth):
            return f"It is consistent with a factor {name} too much or too little in one step."
    if truth.numel() > 1 and not truth.is_complex() and _permuted(answer, truth, resolution):
        return "Your numbers are the right ones, in another order."
    return ""


def _factors(sizes: Collection[int]) -> list[tuple[str, float]]:
    """Factors that have a name. A bare ratio is never shown: it would give the answer away."""
    named = [("of 2", 2.0), ("of 2", 0.5)]
    for n in sorted(set(sizes) - {0, 1, 2}):
        named += [(f"of {n} (a number of entries)", float(n))]
        named += [(f"of {n} (a number of entries)", 1 / n)]
    return named


def _permuted(answer: Tensor, truth: Tensor, resolution: float) -> bool:
    ours = torch.sort(truth.flatten()).values
    theirs = torch.sort(answer.flatten()).values
    return bool(agrees(theirs, ours, resolution).all())
