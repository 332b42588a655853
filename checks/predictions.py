"""Predict first, then let PyTorch confirm: `value` and `error`."""

from __future__ import annotations

from collections.abc import Callable
from numbers import Number

import torch
from torch import Tensor

from checks import answers
from checks.answers import UnansweredError, UnusableError, is_tensor, what_came
from checks.comparison import agrees, difference
from checks.deliver import delivered, invalid, state, unanswered
from checks.verdict import Outcome, Verdict, overall

# What goes wrong, in the words that a learner picks from, and a part of PyTorch's own message.
_MESSAGES = {
    "not a scalar": "grad can be implicitly created only for scalar outputs",
    "graph freed": "Trying to backward through the graph a second time",
    "wrong shape": "Mismatch in shape: grad_output",
    "no graph": "does not require grad and does not have a grad_fn",
    "leaf changed in place": "a leaf Variable that requires grad is being used in an in-place",
    "saved value changed": "has been modified by an inplace operation",
    "grad is None": "'NoneType' object has no attribute",
    "inference tensor": "nference tensor",
    "not floating point": "Only Tensors of floating point",
    "not a leaf": "you can only change requires_grad flags of leaf variables",
    "not connected": "appears to not have been used in the graph",
    "not iterable": "params argument given to the optimizer should be an iterable",
    "unknown argument": "unexpected keyword argument",
    "unknown name": "is not defined",
    "unknown attribute": "has no attribute",
}
NO_ERROR = "no error"
CAUSES: tuple[str, ...] = (NO_ERROR, *_MESSAGES)


@delivered
def value(exercise: str, predicted: object, actual: object) -> Verdict:
    """Compare a prediction with what really came out.

    Args:
        exercise: the label of the exercise, such as "4.1".
        predicted: the learner's prediction; unanswered while it is `...`.
        actual: a flag, a text, a shape, a number, a tensor, None, a dtype; or a dict of these.

    Raises:
        CheckFailed: in strict mode only, where the verdict is not correct.
    """
    if actual is ...:
        sentence = "There is nothing to compare with yet: run the cells above this one first."
        return state(exercise, sentence)
    if issubclass(type(actual), dict):
        return _several(exercise, predicted, actual)
    return _one(exercise, predicted, actual)


@delivered
def error(exercise: str, predicted: object, attempt: Callable[[], object]) -> Verdict:
    """Compare a predicted error with the one that really comes.

    Args:
        exercise: the label of the exercise, such as "2.3".
        predicted: one of `CAUSES`; unanswered while it is `...`.
        attempt: a function without arguments. It is really run, once, so it should build what it
            breaks.

    Raises:
        CheckFailed: in strict mode only, where the verdict is not correct.
    """
    if not callable(attempt):
        return state(exercise, "The last argument of this check must be a function.")
    if predicted is ... or predicted is None:
        return unanswered(exercise)
    listed = ", ".join(f'"{cause}"' for cause in CAUSES)
    if not issubclass(type(predicted), str):
        return invalid(exercise, f"{what_came(predicted)} came. Expected: one of {listed}.")
    guess = " ".join(str.split(str.casefold(str(predicted))))
    if guess not in CAUSES:
        return invalid(exercise, f"This is not on the list. Expected: one of {listed}.")
    cause, message = _what_happens(attempt)
    if not cause:
        return state(exercise, f"Another error came than those on the list: {message}")
    if guess == cause:
        return Verdict(exercise, Outcome.CORRECT, (f"PyTorch says: {message}",))
    return Verdict(exercise, Outcome.WRONG, ("That is not what happens here.",))


def _what_happens(attempt: Callable[[], object]) -> tuple[str, str]:
    with torch.random.fork_rng(devices=[]), torch.inference_mode(False), torch.enable_grad():
        try:
            attempt()
        except Exception as raised:
            text = f"{type(raised).__name__}: {str(raised).splitlines()[0] if str(raised) else ''}"
            found = (cause for cause, part in _MESSAGES.items() if part in str(raised))
            return next(found, ""), text
    return NO_ERROR, "nothing at all, it just runs."


def _several(exercise: str, predicted: object, actual: object) -> Verdict:
    assert isinstance(actual, dict)
    if predicted is ... or predicted is None:
        return unanswered(exercise)
    keys = ", ".join(f"`{key}`" for key in actual)
    if not issubclass(type(predicted), dict):
        sentence = f"{what_came(predicted)} came. Expected: a dict with the keys {keys}."
        return invalid(exercise, sentence)
    assert isinstance(predicted, dict)
    given = dict(dict.items(predicted))
    entries = {str(key): _one(str(key), given.get(key, ...), true) for key, true in actual.items()}
    if any(key not in actual for key in given):
        sentence = f"Your dict has other keys than the ones asked for: {keys}."
        return Verdict(exercise, Outcome.INVALID, (sentence,), entries=entries)
    return Verdict(exercise, overall(entries), entries=entries)


