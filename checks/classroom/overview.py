"""What a class did in an assignment: marks, exercises, and which mistakes were made how often."""

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import groupby
from statistics import mean, median
from typing import Any

from checks.classroom.results import Exercise, Result
from checks.verdict import Outcome

_BINS = 10
_UNEXPLAINED = "wrong, and no known mistake explains it"
_MANY = 3  # kinds of step that are named, where a mistake can be made at several


@dataclass(frozen=True)
class Bin:
    """A stretch of the marks, in per cent, and how many are in it. The last one holds 100 %."""

    low: int
    high: int
    count: int
    share: float


@dataclass(frozen=True)
class ExerciseRow:
    """How the class did in one exercise; `share` of the points that were earned, 0 to 1."""

    label: str
    points: float
    counts: dict[Outcome, int]
    share: float


@dataclass(frozen=True)
class MistakeRow:
    """One mistake in one exercise: who made it, of how many."""

    says: str
    label: str
    students: tuple[str, ...]
    of: int


@dataclass(frozen=True)
class Remark:
    """Something about a submission that a teacher should look at; `label` where it is in one."""

    result: Result
    label: str
    kind: str
    text: str


@dataclass(frozen=True)
class Assignment:
    """All results of one assignment. `results` is not empty."""

    name: str
    results: tuple[Result, ...]

    @property
    def points(self) -> float:
        """The points that there are to earn."""
        return max(result.points for result in self.results)

    @property
    def mean(self) -> float:
        """The mean of the scores."""
        return mean(result.score for result in self.results)

    @property
    def median(self) -> float:
        """The median of the scores."""
        return median(result.score for result in self.results)

    @property
    def is_mixed(self) -> bool:
        """Whether the results come from different sources or settings."""
        return len({result.source for result in self.results}) > 1

    @property
    def bins(self) -> list[Bin]:
        """The distribution of the marks; empty where there is nothing to earn."""
        if not self.points:
            return []
        counts = [0] * _BINS
        for result in self.results:
            counts[min(_BINS - 1, int(_BINS * result.score / self.points))] += 1
        width = 100 // _BINS
        return [
            Bin(k * width, (k + 1) * width, count, count / max(counts))
            for k, count in enumerate(counts)
        ]

    @property
    def unread(self) -> list[str]:
        """The students of whom nothing could be marked; they count in no exercise."""
        return [result.student for result in self.results if result.unread]

    @property
    def exercises(self) -> list[ExerciseRow]:
        """How each exercise went, in the lesson's order."""
        rows = []
        for label, done in self._by_label().items():
            points = sum(exercise.points for _, exercise in done)
            counts = dict.fromkeys(Outcome, 0)
            for _, exercise in done:
                counts[exercise.outcome] += 1
            share = sum(exercise.score for _, exercise in done) / points if points else 0.0
            rows.append(ExerciseRow(label, done[0][1].points, counts, share))
        return rows

    @property
    def mistakes(self) -> list[MistakeRow]:
        """The mistakes that were made, the most frequent first."""
        rows = []
        for label, done in self._by_label().items():
            made: dict[str, list[str]] = defaultdict(list)
            for result, exercise in done:
                for says in _said(exercise):
                    made[says].append(result.student)
            rows += [MistakeRow(says, label, tuple(who), len(done)) for says, who in made.items()]
        return sorted(rows, key=lambda row: (row.says == _UNEXPLAINED, -len(row.students)))

    @property
    def remarks(self) -> list[Remark]:
        """Flags first, then notes."""
        flags = [
            Remark(result, exercise.label, "flag", text)
            for result in self.results
            for exercise in result.exercises
            for text in exercise.flags
        ]
        notes = [
            Remark(result, label, "note", text)
            for result in self.results
            for label, texts in [
                ("", result.notes),
                *((e.label, e.notes) for e in result.exercises),
            ]
            for text in texts
        ]
        return flags + notes

    def _by_label(self) -> dict[str, list[tuple[Result, Exercise]]]:
        found: dict[str, list[tuple[Result, Exercise]]] = defaultdict(list)
        for result in (result for result in self.results if not result.unread):
            for exercise in result.exercises:
                found[exercise.label].append((result, exercise))
        return found


def assignments(results: Sequence[Result]) -> list[Assignment]:
    """Group results, which are in order, by their assignment."""
    groups = groupby(results, key=lambda result: result.assignment)
    return [Assignment(name, tuple(group)) for name, group in groups]


def in_words(mistake: str) -> str:
    """Say the mistake of a name, "mean-count" or two that came together, "mean-count+sign"."""
    return ", and ".join(_catalogue().get(name, name) for name in mistake.split("+"))


def _said(exercise: Exercise) -> Iterable[str]:
    """The mistakes of an exercise in words, each once: two names may say the same."""
    if exercise.outcome is Outcome.WRONG and not exercise.mistakes:
        return [_UNEXPLAINED]
    return dict.fromkeys(map(in_words, exercise.mistakes))


@cache
def _catalogue() -> dict[str, str]:
    """What each mal-rule says, by its name."""
    from checks.graph import OPERATIONS
    from checks.malrules import (
        BROADCAST_RULES,
        MEETING_RULES,
        NODE_RULES,
        RESULT_RULES,
        MalRule,
    )

    rules: list[MalRule[Any, Any]] = [*NODE_RULES, *BROADCAST_RULES, *MEETING_RULES, *RESULT_RULES]
    said = {}
    for rule in rules:
        steps = list(dict.fromkeys(OPERATIONS[k][0] for k in rule.kinds if k in OPERATIONS))
        step = " or ".join(steps) if 0 < len(steps) <= _MANY else "function"
        said[rule.name] = rule.says.format(operation=step)
    return said
