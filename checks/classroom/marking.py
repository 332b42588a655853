"""Mark one submission: run its answers in a cage, have them judged, and say what came of it."""

from __future__ import annotations

import ast
import hashlib
import threading
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from checks.classroom.cell import Cell, Role, check_call
from checks.classroom.fence import Isolation, Limits
from checks.classroom.lesson import Lesson
from checks.classroom.pairing import Handed, SubmissionError, load, pair
from checks.classroom.servers import Server, ServerError, judge

_JUDGING = 120.0  # seconds that a judge may take for one answer, calls of functions included


@dataclass(frozen=True)
class Settings:
    """What holds for a whole run, and is stored with it."""

    limits: Limits
    isolation: Isolation
    follow_through: float = 1.0


@dataclass(frozen=True)
class Ran:
    """What a submission answered: plain data by exercise, and what went wrong on the way."""

    answers: Mapping[str, Any]
    notes: Mapping[str, list[str]]


class Bench:
    """The judge of one lesson, for all submissions of a run; started when it is first needed."""

    def __init__(self, lesson: Lesson, source: Path, settings: Settings) -> None:
        self.lesson = lesson
        self.source = source
        self.settings = settings
        self._server: Server | None = None
        self._lock = threading.Lock()

    def judge(self, label: str, answer: Any, cage: Server) -> dict[str, Any]:
        """Have one answer judged; functions are called in the cage, which is still there."""
        with self._lock:
            try:
                return self._ask(label, answer, cage)
            except ServerError as error:
                self.stop()
                return _closed(f"It could not be judged: {error}.")

    def _ask(self, label: str, answer: Any, cage: Server) -> dict[str, Any]:
        if self._server is None:
            self._server = judge(self.source, self.settings.follow_through)
            self._server.ready()
        server = self._server
        server.say({"label": label, "answer": answer})
        while True:
            message = server.hear(_JUDGING)
            if "call" not in message:
                return message
            cage.say({"label": message["call"], "args": message["args"]})
            reply = cage.hear(self.settings.limits.seconds + 10)
            server.say(reply)

    def stop(self) -> None:
        """End the judge; the next answer starts a new one."""
        if self._server is not None:
            self._server.stop()
            self._server = None


def mark(path: Path, bench: Bench, cage: Server) -> dict[str, Any]:
    """Mark the notebook at `path`.

    Returns:
        What `results/<assignment>/<student>.json` holds of it: "notes" and "exercises".
    """
    source = bench.lesson.cells
    try:
        handed = pair(load(path), source)
    except SubmissionError as error:
        blank = {cell.id: cell.blank for cell in source if cell.role is Role.ANSWER}
        exercises = [
            _exercise(cell, source, _closed(str(error)), blank, []) for cell in _checks(source)
        ]
        return {"notes": [str(error)], "exercises": exercises}
    ran = run(source, handed, bench.settings, cage, seed=_seed(path))
    exercises = []
    try:
        for cell in _checks(source):
            answer = ran.answers.get(cell.label, {"blank": True})
            judged = bench.judge(cell.label, answer, cage)
            notes = ran.notes.get(cell.label, [])
            exercises.append(_exercise(cell, source, judged, handed.typed, notes))
    finally:
        _dismiss(cage)
    flagged = {c.id: c.label for c in source if c.role is Role.ANSWER}
    for exercise in exercises:
        exercise["flags"] = [
            told for id_, label in flagged.items() if label == exercise["label"]
            for told in handed.flags.get(id_, ())
        ]  # fmt: skip
    return {"notes": list(handed.notes), "exercises": exercises}


