"""The checks of gradients: `gradient`, `vjp` and `jacobian`."""

from __future__ import annotations

import sys
from types import FrameType

import torch
from torch import Tensor
from torch.nn import Parameter

from checks import truth
from checks.constants import find_constants, named
from checks.deliver import delivered, state
from checks.following import judge_several
from checks.graph import Names, names_for
from checks.judging import Case, judge, judge_jacobian
from checks.secrets import unwritten
from checks.states import StateError
from checks.truth import Question
from checks.values import forward_values
from checks.verdict import Verdict
from checks.wording import is_tensor, listed

_MOST_NAMED = 300  # in a larger graph nobody reads the names of constants


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
    inputs = dict.copy(wrt) if several else {_name(wrt, frame, "wrt"): wrt}  # type: ignore[arg-type]
    try:
        if not all(type(key) is str for key in inputs):
            raise StateError(f"The keys of `wrt` must be names in quotes, not {listed([*inputs])}.")
        question = truth.ask(of, inputs, v, called=_name(of, frame, "of"))
        _ = question.gradients
    except StateError as error:
        return state(exercise, str(error))
    case = _case(question, frame)
    if several:
        return judge_several(exercise, answer, case)
    return judge(exercise, answer, case, next(iter(inputs)))


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
    return judge(exercise, answer, _case(question, frame), name)


@delivered
def jacobian(exercise: str, answer: object, *, of: object, wrt: object) -> Verdict:
    """Compare a Jacobian written by hand with autograd's.

    `answer` is J with J[i, j] = ∂of_i/∂wrt_j (numerator layout), of shape `of.shape + wrt.shape`.
    The rest is as in `gradient`.
    """
    frame = sys._getframe(2)
    name = _name(wrt, frame, "wrt")
    try:
        question = truth.ask_jacobian(of, {name: wrt}, called=_name(of, frame, "of"))
        return judge_jacobian(exercise, answer, question)
    except StateError as error:
        return state(exercise, str(error))


# -- the notebook around a check -------------------------------------------------------------------


def _name(value: object, frame: FrameType, fallback: str) -> str:
    """The name under which the calling cell knows a tensor, for messages."""
    if is_tensor(value):
        for scope in (frame.f_locals, frame.f_globals):
            for name, known in list(scope.items()):
                if known is value and type(name) is str and not name.startswith("_"):
                    return name
    return fallback


def _case(question: Question, frame: FrameType) -> Case:
    """The question, with the names and tensors of the calling cell."""
    variables = {**frame.f_globals, **frame.f_locals}
    known = [*((n, t) for n, t in variables.items() if _is_plain(n, t)), *question.wrt.items()]
    tensors = (question.of, *(tensor for _, tensor in known))
    try:
        names = names_for(question.nodes, known)
        if len(question.nodes) <= _MOST_NAMED:
            values = forward_values(question.nodes, tensors, question.inside)
            constants = find_constants(question.nodes, values)
            names = named(names, constants, known)
            names = unwritten(names, constants, question.gradients.values())
    except Exception:
        names = Names()  # no name is worth the verdict
    return Case(question, names, tensors)


def _is_plain(name: object, value: object) -> bool:
    """Whether a variable is a tensor that is safe to look at: others may do anything then."""
    if type(name) is not str or type(value) not in (Tensor, Parameter):
        return False
    assert isinstance(value, Tensor)
    odd = value.is_meta or value.is_quantized or value.is_nested
    return value.layout is torch.strided and not odd
