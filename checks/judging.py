"""From an answer and the truth to a verdict: one gradient, or several of one backward pass."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace

from torch import Tensor

from checks import answers, backward, states
from checks.answers import ShapeError, UnansweredError, UnusableError
from checks.backward import Edge
from checks.comparison import agrees, difference
from checks.deliver import invalid, state, unanswered
from checks.diagnosis import explain, explained, steps_to_check
from checks.graph import Names
from checks.illustration import wrong_step
from checks.matching import Given
from checks.search import Mistake, Search
from checks.settings import current
from checks.stale import changed_since
from checks.truth import Question, jacobian
from checks.verdict import Outcome, Picture, Verdict, overall
from checks.why import why
from checks.wording import listed, what_came

_BY_HAND = (
    "This is the very tensor that autograd filled in (a `.grad`). "
    "Here the gradient is to be found by hand."
)
_ROWS_AND_COLUMNS = (
    "Why: row i holds the derivatives of output i, and column j belongs to input j: "
    "`J[i, j]` = ∂y_i/∂x_j."
)
_MOST_ENTRIES = 100_000  # for a larger answer no mistake is looked for: it would take too long
_FOLLOWS = "It is not the true gradient, but it follows from your own upstream gradient."


@dataclass(frozen=True)
class Case:
    """A question with what is known around it: names, and the notebook's tensors."""

    question: Question
    names: Names
    tensors: tuple[Tensor, ...]


def judge(exercise: str, answer: object, case: Case, name: str) -> Verdict:
    """Judge one gradient."""
    given = _read(exercise, answer, case, name)
    if isinstance(given, Verdict):
        return given
    if isinstance(given, ShapeError):
        return _other_shape(exercise, answer, given, case, name, {})
    if _is_right(given, answer, case.question, name):
        return _correct(exercise, lambda: why(case.question, name, case.names))
    return _wrong(exercise, given, answer, case, name, {})


def judge_several(exercise: str, answer: object, case: Case) -> Verdict:
    """Judge several gradients of one backward pass, with follow-through.

    Each is judged against the truth *and* against what follows from the learner's own upstream
    answers. The graph knows their order.
    """
    wanted = case.question.wrt
    if answer is ... or answer is None:
        return unanswered(exercise)
    if not issubclass(type(answer), dict):
        sentence = f"{what_came(answer)} came. Expected: a dict with the keys {listed([*wanted])}."
        return invalid(exercise, sentence)
    assert isinstance(answer, dict)
    # A key that is no text may do anything when it is looked up.
    typed = {key: given for key, given in dict.items(answer) if type(key) is str}
    entries = _entries(typed, case)
    outcome = overall(entries)
    unknown = [key for key in dict.keys(answer) if type(key) is not str or key not in wanted]
    if unknown:
        sentence = f"Nothing was asked about {listed(unknown)}. The keys are {listed([*wanted])}."
        return Verdict(exercise, Outcome.INVALID, (sentence,), entries=entries)
    if outcome is Outcome.UNANSWERED and all(e.outcome is outcome for e in entries.values()):
        return unanswered(exercise)
    sentences = _first_wrong(entries, case) if current().feedback != "verdict" else ()
    mistakes = tuple(m for entry in entries.values() for m in entry.mistakes)
    return Verdict(exercise, outcome, sentences, entries=entries, mistakes=mistakes)


def judge_jacobian(exercise: str, answer: object, question: Question) -> Verdict:
    """Judge a Jacobian. It is computed only for an answer of its shape: it may be very large."""
    (wrt,) = question.wrt.values()
    if answers.shares_storage(answer, _stored_gradient(wrt)):
        return invalid(exercise, _BY_HAND)
    shape = (*question.of.shape, *wrt.shape)
    try:
        given = answers.read(answer, shape, complex_expected=wrt.is_complex())
    except UnansweredError:
        return unanswered(exercise)
    except UnusableError as error:
        return invalid(exercise, str(error))
    true = jacobian(question)
    if _agrees(given, answer, true):
        return _correct(exercise, lambda: _ROWS_AND_COLUMNS)
    return Verdict(exercise, Outcome.WRONG, _differs(given, answer, true, set(true.shape)))


# -- one gradient ----------------------------------------------------------------------------------


def _read(exercise: str, answer: object, case: Case, name: str) -> Tensor | ShapeError | Verdict:
    """The learner's numbers, or what stands in the way of comparing them."""
    if answers.shares_storage(answer, _stored_gradient(case.question.wrt[name])):
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


def _other_shape(
    exercise: str,
    answer: object,
    error: ShapeError,
    case: Case,
    name: str,
    cuts: Mapping[Edge, Tensor],
) -> Verdict:
    """A wrong shape is told first; and the mistake that gives it, where one does."""
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


def _is_right(given: Tensor, answer: object, question: Question, name: str) -> bool:
    true = question.gradients[name]
    if _agrees(given, answer, true):
        return True
    return _agrees(given, answer, true, _noise(answer, question, name))


def _noise(answer: object, question: Question, name: str) -> Tensor:
    return question.rounding(name, 2 * answers.resolution(answer))


def _agrees(given: Tensor, answer: object, true: Tensor, noise: Tensor | None = None) -> bool:
    return bool(agrees(given, true.to(given.dtype), _rounding(answer, true), noise).all())


def _rounding(answer: object, true: Tensor) -> float:
    return max(answers.resolution(answer), answers.resolution(true))


