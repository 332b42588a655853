"""Judge several gradients of one backward pass, with follow-through.

Maths examiners mark a step that is right given an earlier wrong step as right: the mistake is
counted once, where it was made. So each gradient is judged against the truth *and* against what
follows from the learner's own gradients upstream of it: a backward pass that is cut at each of
them, and goes on with the learner's number. The graph knows their order.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import replace

from torch import Tensor

from checks import backward
from checks.answers import ShapeError
from checks.backward import Edge
from checks.comparison import agrees
from checks.deliver import invalid, unanswered
from checks.diagnosis import steps_to_check
from checks.judging import Case, agrees_with, correct, is_right, other_shape, read, wrong
from checks.search import Search
from checks.settings import current
from checks.truth import Question
from checks.verdict import Outcome, Verdict, overall
from checks.why import why
from checks.wording import listed, what_came

_FAULTY = (Outcome.WRONG, Outcome.INVALID)
_BEGIN = "Begin with `{}`: on the way back it is the first that is not right."
_FOLLOWS = "It is not the true gradient, but it follows from your own upstream gradient."
_NOTHING = "It is zero because your own upstream gradient is zero: mend that first."
_ROUNDED = "It follows from your own upstream gradient, which is right, but rounded too much."


def judge_several(exercise: str, answer: object, case: Case) -> Verdict:
    """Judge several gradients, each by itself and all together."""
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
    first = _first_wrong(entries, case.question)
    # One picture is enough: that of the step to begin with.
    entries = {
        name: e if name == first else replace(e, picture=None) for name, e in entries.items()
    }
    _said_once(entries)
    several = sum(entry.outcome in _FAULTY for entry in entries.values()) > 1
    sentences = (_BEGIN.format(first),) if several and first and not _is_exam() else ()
    mistakes = tuple(m for entry in entries.values() for m in entry.mistakes)
    return Verdict(exercise, outcome, sentences, entries=entries, mistakes=mistakes)


def _entries(typed: Mapping[str, object], case: Case) -> dict[str, Verdict]:
    question = case.question
    given = {name: read(name, typed.get(name, ...), case, name) for name in question.wrt}
    numbers = {name: came for name, came in given.items() if isinstance(came, Tensor)}
    right = {name for name, came in numbers.items() if is_right(came, typed[name], question, name)}
    if len(right) == len(given):
        return {name: correct(name, _reason(case, name)) for name in given}
    # Why one entry is right would tell the gradients upstream of it, which may be open still.
    entries = {name: Verdict(name, Outcome.CORRECT) for name in given}
    wanting = numbers.keys() - right
    cuts = _cuts(numbers, question, wanting)
    from_all = _followed(question, cuts)
    from_right = _followed(question, _cuts({name: numbers[name] for name in right}, question))
    for name in wanting:

        def follows(expected: Mapping[str, Tensor], name: str = name) -> bool:
            there = expected.get(name)
            return there is not None and agrees_with(numbers[name], typed[name], there)

        if follows(from_right):
            entries[name] = _following(name, _ROUNDED, 1.0)
        elif follows(from_all) and not from_all[name].any():
            # With a zero to go on from, nothing of this step is left to show.
            entries[name] = _following(name, _NOTHING, 0.0)
        elif follows(from_all):
            entries[name] = _following(name, _FOLLOWS, current().follow_through)
        elif _tells(name, numbers, question, given.keys() - right - {name}, right):
            entries[name] = _without_reason(name, case)
        else:
            entries[name] = wrong(name, numbers[name], typed[name], case, name, cuts)
    for name, came in given.items():
        if isinstance(came, Verdict):
            entries[name] = came
        elif isinstance(came, ShapeError):
            entries[name] = other_shape(name, typed[name], came, case, name, cuts)
    return entries


def _said_once(entries: dict[str, Verdict]) -> None:
    """Leave out of all entries but the first that they follow: their heads say it, too."""
    following = [name for name, e in entries.items() if e.sentences == (_FOLLOWS,)]
    for name in following[1:]:
        entries[name] = replace(entries[name], sentences=())


def _following(name: str, sentence: str, worth: float) -> Verdict:
    told = () if _is_exam() else (sentence,)
    return Verdict(name, Outcome.WRONG, told, follows=True, worth=worth)


def _tells(
    name: str,
    numbers: Mapping[str, Tensor],
    question: Question,
    still_open: Collection[str],
    found: Collection[str],
) -> bool:
    """Whether wrong numbers are the right ones of a gradient that is still to be found.

    Who takes one gradient for another, and is told so, is told the other. Not where the two are
    merely exchanged: then both have been found.
    """

    def is_that_of(given: str, other: str) -> bool:
        true, came = question.gradients[other], numbers.get(given)
        if came is None or came.shape != true.shape:
            return False
        return bool(agrees(came, true.to(came.dtype)).all())

    taken = [other for other in still_open if is_that_of(name, other)]
    if any(is_that_of(name, other) for other in found):
        return False
    return any(not is_that_of(other, name) for other in taken)


def _without_reason(name: str, case: Case) -> Verdict:
    search = Search(case.question, name, case.tensors)
    told = steps_to_check(search, case.names) if current().feedback == "full" else ()
    return Verdict(name, Outcome.WRONG, told)


def _cuts(
    numbers: Mapping[str, Tensor], question: Question, first: Collection[str] = ()
) -> dict[Edge, Tensor]:
    """The learner's own gradients, to go on with.

    Where one tensor has several names, that of `first` counts: with a right one nothing is cut.
    """
    cuts: dict[Edge, Tensor] = {}
    for name in sorted(numbers, key=lambda name: name not in first):
        tensor = question.wrt[name]
        cuts.setdefault(question.edges[name], numbers[name].to(tensor.dtype).to(tensor.device))
    return cuts


def _followed(question: Question, cuts: Mapping[Edge, Tensor]) -> dict[str, Tensor]:
    """What follows from the learner's gradients, for each name; nothing where it is not known."""
    try:
        seen = backward.run(question.root, question.v, question.nodes, cuts=cuts)
    except Exception:
        return {}  # a step that cannot be called by itself: all are judged against the truth alone
    found = {name: seen.arriving.get(edge) for name, edge in question.edges.items()}
    return {name: gradient.cpu() for name, gradient in found.items() if gradient is not None}


def _reason(case: Case, name: str) -> Callable[[], str]:
    """Why an entry is right; nothing where another entry's chain goes on from it and tells all."""
    question = case.question
    here = question.edges[name][0]
    others = {node for node, _ in question.edges.values()} - {here}
    goes_on = question.is_large or bool(backward.order(here, others))
    return lambda: "" if goes_on else why(question, name, case.names)


def _first_wrong(entries: Mapping[str, Verdict], question: Question) -> str:
    """The first entry, in the order of the backward pass, that is wrong by itself; or ''."""
    wrong_here = [name for name, e in entries.items() if e.outcome in _FAULTY and not e.follows]
    if not wrong_here or question.is_large:
        return ""
    place = {node: number for number, node in enumerate(question.nodes)}
    return min(wrong_here, key=lambda name: place[question.edges[name][0]])


def _is_exam() -> bool:
    return current().feedback == "verdict"
