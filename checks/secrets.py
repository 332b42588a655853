"""Whether a number that would be shown tells a gradient that is still to be found."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping
from dataclasses import replace
from typing import TypeVar

import torch
from torch import Tensor

from checks.backward import Node
from checks.comparison import agrees
from checks.graph import UNKNOWN, Names

_ROUND = 1e-4  # a number that is no further from four digits is a round one
_SAME = 1e-5

K = TypeVar("K", bound=Hashable)


def harmless(tensors: Mapping[K, Tensor], secrets: Iterable[Tensor]) -> dict[K, Tensor]:
    """Leave out what would tell a secret, also with the other sign."""
    kept = list(secrets)
    return {key: tensor for key, tensor in tensors.items() if not tells(tensor, kept)}


def tells(tensor: Tensor, secrets: Iterable[Tensor]) -> bool:
    """Whether a tensor tells a secret: all of its numbers in any order, or a single telling one.

    Round numbers are everywhere. One alone, such as 2 or 0.5, tells nothing.
    """
    given = _sizes(tensor)
    return any(_all_of(given, secret) or _one_of(given, secret) for secret in map(_sizes, secrets))


def unwritten(
    names: Names, constants: Mapping[tuple[Node, int], Tensor], secrets: Iterable[Tensor]
) -> Names:
    """The same names, without the constants that are written as a number which tells a secret."""
    sizes = [_sizes(secret) for secret in secrets]
    hidden = {
        slot: UNKNOWN
        for slot, value in constants.items()
        if value.numel() == 1 and any(_one_of(_sizes(value), secret) for secret in sizes)
        if not names.constants.get(slot, "1").isidentifier()
    }
    return replace(names, constants={**names.constants, **hidden})


def _sizes(tensor: Tensor) -> Tensor:
    """The numbers without their signs, in order of size."""
    return tensor.detach().cpu().flatten().abs().double().sort().values


def _all_of(given: Tensor, secret: Tensor) -> bool:
    return given.shape == secret.shape and bool(agrees(given, secret).all())


def _one_of(given: Tensor, secret: Tensor) -> bool:
    digits = torch.floor(torch.log10(secret.clamp(min=1e-300)))
    scaled = secret / 10.0 ** (digits - 3)
    telling = secret[(scaled - scaled.round()).abs() > _ROUND]
    if not len(telling) or not len(given):
        return False
    place = torch.searchsorted(given, telling).clamp(1, max(len(given) - 1, 1))
    near = torch.stack([given[place - 1], given[place.clamp(max=len(given) - 1)]])
    return bool(((near - telling).abs() <= _SAME * telling).any())
