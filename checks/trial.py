"""One input of a function that is checked, and what PyTorch says there."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from checks import states, truth
from checks.inputs import UPSTREAM, Kind, Recipe
from checks.states import StateError
from checks.undisturbed import as_in_the_notebook

_PRECISE = 1e-9  # relative
_FLOOR = 1e-11  # of the largest number around: what is smaller is rounding
_SHIFT = 1e-11  # relative; how far inputs are moved to see whether a kink is near
_SHIFTS = 3
_CAUTION = 10
_SHOWN = 12  # numbers of a tensor that a message shows


@dataclass(frozen=True)
class Asked:
    """What the function is to do: the gradients `gives` of `of`, at inputs of these kinds."""

    of: Callable[..., object]
    kinds: Mapping[str, Kind]
    gives: tuple[str, ...]


@dataclass(frozen=True)
class Trial:
    """An input, and the true gradients there."""

    asked: Asked
    sizes: Mapping[str, int]
    inputs: Mapping[str, Tensor]
    upstream: Tensor
    true: Mapping[str, Tensor]

    def arguments(self, *, as_views: bool = False) -> list[Tensor]:
        """Copies of what the function is called with; or transposed views of the same numbers."""
        tensors = (self.upstream, *self.inputs.values())
        if as_views:
            return [_as_view(tensor) for tensor in tensors]
        return [tensor.clone() for tensor in tensors]

    def shown(self) -> str:
        """The sizes and, where they are few, the numbers; as a part of a sentence."""
        tensors = {**self.inputs, UPSTREAM: self.upstream}
        numbers = [f"`{n} = {numerals(t)}`" for n, t in tensors.items() if t.numel() <= _SHOWN]
        return ", ".join([*filter(None, [self.shown_sizes()]), *numbers])

    def shown_sizes(self) -> str:
        """The sizes alone; empty where there are none."""
        return ", ".join(f"`{letter} = {size}`" for letter, size in self.sizes.items())

    def wrong(self, given: Mapping[str, Tensor]) -> list[str]:
        """The names of the gradients that are not right."""
        gaps = {name: (tensor - self.true[name]).abs() for name, tensor in given.items()}
        allowed = {name: self._allowed(name) for name in given}
        off = [name for name, gap in gaps.items() if not bool((gap <= allowed[name]).all())]
        if not off:
            return []
        moved = self._moved()
        return [n for n in off if not bool((gaps[n] <= allowed[n] + _CAUTION * moved[n]).all())]

    def _allowed(self, name: str) -> Tensor:
        size = self.true[name].abs()
        around = max(float(t.abs().max()) if t.numel() else 0.0 for t in (size, self.upstream))
        return _PRECISE * size + _FLOOR * max(around, 1.0)

    def _moved(self) -> dict[str, Tensor]:
        """How far a tiny change of the input moves each gradient.

        Far at a kink, or close to one: which side is taken there cannot be held against a function.
        """
        source = torch.Generator().manual_seed(0)
        moved = {name: torch.zeros_like(tensor) for name, tensor in self.true.items()}
        for _ in range(_SHIFTS):
            shifts = {
                name: _SHIFT * torch.randn(t.shape, generator=source, dtype=torch.float64)
                for name, t in self.inputs.items()
                if t.is_floating_point()
            }
            for sign in (1, -1):
                near = {n: t + sign * shifts.get(n, 0) * t for n, t in self.inputs.items()}
                result, own = _forward(self.asked, near)
                for name, there in _backward(result, own, self.upstream).items():
                    distance = (there - self.true[name]).abs().nan_to_num(nan=torch.inf)
                    moved[name] = torch.maximum(moved[name], distance)
        return moved


def _as_view(tensor: Tensor) -> Tensor:
    """A copy of the tensor whose numbers lie in memory as those of its transpose would."""
    if tensor.ndim < 2:
        return tensor.clone()
    axes = range(tensor.ndim)[::-1]
    return tensor.permute(*axes).clone(memory_format=torch.contiguous_format).permute(*axes)


class ForwardError(StateError):
    """The forward function raised an error, perhaps on this input only."""


def make(asked: Asked, recipe: Recipe) -> Trial | None:
    """Make the input, and ask PyTorch; None where the result or a gradient is not finite.

    Raises:
        ForwardError: the forward function raised an error on this input.
        StateError: it cannot be used at all.
    """
    inputs = recipe.inputs(asked.kinds)
    result, own = _forward(asked, inputs)
    if result.dtype is not torch.float64:
        raise StateError(
            f"The function given as `of` must compute in float64, as its inputs are; it returned "
            f"`{result.dtype}`."
        )
    upstream = recipe.upstream(result.shape, asked.kinds)
    true = _backward(result, own, upstream)
    if not all(bool(torch.isfinite(t).all()) for t in (result, *true.values())):
        return None
    return Trial(asked, dict(recipe.sizes), inputs, upstream, true)


def _forward(asked: Asked, inputs: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The result, and the copies of the inputs that it was computed from."""
    own = {n: truth.fresh(t) if n in asked.gives else t.clone() for n, t in inputs.items()}
    try:
        returned = truth.evaluate(asked.of, own)
    except StateError as error:
        raise ForwardError(str(error)) from error
    result = states.checked_result(returned, states.FUNCTION)
    return result, {name: own[name] for name in asked.gives}


def _backward(result: Tensor, own: Mapping[str, Tensor], upstream: Tensor) -> dict[str, Tensor]:
    with as_in_the_notebook(), states.explained(states.FUNCTION):
        # The weighted sum: handed an upstream gradient, PyTorch first imports SymPy, for a second.
        total = (result * upstream).sum()
        found = torch.autograd.grad(total, list(own.values()), materialize_grads=True)
    return {name: g.detach() for name, g in zip(own, found, strict=True)}


def numerals(tensor: Tensor) -> str:
    """Write numbers as Python would, in at most ten digits."""
    if tensor.ndim == 0:
        return f"{tensor.item() + 0.0:.10g}"  # 0 for -0
    return f"[{', '.join(map(numerals, tensor))}]"
