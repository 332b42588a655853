"""What `checks grade` has stored, read back."""

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checks.verdict import Outcome


@dataclass(frozen=True)
class Exercise:
    """What came of one exercise of one submission. `mistakes` are names of mal-rules."""

    label: str
    points: float
    score: float
    outcome: Outcome
    mistakes: tuple[str, ...]
    text: str
    html: str
    code: str
    notes: tuple[str, ...]
    flags: tuple[str, ...]


@dataclass(frozen=True)
class Result:
    """What came of one submission.

    `file` is the stem of the file that it was read from; `source` tells with what it was marked;
    `missing` names the fences that did not stand.
    """

    student: str
    assignment: str
    file: str
    source: str
    missing: tuple[str, ...]
    notes: tuple[str, ...]
    exercises: tuple[Exercise, ...]

    @property
    def unread(self) -> bool:
        """Whether there was nothing to mark: no notebook, or one that is not known."""
        return bool(self.exercises) and all(
            exercise.outcome is Outcome.INVALID and exercise.text in self.notes
            for exercise in self.exercises
        )

    @property
    def score(self) -> float:
        """The points that were earned."""
        return round(sum(exercise.score for exercise in self.exercises), 4)

    @property
    def points(self) -> float:
        """The points that there were to earn."""
        return sum(exercise.points for exercise in self.exercises)


def read(folder: Path) -> tuple[list[Result], list[str]]:
    """Read all results of a run, in order; and a sentence for each file that cannot be read."""
    results, problems = [], []
    for path in sorted(folder.glob("*/*.json")):
        try:
            results.append(_result(json.loads(path.read_text(encoding="utf-8")), path.stem))
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            problems.append(f"{path}: this is not a result of `checks grade`, and was left out.")
    key = lambda result: (result.assignment, result.student.casefold(), result.file)  # noqa: E731
    return sorted(results, key=key), problems


def left_out(folder: Path) -> list[str]:
    """The files that the last run left out, since it could not be told which lesson they are."""
    try:
        return [*map(str, json.loads((folder / "run.json").read_text("utf-8"))["left_out"])]
    except (OSError, ValueError, KeyError, TypeError):
        return []


def _result(stored: Mapping[str, Any], file: str) -> Result:
    isolation = stored["isolation"]
    return Result(
        student=str(stored["student"]),
        assignment=str(stored["assignment"]),
        file=file,
        source=str(stored["source"]),
        missing=() if isolation == "full" else tuple(map(str, isolation)),
        notes=tuple(map(str, stored["notes"])),
        exercises=tuple(_exercise(exercise) for exercise in stored["exercises"]),
    )


def _exercise(stored: Mapping[str, Any]) -> Exercise:
    return Exercise(
        label=str(stored["label"]),
        points=float(stored["points"]),
        score=float(stored["score"]),
        outcome=Outcome(stored["outcome"]),
        mistakes=tuple(map(str, stored["mistakes"])),
        text=str(stored["text"]),
        html=str(stored["html"]),
        code=str(stored["code"]),
        notes=tuple(map(str, stored["notes"])),
        flags=tuple(map(str, stored["flags"])),
    )