def _one(exercise: str, predicted: object, actual: object) -> Verdict:
    kind = type(actual)
    if predicted is ... or (predicted is not None and answers.is_blank(predicted)):
        return unanswered(exercise)
    if actual is None or predicted is None:
        return _verdict(exercise, _means_none(predicted) and actual is None)
    if issubclass(kind, bool):
        return _flag(exercise, predicted, actual)
    if issubclass(kind, (str, torch.dtype, torch.layout, torch.device, type)):
        return _text(exercise, predicted, actual)
    if issubclass(kind, (tuple, list)):
        return _shape(exercise, predicted, actual)
    if is_tensor(actual) or issubclass(kind, Number):
        return _numbers(exercise, predicted, actual)
    return state(exercise, f"A `{kind.__name__}` is nothing that this check can compare with.")


def _means_none(predicted: object) -> bool:
    return predicted is None or (
        issubclass(type(predicted), str) and str(predicted).strip().casefold() == "none"
    )


def _flag(exercise: str, predicted: object, actual: object) -> Verdict:
    if not issubclass(type(predicted), bool):
        return invalid(exercise, f"{what_came(predicted)} came. Expected: `True` or `False`.")
    return _verdict(exercise, predicted == actual)


def _text(exercise: str, predicted: object, actual: object) -> Verdict:
    if type(predicted) is type(actual) and not issubclass(type(predicted), str):
        return _verdict(exercise, predicted == actual)
    if not issubclass(type(predicted), str):
        return invalid(exercise, f"{what_came(predicted)} came. Expected: a name, in quotes.")
    true = actual.__name__ if isinstance(actual, type) else str(actual)
    guess = str(predicted).strip().casefold().removeprefix("torch.")
    return _verdict(exercise, guess == true.strip().casefold().removeprefix("torch."))


def _shape(exercise: str, predicted: object, actual: object) -> Verdict:
    assert isinstance(actual, (tuple, list))
    if issubclass(type(predicted), int) and not issubclass(type(predicted), bool):
        sentence = "A single number came. Expected: a tuple, such as `(3,)` or `(2, 4)`."
        return invalid(exercise, sentence)
    if not issubclass(type(predicted), (tuple, list)):
        return invalid(exercise, f"{what_came(predicted)} came. Expected: a tuple or a list.")
    assert isinstance(predicted, (tuple, list))
    if len(predicted) != len(actual):
        return _verdict(exercise, False)
    parts = [_one(exercise, p, a) for p, a in zip(predicted, actual, strict=True)]
    bad = [part for part in parts if part.outcome is Outcome.INVALID]
    return bad[0] if bad else _verdict(exercise, all(parts))


def _numbers(exercise: str, predicted: object, actual: object) -> Verdict:
    true = _tensor(actual)
    if true.dtype is torch.bool:
        return _flags(exercise, predicted, true)
    try:
        given = answers.read(predicted, true.shape, complex_expected=true.is_complex())
    except UnansweredError:
        return unanswered(exercise)
    except UnusableError as problem:
        return invalid(exercise, str(problem))
    precise = true.to(given.dtype)
    exact = not (true.is_floating_point() or true.is_complex())
    right = given == precise if exact else agrees(given, precise, answers.resolution(predicted))
    if right.all():
        return _verdict(exercise, True)
    sentences = difference(given, precise).sentences if true.numel() > 1 else ()
    return Verdict(exercise, Outcome.WRONG, (_NOT_SO, *sentences))


def _flags(exercise: str, predicted: object, true: Tensor) -> Verdict:
    given = predicted.tolist() if is_tensor(predicted) else predicted  # type: ignore[attr-defined]
    wanted = true.tolist()
    if issubclass(type(wanted), bool):
        return _flag(exercise, given, wanted)
    return _shape(exercise, given, wanted)


def _tensor(actual: object) -> Tensor:
    if is_tensor(actual):
        assert isinstance(actual, Tensor)
        return actual.detach().cpu()
    if issubclass(type(actual), int):
        return torch.tensor(actual, device="cpu")
    wide = torch.complex128 if issubclass(type(actual), complex) else torch.float64
    return torch.tensor(actual, dtype=wide, device="cpu")


_NOT_SO = "PyTorch gives something else."


def _verdict(exercise: str, right: bool) -> Verdict:
    if right:
        return Verdict(exercise, Outcome.CORRECT, ("PyTorch confirms it.",))
    return Verdict(exercise, Outcome.WRONG, (_NOT_SO,))
