"""What a function returned → the gradients that are asked for, or why they cannot be had."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

from torch import Tensor

from checks import answers, nesting
from checks.answers import ShapeError, UnansweredError, UnusableError
from checks.trial import Trial
from checks.wording import a, is_tensor, listed, written

_MOST_ENTRIES = 10_000  # of a result of another shape, for which a mistake is looked for


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
        if math.prod(error.came) > _MOST_ENTRIES:
            raise UnusableResultError(sentence) from error
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
    parts = list(nesting.entries(returned)) if issubclass(kind, (tuple, list)) else None
    if parts and len(parts) == len(trial.inputs) > len(names):
        # None for an input without a gradient, as PyTorch has it.
        by_input = dict(zip(trial.inputs, parts, strict=True))
        if all(part is None for name, part in by_input.items() if name not in names):
            return {name: by_input[name] for name in names}
    if len(names) == 1:
        return {names[0]: _alone(returned, trial.true[names[0]])}
    if parts is None:
        raise UnusableResultError(f"It returned {a(returned)}. Expected: {_several(names)}.")
    if len(parts) != len(names):
        results = f"{len(parts)} result{'' if len(parts) == 1 else 's'}"
        raise UnusableResultError(f"It returned {results}. Expected: {_several(names)}.")
    return dict(zip(names, parts, strict=True))


def _alone(returned: Any, true: Tensor) -> object:
    """The one gradient that is asked for; `return dX,` makes a tuple of it."""
    if not issubclass(type(returned), (tuple, list)):
        return returned
    inside = list(nesting.entries(returned))
    if len(inside) != 1 or _has_shape(returned, true):  # a list of rows is the gradient itself
        return returned
    return inside[0] if is_tensor(inside[0]) or _has_shape(inside[0], true) else returned


def _has_shape(part: object, true: Tensor) -> bool:
    try:
        answers.read(part, true.shape, finite=False, complex_expected=True)
    except (UnansweredError, UnusableError):
        return False
    return True


def _several(names: Sequence[str]) -> str:
    return f"{len(names)} gradients, those of {listed(names)}, in this order"


def in_another_order(returned: Any, trial: Trial) -> bool:
    """Whether all gradients are right, but not where they are expected."""
    if not issubclass(type(returned), (tuple, list, dict)):
        return False
    inside = dict.values(returned) if issubclass(type(returned), dict) else returned
    left = list(nesting.entries(list(inside)))
    for name in trial.true:
        fitting = next((k for k, part in enumerate(left) if _fits(part, name, trial)), None)
        if fitting is None:
            return False
        del left[fitting]
    return not left


def _fits(part: object, name: str, trial: Trial) -> bool:
    try:
        given = answers.read(part, trial.true[name].shape)
    except (UnansweredError, UnusableError):
        return False
    return not trial.wrong({name: given})
