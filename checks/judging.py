"""From an answer and the truth to a verdict: one gradient, or a Jacobian."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from checks import answers, states
from checks.answers import ShapeError, UnansweredError, UnusableError
from checks.backward import Edge
from checks.comparison import agrees, difference
from checks.deliver import invalid, state, unanswered
from checks.diagnosis import explain, explained, places, steps_to_check
from checks.graph import Names
from checks.illustration import wrong_step
from checks.matching import Given
from checks.search import Mistake, Search
from checks.settings import current
from checks.stale import changed_since
from checks.truth import Question, jacobian
from checks.verdict import Outcome, Picture, Verdict
from checks.why import why

_BY_HAND = (
    "This is the very tensor that stands in `.grad`, where autograd puts its gradients. Here the "
    "numbers are to be found by hand: type them, or compute them in a name of their own."
)
_TOO_FEW_DIGITS = (
    "As far as its digits go, your answer fits. But it is rounded too much: give three significant "
    "digits of every number."
)
_ROWS_AND_COLUMNS = (
    "Why: row i holds the derivatives of output i, and column j belongs to input j: "
    "`J[i, j]` = ∂y_i/∂x_j."
)
_MOST_ENTRIES = 100_000  # for a larger answer no mistake is looked for: it would take too long


@dataclass(frozen=True)
class Case:
    """A question with what is known around it: names, and the notebook's tensors."""

    question: Question
    names: Names
    tensors: tuple[Tensor, ...]


def judge(exercise: str, answer: object, case: Case, name: str) -> Verdict:
    """Judge one gradient."""
    given = read(exercise, answer, case, name)
    if isinstance(given, Verdict):
        return given
    if isinstance(given, ShapeError):
        return other_shape(exercise, answer, given, case, name, {})
    if is_right(given, answer, case.question, name):
        return correct(exercise, lambda: why(case.question, name, case.names))
    return wrong(exercise, given, answer, case, name, {})


def judge_jacobian(exercise: str, answer: object, question: Question) -> Verdict:
    """Judge a Jacobian. It is computed only for an answer of its shape: it may be very large."""
    (wrt,) = question.wrt.values()
    if answers.shares_storage(answer, _stored_gradient(question, next(iter(question.wrt)))):
        return invalid(exercise, _BY_HAND)
    shape = (*question.of.shape, *wrt.shape)
    try:
        given = answers.read(answer, shape, complex_expected=wrt.is_complex())
    except UnansweredError:
        return unanswered(exercise)
    except UnusableError as error:
        return invalid(exercise, str(error))
    true = jacobian(question)
    if agrees_with(given, answer, true):
        return correct(exercise, lambda: _ROWS_AND_COLUMNS)
    return Verdict(exercise, Outcome.WRONG, _differs(given, answer, true, set(true.shape)))


# -- one gradient ----------------------------------------------------------------------------------


def read(exercise: str, answer: object, case: Case, name: str) -> Tensor | ShapeError | Verdict:
    """The learner's numbers, or what stands in the way of comparing them.

    A verdict where they cannot be compared at all; the error where their shape is another one.
    """
    if answers.shares_storage(answer, _stored_gradient(case.question, name)):
        return invalid(exercise, _BY_HAND)
    true = case.question.gradients[name]
    try:
        return answers.read(answer, true.shape, complex_expected=true.is_complex())
    except UnansweredError:
        return unanswered(exercise)
    except ShapeError as error:
        return error
    except UnusableError as error:
        return invalid(exercise, str(error))


def other_shape(
    exercise: str,
    answer: object,
    error: ShapeError,
    case: Case,
    name: str,
    cuts: Mapping[Edge, Tensor],
) -> Verdict:
    """A wrong shape is told first; and the mistake that gives it, where one does."""
    if current().feedback == "verdict":
        return invalid(exercise, error.bare)
    verdict = invalid(exercise, str(error))
    if current().feedback != "full" or not 0 < math.prod(error.came) <= _MOST_ENTRIES:
        return verdict
    try:
        numbers = answers.read(answer, error.came)
    except (UnansweredError, UnusableError):
        return verdict
    given = _given(numbers, answer)
    try:
        mistakes = explain(_search(case, name, cuts), given)
        told = explained(mistakes, given, case.names)
    except Exception:
        return verdict  # no explanation is worth the verdict
    return replace(
        verdict,
        sentences=(str(error), *told),
        mistakes=tuple(mistake.name for mistake in mistakes[:1]),
    )


def is_right(given: Tensor, answer: object, question: Question, name: str) -> bool:
    """Whether the numbers are the true gradient."""
    true = question.gradients[name]
    if agrees_with(given, answer, true):
        return True
    return agrees_with(given, answer, true, _noise(answer, question, name))