def _correct(exercise: str, reason: Callable[[], str]) -> Verdict:
    try:
        sentence = reason() if current().feedback == "full" else ""
    except Exception:
        sentence = ""  # no explanation is worth the verdict
    return Verdict(exercise, Outcome.CORRECT, (sentence,) if sentence else ())


def _wrong(
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
    feedback = current().feedback
    given = _given(numbers, answer)
    search = _search(case, name, cuts)
    mistakes = explain(search, given) if numbers.numel() <= _MOST_ENTRIES else []
    told: tuple[str, ...] = ()
    if feedback != "verdict":
        pattern = not mistakes and feedback == "full"
        right = search.right if cuts and search.right is not None else None
        true = case.question.gradients[name] if right is None else right.cpu()
        noise = _noise(answer, case.question, name) if right is None else None
        told = _differs(numbers, answer, true, _sizes(case.question), pattern=pattern, noise=noise)
    if feedback == "hint" and mistakes:
        told += steps_to_check(search, case.names, mistakes[:1])
    elif feedback == "full":
        told += explained(mistakes, given, case.names)
        if not mistakes:
            told += steps_to_check(search, case.names)
    names = tuple(mistake.name for mistake in mistakes[:1])
    picture = _picture(case, mistakes) if feedback == "full" else None
    return Verdict(exercise, Outcome.WRONG, told, mistakes=names, picture=picture)


def _picture(case: Case, mistakes: Sequence[Mistake]) -> Picture | None:
    """The graph with the steps to look at marked, where there are any."""
    marked = [mistake.node for mistake in mistakes if mistake.node is not None]
    if not marked:
        return None
    secrets = list(case.question.gradients.values())
    return wrong_step(case.question, case.names, case.tensors, marked, secrets)


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
    true = true.to(given.dtype)
    found = difference(given, true, sizes=sizes, resolution=resolution, rounding=noise)
    return found.sentences if pattern else found.sentences[: found.total > 1]


def _given(numbers: Tensor, answer: object) -> Given:
    return Given(numbers, answers.resolution(answer))


def _search(case: Case, name: str, cuts: Mapping[Edge, Tensor]) -> Search:
    return Search(case.question, name, case.tensors, cuts)


# -- several gradients -----------------------------------------------------------------------------


def _entries(typed: Mapping[str, object], case: Case) -> dict[str, Verdict]:
    question = case.question
    read = {name: _read(name, typed.get(name, ...), case, name) for name in question.wrt}
    numbers = {name: given for name, given in read.items() if isinstance(given, Tensor)}
    right = {
        name for name, given in numbers.items() if _is_right(given, typed[name], question, name)
    }
    if len(right) == len(read):
        return {name: _correct(name, _reason(case, name)) for name in read}
    # Why one entry is right would tell the gradients upstream of it, which may be open still.
    entries = {name: Verdict(name, Outcome.CORRECT) for name in read}
    cuts = _cuts(numbers, question)
    followed = backward.run(question.root, question.v, question.nodes, cuts=cuts).arriving
    for name in numbers.keys() - right:
        expected = followed.get(question.edges[name])
        if expected is not None and _agrees(numbers[name], typed[name], expected.cpu()):
            told = (_FOLLOWS,) if current().feedback != "verdict" else ()
            worth = current().follow_through
            entries[name] = Verdict(name, Outcome.WRONG, told, follows=True, worth=worth)
        else:
            entries[name] = _wrong(name, numbers[name], typed[name], case, name, cuts)
    for name, given in read.items():
        if isinstance(given, Verdict):
            entries[name] = given
        elif isinstance(given, ShapeError):
            entries[name] = _other_shape(name, typed[name], given, case, name, cuts)
    return entries


def _reason(case: Case, name: str) -> Callable[[], str]:
    """Why an entry is right; nothing where another entry's chain goes on from it and tells all."""
    question = case.question
    here = question.edges[name][0]
    others = {node for node, _ in question.edges.values()} - {here}
    goes_on = question.is_large or bool(backward.order(here, others))
    return lambda: "" if goes_on else why(question, name, case.names)


def _cuts(numbers: Mapping[str, Tensor], question: Question) -> dict[Edge, Tensor]:
    """The learner's own gradients, to go on with; of two names for one tensor, the first."""
    cuts: dict[Edge, Tensor] = {}
    for name, given in numbers.items():
        tensor = question.wrt[name]
        cuts.setdefault(question.edges[name], given.to(tensor.dtype).to(tensor.device))
    return cuts


def _first_wrong(entries: Mapping[str, Verdict], case: Case) -> tuple[str, ...]:
    """Name the first wrong step, in the order of the backward pass."""
    here = [name for name, e in entries.items() if e.outcome is Outcome.WRONG and not e.follows]
    if not here or len(entries) < 2:
        return ()
    place = {node: number for number, node in enumerate(case.question.nodes)}
    if case.question.is_large:
        return ()
    first = min(here, key=lambda name: place[case.question.edges[name][0]])
    return (f"Begin with `{first}`: on the way back it is the first that is wrong.",)


# -- the notebook around ---------------------------------------------------------------------------


def _stored_gradient(tensor: Tensor) -> Tensor | None:
    # Asking any other tensor for `.grad` makes PyTorch warn.
    return tensor.grad if tensor.is_leaf or tensor.retains_grad else None


def _sizes(question: Question) -> set[int]:
    """The numbers of entries, rows and columns that occur in the graph."""
    shapes = [meta.shape for node in question.nodes for meta in node._input_metadata]
    return {n for shape in shapes for n in (*shape, math.prod(shape))}
