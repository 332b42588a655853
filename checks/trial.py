"""One input of a function that is checked: what PyTorch says, and what the function returns."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from checks import answers, nesting, states, truth
from checks.answers import ShapeError, UnansweredError, UnusableError
from checks.inputs import UPSTREAM, Kind, Recipe
from checks.undisturbed import as_in_the_notebook
from checks.wording import a, is_tensor, listed, written

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

    @property
    def arguments(self) -> list[Tensor]:
        """Copies of what the function is called with."""
        return [tensor.clone() for tensor in (self.upstream, *self.inputs.values())]

    def shown(self) -> str:
        """The sizes and, where they are few, the numbers; as a part of a sentence."""
        parts = [f"`{letter} = {size}`" for letter, size in self.sizes.items()]
        for name, tensor in {**self.inputs, UPSTREAM: self.upstream}.items():
            if tensor.numel() <= _SHOWN:
                parts.append(f"`{name} = {numerals(tensor)}`")
        return ", ".join(parts)

    def wrong(self, given: Mapping[str, Tensor]) -> list[str]:
        """The names of the gradients that are not right."""
        off = [name for name, tensor in given.items() if not self._agrees(name, tensor)]
        return off and self._surely(off, given)

    def _agrees(self, name: str, given: Tensor) -> bool:
        return bool((_gap(given, self.true[name]) <= self._allowed(name)).all())

    def _allowed(self, name: str) -> Tensor:
        size = self.true[name].abs()
        around = max(float(t.abs().max()) if t.numel() else 0.0 for t in (size, self.upstream))
        return _PRECISE * size + _FLOOR * max(around, 1.0)

    def _surely(self, names: Sequence[str], given: Mapping[str, Tensor]) -> list[str]:
        """Leave out what differs only because the input lies at a kink, or nearly so.

        Where a tiny change of the input changes the gradient, that much cannot be held against it.
        """
        source = torch.Generator().manual_seed(0)
        moved = {name: torch.zeros_like(self.true[name]) for name in names}
        for _ in range(_SHIFTS):
            noise = {
                name: torch.randn(t.shape, generator=source, dtype=torch.float64)
                for name, t in self.inputs.items()
                if t.is_floating_point()
            }
            for sign in (1, -1):
                near = {
                    name: t * (1 + sign * _SHIFT * noise[name]) if name in noise else t
                    for name, t in self.inputs.items()
                }
                there = _gradients(self.asked, near, self.upstream)
                for name in names:
                    moved[name] = torch.maximum(moved[name], _gap(there[name], self.true[name]))
        return [
            name
            for name in names
            if not bool(
                (
                    _gap(given[name], self.true[name])
                    <= self._allowed(name) + _CAUTION * moved[name].nan_to_num(nan=torch.inf)
                ).all()
            )
        ]


def make(asked: Asked, recipe: Recipe) -> Trial | None:
    """Make the input, and ask PyTorch; None where the result or a gradient is not finite.

    Raises:
        StateError: the forward function cannot be used.
    """
    inputs = recipe.inputs(asked.kinds)
    result, own = _forward(asked, inputs)
    upstream = recipe.upstream(result.shape, asked.kinds)
    true = _backward(result, own, upstream)
    if not all(bool(torch.isfinite(t).all()) for t in (result, *true.values())):
        return None
    return Trial(asked, dict(recipe.sizes), inputs, upstream, true)


def _gradients(asked: Asked, inputs: Mapping[str, Tensor], upstream: Tensor) -> dict[str, Tensor]:
    result, own = _forward(asked, inputs)
    return _backward(result, own, upstream)


def _forward(asked: Asked, inputs: Mapping[str, Tensor]) -> tuple[Tensor, dict[str, Tensor]]:
    """The result, and the copies of the inputs that it was computed from."""
    own = {n: truth.fresh(t) if n in asked.gives else t.clone() for n, t in inputs.items()}
    result = states.checked_result(truth.evaluate(asked.of, own), states.FUNCTION)
    return result, {name: own[name] for name in asked.gives}


def _backward(result: Tensor, own: Mapping[str, Tensor], upstream: Tensor) -> dict[str, Tensor]:
    with as_in_the_notebook(), states.explained(states.FUNCTION):
        v = upstream.to(result.dtype)
        found = torch.autograd.grad(result, list(own.values()), v, materialize_grads=True)
    return {name: g.detach() for name, g in zip(own, found, strict=True)}


def numerals(tensor: Tensor) -> str:
    """Write numbers as Python would, in at most six digits."""
    if tensor.ndim == 0:
        return f"{tensor.item():.6g}"
    return f"[{', '.join(map(numerals, tensor))}]"


def _gap(given: Tensor, true: Tensor) -> Tensor:
    return (given - true).abs()


class BlankError(Exception):
    """Gradients that are still blank: their `names`, or none where all are."""

    def __init__(self, names: Sequence[str] = ()) -> None:
        super().__init__()
        self.names = tuple(names)


class UnusableResultError(Exception):
    """What a function returned cannot be compared; the text says what came and what is expected.

    Where only the shape is another, `name` is the gradient's and `numbers` are what came.
    """

    def __init__(self, sentence: str, name: str = "", numbers: Tensor | None = None) -> None:
        super().__init__(sentence)
        self.name, self.numbers = name, numbers


def read(returned: object, trial: Trial) -> dict[str, Tensor]:
    """Read what a function returned, as copies.

    Raises:
        BlankError: a blank is still there.
        UnusableResultError: it is not the gradients that are asked for.
    """
    if returned is ... or returned is None:
        raise BlankError
    parts = _parts(returned, trial)
    blank = [name for name, part in parts.items() if answers.is_blank(part)]
    if blank:
        raise BlankError(blank if len(blank) < len(parts) else ())
    return {name: _one(part, name, trial) for name, part in parts.items()}


def _one(part: object, name: str, trial: Trial) -> Tensor:
    try:
        return answers.read(part, trial.true[name].shape).clone()
    except ShapeError as error:
        sentence = _shape(error.came, name, trial)
        try:
            numbers = answers.read(part, error.came).clone()
        except (UnansweredError, UnusableError):
            raise UnusableResultError(sentence) from error
        raise UnusableResultError(sentence, name, numbers) from error
    except UnusableError as error:
        where = f"For `{name}`: " if len(trial.true) > 1 else ""
        raise UnusableResultError(where + str(error)) from error


def _shape(came: tuple[int, ...], name: str, trial: Trial) -> str:
    """Say which shape is expected, in letters where there are any."""
    kind, shape = trial.asked.kinds[name], tuple(trial.inputs[name].shape)
    expected = f"`{shape}`"
    if trial.sizes and any(isinstance(size, str) for size in kind.shape):
        letters = ", ".join(map(str, kind.shape)) + ("," if len(kind.shape) == 1 else "")
        expected = f"`({letters})`, here {expected}"
    return (
        f"The gradient of `{name}` has the shape of `{name}`, {expected}. "
        f"Yours has the shape `{written(came)}`."
    )


def _parts(returned: Any, trial: Trial) -> dict[str, object]:
    """What was returned for each input."""
    names = list(trial.true)
    kind = type(returned)
    if issubclass(kind, dict):
        keys = [*dict.keys(returned)]
        if any(type(key) is not str for key in keys) or set(keys) != set(names):
            raise UnusableResultError(
                f"It returned a dict with the keys {listed(keys)}. Expected: {listed(names)}."
            )
        return {name: dict.__getitem__(returned, name) for name in names}
    if len(names) == 1:
        return {names[0]: _alone(returned, trial.true[names[0]])}
    if not issubclass(kind, (tuple, list)):
        raise UnusableResultError(f"It returned {a(returned)}. Expected: {_several(names)}.")
    parts = list(nesting.entries(returned))
    every = list(trial.inputs)
    if len(parts) == len(every) > len(names):  # None for an input without one, as PyTorch has it
        pairs = list(zip(every, parts, strict=True))
        if all(part is None for name, part in pairs if name not in names):
            parts = [part for name, part in pairs if name in names]
    if len(parts) != len(names):
        results = f"{len(parts)} result{'' if len(parts) == 1 else 's'}"
        raise UnusableResultError(f"It returned {results}. Expected: {_several(names)}.")
    return dict(zip(names, parts, strict=True))


def _alone(returned: Any, true: Tensor) -> object:
    """The one gradient that is asked for; `return dX,` makes a tuple of it."""
    if not issubclass(type(returned), (tuple, list)):
        return returned
    inside = list(nesting.entries(returned))
    # A list of numbers may also be the gradient itself.
    return inside[0] if len(inside) == 1 and is_tensor(inside[0]) and true.ndim else returned


def _several(names: Sequence[str]) -> str:
    return f"{len(names)} gradients, those of {listed(names)}, in this order"