def _noise(answer: object, question: Question, name: str) -> Tensor:
    return question.rounding(name, 2 * answers.resolution(answer))


def agrees_with(given: Tensor, answer: object, true: Tensor, noise: Tensor | None = None) -> bool:
    """Whether the numbers of an answer are those of a tensor, as exactly as their formats allow."""
    return bool(agrees(given, true.to(given.dtype), _rounding(answer, true), noise).all())


def _rounding(answer: object, true: Tensor) -> float:
    return max(answers.resolution(answer), answers.resolution(true))


def correct(exercise: str, reason: Callable[[], str]) -> Verdict:
    """The verdict on a right answer, with the reason why it is right where one can be given."""
    try:
        sentence = reason() if current().feedback == "full" else ""
    except Exception:
        sentence = ""  # no explanation is worth the verdict
    return Verdict(exercise, Outcome.CORRECT, (sentence,) if sentence else ())


def wrong(
    exercise: str,
    numbers: Tensor,
    answer: object,
    case: Case,
    name: str,
    cuts: Mapping[Edge, Tensor],
) -> Verdict:
    """Say what is wrong, as far as the settings allow, and why where that is found."""
    try:
        stale = changed_since(case.question, case.names, case.tensors)
        if stale:
            return state(exercise, states.changed_since(*stale))
        return _diagnosed(exercise, numbers, answer, case, name, cuts)
    except Exception:  # no explanation is worth the verdict
        true = case.question.gradients[name]
        return Verdict(exercise, Outcome.WRONG, _differs(numbers, answer, true, set(true.shape)))


def _diagnosed(
    exercise: str,
    numbers: Tensor,
    answer: object,
    case: Case,
    name: str,
    cuts: Mapping[Edge, Tensor],
) -> Verdict:
    if current().feedback == "verdict":
        return Verdict(exercise, Outcome.WRONG)
    full = current().feedback == "full"
    given = _given(numbers, answer)
    search = _search(case, name, cuts)
    right = search.right if cuts and search.right is not None else None
    true = case.question.gradients[name] if right is None else right.cpu()
    if given.is_rounded(true):
        return Verdict(exercise, Outcome.WRONG, (_TOO_FEW_DIGITS,))
    mistakes = explain(search, given) if numbers.numel() <= _MOST_ENTRIES else []
    noise = _noise(answer, case.question, name) if right is None else None
    pattern = full and not mistakes
    told = _differs(numbers, answer, true, _sizes(case.question), pattern=pattern, noise=noise)
    if not full:
        # Which mistake it was is left out, also where a program would read it.
        told += steps_to_check(search, case.names, mistakes[:1]) if mistakes else ()
        return Verdict(exercise, Outcome.WRONG, told)
    told += explained(mistakes, given, case.names)
    told += () if mistakes else steps_to_check(search, case.names)
    names = tuple(mistake.name for mistake in mistakes[:1])
    picture = _picture(case, mistakes)
    return Verdict(exercise, Outcome.WRONG, told, mistakes=names, picture=picture)


def _picture(case: Case, mistakes: Sequence[Mistake]) -> Picture | None:
    """The graph with the steps to look at marked, where there are any."""
    marked = places(mistakes)
    if not marked:
        return None
    secrets = list(case.question.gradients.values())
    try:
        return wrong_step(case.question, case.names, case.tensors, marked, secrets)
    except Exception:
        return None  # what is said is worth more than how it looks


def _differs(
    given: Tensor,
    answer: object,
    true: Tensor,
    sizes: set[int],
    *,
    pattern: bool = True,
    noise: Tensor | None = None,
) -> tuple[str, ...]:
    if current().feedback == "verdict":
        return ()
    resolution = _rounding(answer, true)
    return difference(
        given,
        true.to(given.dtype),
        sizes=sizes,
        resolution=resolution,
        rounding=noise,
        pattern=pattern,
    )


def _given(numbers: Tensor, answer: object) -> Given:
    return Given(numbers, answers.resolution(answer))


def _search(case: Case, name: str, cuts: Mapping[Edge, Tensor]) -> Search:
    return Search(case.question, name, case.tensors, cuts)


# -- the notebook around ---------------------------------------------------------------------------


def _stored_gradient(question: Question, name: str) -> Tensor | None:
    tensor = question.own.get(name, question.wrt[name])
    # Asking any other tensor for `.grad` makes PyTorch warn.
    return tensor.grad if tensor.is_leaf or tensor.retains_grad else None


def _sizes(question: Question) -> set[int]:
    """The numbers of entries, rows and columns that occur in the graph."""
    shapes = [meta.shape for node in question.nodes for meta in node._input_metadata]
    return {n for shape in shapes for n in (*shape, math.prod(shape))}
