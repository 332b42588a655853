"""The checks of gradients: `gradient`, `vjp` and `jacobian`."""

from __future__ import annotations

import math
import sys
from collections.abc import Mapping
from dataclasses import replace
from types import FrameType

from torch import Tensor

from checks import answers, truth
from checks.answers import UnansweredError, UnusableError, is_tensor
from checks.comparison import agrees, difference
from checks.deliver import delivered, invalid, state, unanswered
from checks.graph import Names, names_for
from checks.truth import Question, StateError
from checks.verdict import Outcome, Verdict, overall
from checks.why import why

_BY_HAND = (
    "This is the very tensor that autograd filled in (a `.grad`). "
    "Here the gradient is to be found by hand."
)


@delivered
def gradient(
    exercise: str, answer: object, *, of: object, wrt: object, v: object = None
) -> Verdict:
    """Compare a gradient found by hand with autograd's.

    Args:
        exercise: the label of the exercise, such as "5.3".
        answer: the learner's ∂of/∂wrt: a number, a tensor, an array or nested lists, of the shape
            of `wrt`. Or a dict of them: several gradients of one backward pass.
        of: a live tensor, or a function of the `wrt` tensors. A single number unless `v` is given.
        wrt: a tensor that requires grad (it need not be a leaf); or a dict of them, with the keys
            of `answer`.
        v: upstream gradient, of the shape of `of`.

    Returns:
        A Verdict: correct, wrong, unanswered or invalid. With dicts, each entry has its own, and
        the whole is correct only when all are.

    Raises:
        CheckFailed: in strict mode only, where the verdict is not correct.
    """
    frame = sys._getframe(2)  # the cell, past the wrapper of `delivered`
    several = issubclass(type(wrt), dict)
    inputs = wrt if several else {_name(wrt, frame, "wrt"): wrt}
    assert isinstance(inputs, Mapping)
    try:
        question = truth.ask(of, inputs, v, called=_name(of, frame, "of"))
        _ = question.gradients
    except StateError as error:
        return state(exercise, str(error))
    names = names_for(question.nodes, _known(question), _variables(frame))
    if several:
        return _judge_several(exercise, answer, question, names)
    ((name, _),) = inputs.items()
    return _judge(exercise, answer, question, name, names)


@delivered
def vjp(exercise: str, answer: object, *, of: object, wrt: object, v: object) -> Verdict:
    """Compare a vector-Jacobian product vᵀJ found by hand with autograd's.

    `answer` has the shape of `wrt`, and `v` the shape of `of`. The rest is as in `gradient`.
    """
    frame = sys._getframe(2)
    name = _name(wrt, frame, "wrt")
    try:
        if v is None or v is ...:
            raise StateError("`v` is missing: a vector-Jacobian product needs one.")
        question = truth.ask(of, {name: wrt}, v, called=_name(of, frame, "of"))
        _ = question.gradients
    except StateError as error:
        return state(exercise, str(error))
    names = names_for(question.nodes, _known(question), _variables(frame))
    return _judge(exercise, answer, question, name, names)


@delivered
def jacobian(exercise: str, answer: object, *, of: object, wrt: object) -> Verdict:
    """Compare a Jacobian written by hand with autograd's.

    `answer` is J with J[i, j] = ∂of_i/∂wrt_j (numerator layout), of shape `of.shape + wrt.shape`.
    The rest is as in `gradient`.
    """
    frame = sys._getframe(2)
    name = _name(wrt, frame, "wrt")
    try:
        matrix = truth.jacobian(of, {name: wrt}, called=_name(of, frame, "of"))
    except StateError as error:
        return state(exercise, str(error))
    right = (
        "Why: row i holds the derivatives of output i, and column j belongs to input j: "
        "`J[i, j]` = ∂y_i/∂x_j."
    )
    return _compare(exercise, answer, matrix, right)


# -- judging ---------------------------------------------------------------------------------------


def _judge(exercise: str, answer: object, question: Question, name: str, names: Names) -> Verdict:
    if answers.shares_storage(answer, _stored_gradient(question.wrt[name])):
        return invalid(exercise, _BY_HAND)
    return _compare(
        exercise,
        answer,
        question.gradients[name],
        lambda: why(question, name, names),
        sizes=_sizes(question),
    )


def _compare(
    exercise: str, answer: object, true: Tensor, right: object, sizes: set[int] | None = None
) -> Verdict:
    try:
        given = answers.read(answer, true.shape, complex_expected=true.is_complex())
    except UnansweredError:
        return unanswered(exercise)
    except UnusableError as error:
        return invalid(exercise, str(error))
    precise = true.to(given.dtype)
    rounding = max(answers.resolution(answer), answers.resolution(true))
    if agrees(given, precise, rounding).all():
        sentence = right() if callable(right) else right
        return Verdict(exercise, Outcome.CORRECT, (str(sentence),) if sentence else ())
    found = difference(given, precise, sizes=sizes or set(true.shape), resolution=rounding)
    return Verdict(exercise, Outcome.WRONG, found.sentences or ("This is not the gradient yet.",))


def _judge_several(exercise: str, answer: object, question: Question, names: Names) -> Verdict:
    if answer is ... or answer is None:
        return unanswered(exercise)
    if not issubclass(type(answer), dict):
        keys = ", ".join(f"`{name}`" for name in question.wrt)
        return invalid(
            exercise, f"{answers.what_came(answer)} came. Expected: a dict with the keys {keys}."
        )
    assert isinstance(answer, dict)
    given = dict(dict.items(answer))
    unknown = [key for key in given if key not in question.wrt]
    entries = {
        name: _judge(name, given.get(name, ...), question, name, names) for name in question.wrt
    }
    outcome = overall(entries)
    if outcome is not Outcome.CORRECT:
        # Why one entry is right would tell the gradients upstream of it, which may be open still.
        entries = {
            name: replace(entry, sentences=()) if entry else entry
            for name, entry in entries.items()
        }
    sentences = []
    if unknown:
        outcome = Outcome.INVALID
        sentences.append(f"Nothing was asked about {', '.join(map(_key, unknown))}.")
    return Verdict(exercise, outcome, tuple(sentences), entries=entries)


def _key(key: object) -> str:
    return f"`{key}`" if type(key) is str else answers.what_came(key)


# -- the notebook around a check -------------------------------------------------------------------


def _variables(frame: FrameType) -> dict[str, object]:
    return {**frame.f_globals, **frame.f_locals}


def _name(value: object, frame: FrameType, fallback: str) -> str:
    """The name under which the calling cell knows a tensor, for messages."""
    if is_tensor(value):
        for scope in (frame.f_locals, frame.f_globals):
            for name, known in list(scope.items()):
                if known is value and not name.startswith("_"):
                    return name
    return fallback


def _known(question: Question) -> dict[str, Tensor]:
    return {**question.wrt, **({question.called: question.of} if question.called != "of" else {})}


def _stored_gradient(tensor: Tensor) -> Tensor | None:
    # Asking any other tensor for `.grad` makes PyTorch warn.
    return tensor.grad if tensor.is_leaf or tensor.retains_grad else None


def _sizes(question: Question) -> set[int]:
    """The numbers of entries, rows and columns that occur in the graph."""
    shapes = [meta.shape for node in question.nodes for meta in node._input_metadata]
    return {n for shape in shapes for n in (*shape, math.prod(shape))}