def run(
    source: tuple[Cell, ...], handed: Handed, settings: Settings, cage: Server, *, seed: int
) -> Ran:
    """Run a submission until it comes through: the cell that ended it is left out the next time.

    The cage of the last run is left standing, so that functions can be called.
    """
    cells = [cell for cell in source if cell.role is not Role.TEXT]
    numbers = [k for k, cell in enumerate(cells) if cell.role is Role.ANSWER]
    job: dict[str, Any] = {
        "cells": [_plain(cell, handed) for cell in cells],
        "limits": asdict(settings.limits),
        "isolation": asdict(settings.isolation),
        "seed": seed,
        "blanked": [],
    }
    ended: dict[str, list[str]] = {}
    for _ in range(len(numbers) + 1):
        cage.say(job)
        answers, notes, end = _listen(cage, cells, settings.limits.seconds)
        if end is None:
            break
        _hear_the_end(cage)
        number, why = end
        guilty = [k for k in numbers if k <= number and k not in job["blanked"]]
        if not guilty:
            break
        job["blanked"] = [*job["blanked"], guilty[-1]]
        ended.setdefault(cells[guilty[-1]].label, []).append(f"This cell was left out: {why}.")
    return Ran(
        answers, {label: ended.get(label, []) + notes.get(label, []) for label in {*ended, *notes}}
    )


def _listen(
    cage: Server, cells: list[Cell], seconds: float
) -> tuple[dict[str, Any], dict[str, list[str]], tuple[int, str] | None]:
    """Hear a run to its end: the answers, notes by exercise, and where and why it was ended."""
    answers: dict[str, Any] = {}
    notes: dict[str, list[str]] = {}
    while True:
        message = cage.hear(seconds + 60)
        if "done" in message:
            return answers, notes, None
        if "ended" in message:
            return answers, notes, (int(message["ended"]), str(message["why"]))
        if "answer" in message and isinstance(message.get("label"), str):
            answers.setdefault(message["label"], message["answer"])
        if isinstance(message.get("note"), str) and message.get("cell") in range(len(cells)):
            label = cells[message["cell"]].label
            notes.setdefault(label, []).append(f"The cell raised {message['note'][:300]}")


def _dismiss(cage: Server) -> None:
    cage.say({"enough": True})
    _hear_the_end(cage)


def _hear_the_end(cage: Server) -> None:
    while "over" not in cage.hear(60):
        continue


def _plain(cell: Cell, handed: Handed) -> dict[str, Any]:
    plain = {"role": str(cell.role), "code": cell.blank, "label": cell.label}
    if cell.role is Role.ANSWER:
        plain["typed"] = handed.typed[cell.id]
    if cell.role is Role.CHECK:
        plain["asked"] = ast.unparse(check_call(cell).args[1])
    return plain


def _checks(source: tuple[Cell, ...]) -> list[Cell]:
    return [cell for cell in source if cell.role is Role.CHECK]


def _exercise(
    cell: Cell,
    source: tuple[Cell, ...],
    judged: Mapping[str, Any],
    typed: Mapping[str, str],
    notes: list[str],
) -> dict[str, Any]:
    """One exercise of a result."""
    credit = min(1.0, max(0.0, float(judged.get("credit", 0.0))))
    code = [typed.get(c.id, "") for c in source if c.role is Role.ANSWER and c.label == cell.label]
    return {
        "label": cell.label,
        "points": cell.points,
        "credit": credit,
        "score": round(credit * cell.points, 4),
        "outcome": str(judged["outcome"]),
        "entries": dict(judged.get("entries", {})),
        "mistakes": sorted(set(judged.get("mistakes", ()))),
        "text": str(judged["text"]),
        "html": str(judged["html"]),
        "code": "\n\n".join(code),
        "notes": [*notes, *([judged["note"]] if judged.get("note") else [])],
        "flags": [],
    }


def _closed(why: str) -> dict[str, Any]:
    """No points: what a judgement is where none can be made."""
    return {"outcome": "invalid", "credit": 0.0, "text": why, "html": "", "mistakes": []}


def _seed(path: Path) -> int:
    """The random state that a submission begins with: the same each time it is marked."""
    return int.from_bytes(hashlib.sha256(path.read_bytes()).digest()[:4], "big")
