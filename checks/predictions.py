"""Predict first, then let PyTorch confirm: `value` and `error`."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from numbers import Number
from typing import Any

import torch
from torch import Tensor

from checks import answers, states
from checks.answers import UnansweredError, UnusableError
from checks.comparison import agrees, difference
from checks.deliver import delivered, invalid, state, unanswered
from checks.nesting import entries, is_numpy, leaves
from checks.undisturbed import as_in_the_notebook
from checks.verdict import Outcome, Verdict, overall
from checks.wording import a, is_tensor, listed, type_name, what_came

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
_ON_THE_LIST = {str.casefold(cause): cause for cause in CAUSES}

_MOST_ENTRIES = 1000  # of a prediction of a shape, or of a few flags
_NOT_SO = "Something else comes out."
_NOT_THAT = "That is not what happens here. Go through the code line by line once more."
_AN_ERROR = "An error does come. Go through the code line by line once more."
_CHOICES = 'Expected: one of those that the exercise lists, in quotes, such as `"no error"`.'
_CONFIRMED = "That is what comes out."
_TEXTS = (str, torch.dtype, torch.layout, torch.device, torch.memory_format, type)


@delivered
def value(exercise: str, predicted: object, actual: object) -> Verdict:
    """Compare a prediction with what really came out.

    Args:
        exercise: the label of the exercise, such as "4.1".
        predicted: the learner's prediction; unanswered while it is `...`.
        actual: a flag, a text, a shape, a number, a tensor, None, a dtype; a list of these; or a
            dict of these, whose keys are then the keys of the prediction.

    Raises:
        CheckFailed: in strict mode only, where the verdict is not correct.
    """
    really = list(dict.values(actual)) if issubclass(type(actual), dict) else actual  # type: ignore[arg-type]
    if any(leaf is ... for leaf in leaves(really)):
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
    if predicted is ... or predicted is None:
        return unanswered(exercise)
    if is_tensor(attempt) or not callable(attempt):
        sentence = f"The last argument of this check must be a function, but it is {a(attempt)}."
        return state(exercise, sentence)
    if not issubclass(type(predicted), str):
        return invalid(exercise, f"{what_came(predicted)} came. {_CHOICES}")
    guess = _ON_THE_LIST.get(" ".join(_folded(predicted).split()))
    if guess is None:
        return invalid(exercise, f"This is none of the choices. {_CHOICES}")
    cause, message = _what_happens(attempt)
    if not cause:
        return state(exercise, f"Another error came than those on the list: {message}")
    if guess == cause:
        return Verdict(exercise, Outcome.CORRECT, (f"This is what happens: {message}",))
    return Verdict(exercise, Outcome.WRONG, (_AN_ERROR if guess == NO_ERROR else _NOT_THAT,))


def _what_happens(attempt: Callable[[], object]) -> tuple[str, str]:
    """The cause, or '' for one that is not on the list; and the message."""
    try:
        with as_in_the_notebook():
            attempt()
    except (Exception, SystemExit) as raised:
        text = states.message(raised)
        cause = next((cause for cause, part in _MESSAGES.items() if part in text), "")
        return cause, f"{type_name(raised)}: {text}"
    return NO_ERROR, "nothing at all, it just runs."


def _several(exercise: str, predicted: object, actual: object) -> Verdict:
    assert isinstance(actual, dict)
    wanted = dict(dict.items(actual))
    if predicted is ... or predicted is None:
        return unanswered(exercise)
    keys = listed([*wanted])
    if not wanted:
        return state(exercise, "There is nothing to compare with: the last argument is empty.")
    if len({str(key) for key in wanted}) < len(wanted):
        return state(exercise, "Two keys of the last argument look the same.")
    if not issubclass(type(predicted), dict):
        sentence = f"{what_came(predicted)} came. Expected: a dict with the keys {keys}."
        return invalid(exercise, sentence)
    given: dict[object, object] = dict(dict.items(predicted))  # type: ignore[arg-type]
    found = {str(key): _one(str(key), given.get(key, ...), wanted[key]) for key in wanted}
    other = [key for key in given if key not in wanted]
    if other:
        sentence = f"Nothing was asked about {listed(other)}. The keys are {keys}."
        return Verdict(exercise, Outcome.INVALID, (sentence,), entries=found)
    outcome = overall(found)
    if all(entry.outcome is Outcome.UNANSWERED for entry in found.values()):
        return unanswered(exercise)
    # What all entries would say alike is said once, or not at all.
    alike = {(_CONFIRMED,), (_NOT_SO,)}
    entries = {k: replace(e, sentences=()) if e.sentences in alike else e for k, e in found.items()}
    told = (_CONFIRMED,) if outcome is Outcome.CORRECT else ()
    return Verdict(exercise, outcome, told, entries=entries)


def _one(exercise: str, predicted: object, actual: object) -> Verdict:
    # None may be what really comes out (a `.grad`), so here only `...` is a blank.
    if any(leaf is ... for leaf in leaves(predicted)):
        return unanswered(exercise)
    kind = type(actual)
    if actual is None:
        return _verdict(exercise, _means_none(predicted))
    if predicted is None:
        return _verdict(exercise, False)
    if issubclass(kind, bool):
        return _flag(exercise, predicted, actual is True)
    if issubclass(kind, _TEXTS):
        return _text(exercise, predicted, actual)
    if issubclass(kind, (tuple, list)):
        return _sequence(exercise, predicted, actual)
    if is_tensor(actual) or is_numpy(actual) or issubclass(kind, Number):
        return _numbers(exercise, predicted, actual)
    return state(exercise, f"This check cannot compare with {a(actual)}.")


def _means_none(predicted: object) -> bool:
    return predicted is None or (
        issubclass(type(predicted), str) and _folded(predicted) in {"none", "`none`"}
    )


def _flag(exercise: str, predicted: object, actual: bool) -> Verdict:
    if type(predicted) is bool:
        return _verdict(exercise, predicted is actual)
    flag = _as_python(predicted)  # a comparison of tensors gives one, too
    if type(flag) is bool:
        return _verdict(exercise, flag is actual)
    return invalid(exercise, f"{what_came(predicted)} came. Expected: `True` or `False`.")


def _text(exercise: str, predicted: object, actual: object) -> Verdict:
    if issubclass(type(predicted), str):
        guess, true = _folded(predicted), _folded(_spelled(actual))
        named = vars(torch).get(guess) if isinstance(actual, torch.dtype) else None
        return _verdict(exercise, guess == true or named is actual)
    if isinstance(actual, str) or not issubclass(type(predicted), _TEXTS):
        return invalid(exercise, f"{what_came(predicted)} came. Expected: a name, in quotes.")
    return _verdict(exercise, type(predicted) is type(actual) and predicted == actual)


def _spelled(actual: object) -> str:
    return actual.__name__ if isinstance(actual, type) else str(actual)


def _folded(text: object) -> str:
    """A text without what does not matter: capitals, spaces around it, a leading `torch.`."""
    return str.casefold(str.strip(text)).removeprefix("torch.")  # type: ignore[arg-type]


def _sequence(exercise: str, predicted: object, actual: object) -> Verdict:
    true = list(actual)  # type: ignore[call-overload]
    predicted = _as_python(predicted)
    if issubclass(type(predicted), (int, float)) and not issubclass(type(predicted), bool):
        sentence = "A single number came. Expected: a tuple, such as `(3,)` or `(2, 4)`."
        return invalid(exercise, sentence)
    if not issubclass(type(predicted), (tuple, list)):
        return invalid(exercise, f"{what_came(predicted)} came. Expected: a tuple or a list.")
    given = list(entries(predicted))  # type: ignore[arg-type]
    if len(given) != len(true):
        return _verdict(exercise, False)
    parts = [_one(exercise, p, t) for p, t in zip(given, true, strict=True)]
    unusable = [part for part in parts if part.outcome is Outcome.INVALID]
    return unusable[0] if unusable else _verdict(exercise, all(parts))


def _as_python(predicted: object) -> object:
    """A small tensor or array as a number, a flag or nested lists; anything else as it is."""
    if not (is_tensor(predicted) or is_numpy(predicted)):
        return predicted
    try:
        count = math.prod(predicted.shape)  # type: ignore[attr-defined]
        return predicted.tolist() if count <= _MOST_ENTRIES else predicted  # type: ignore[attr-defined]
    except Exception:
        return predicted  # it has no values: `what_came` says what it is


def _numbers(exercise: str, predicted: object, actual: object) -> Verdict:
    both = _whole(predicted), _whole(actual)
    if None not in both:
        return _verdict(exercise, both[0] == both[1])  # exact, however large
    true = _tensor(actual)
    if true is None:
        return state(exercise, f"This check cannot compare with {a(actual)}.")
    if true.dtype is torch.bool:
        return _flags(exercise, predicted, true)
    try:
        given = answers.read(
            predicted, true.shape, complex_expected=true.is_complex(), finite=False
        )
    except UnansweredError:
        return unanswered(exercise)
    except UnusableError as problem:
        return invalid(exercise, str(problem))
    precise = true.to(given.dtype)
    resolution = max(answers.resolution(predicted), answers.resolution(true))
    right = _same(given, precise, resolution, exact=not true.is_floating_point())
    if right.all():
        return _verdict(exercise, True)
    sentences: tuple[str, ...] = ()
    if true.numel() > 1 and torch.isfinite(given).all() and torch.isfinite(precise).all():
        sentences = difference(given, precise, resolution=resolution)
    return Verdict(exercise, Outcome.WRONG, (_NOT_SO, *sentences))


def _whole(value: object) -> int | None:
    """The value of a whole number: a Python one, or a tensor of one that has no axes."""
    if type(value) is int:
        return value
    if type(value) is not Tensor or value.ndim or value.is_meta or value.is_nested:
        return None
    odd = value.is_floating_point() or value.is_complex() or value.is_quantized
    return None if odd or value.dtype is torch.bool else int(value.item())


def _same(given: Tensor, true: Tensor, resolution: float, *, exact: bool) -> Tensor:
    """Which entries are right. `nan` is right for `nan`, and an infinity for the same one."""
    if exact and not true.is_complex():
        return given == true
    finite = torch.isfinite(true)
    near = agrees(given, torch.where(finite, true, 0), resolution)
    alike = (given == true) | (torch.isnan(given) & torch.isnan(true))
    return torch.where(finite, near, alike)


def _flags(exercise: str, predicted: object, true: Tensor) -> Verdict:
    wanted: Any = true.tolist()
    if true.ndim == 0:
        return _flag(exercise, predicted, wanted)
    return _sequence(exercise, predicted, wanted)


def _tensor(actual: object) -> Tensor | None:
    """What really came out, as a tensor; None for numbers that none can hold."""
    if is_tensor(actual):
        assert isinstance(actual, Tensor)
        if actual.is_meta or actual.is_nested:
            return None
        dense = actual.detach().cpu()
        dense = dense.dequantize() if dense.is_quantized else dense
        return dense if dense.layout is torch.strided else dense.to_dense()
    if is_numpy(actual):
        try:
            return torch.as_tensor(actual)
        except TypeError:
            return None
    if issubclass(type(actual), complex):
        return torch.tensor(actual, dtype=torch.complex128)
    try:
        number = float(actual)  # type: ignore[arg-type]
    except (OverflowError, TypeError, ValueError):
        return None
    if issubclass(type(actual), int) and math.isfinite(number) and abs(number) < 2**63:
        return torch.tensor(actual)
    return torch.tensor(number, dtype=torch.float64)


def _verdict(exercise: str, right: bool) -> Verdict:
    if right:
        return Verdict(exercise, Outcome.CORRECT, (_CONFIRMED,))
    return Verdict(exercise, Outcome.WRONG, (_NOT_SO,))
