"""Mark one submission: run its answers in a cage, have them judged, and say what came of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import Any

from checks.classroom.cell import Cell, Role
from checks.classroom.lesson import Lesson
from checks.classroom.pairing import Handed, SubmissionError, cells_of, pair
from checks.classroom.running import Run, Settings
from checks.classroom.servers import Server, ServerError, judge
from checks.classroom.warm import Warm

_JUDGING = 120.0  # seconds that a judge may take for one answer, calls of functions left out
_TRIES = 2
_LONGEST_TEXT, _LONGEST_HTML = 50_000, 2_000_000  # characters; of the second, most are a drawing's


class JudgeError(RuntimeError):
    """A lesson with which nothing can be marked."""


class Bench:
    """The judge of one lesson, for one submission after another; started when first needed."""

    def __init__(self, lesson: Lesson, settings: Settings, warm: Callable[[], Warm]) -> None:
        self.lesson = lesson
        self.settings = settings
        self._warm = warm
        self._server: Server | None = None

    def judge(self, label: str, run: Run) -> tuple[dict[str, Any], str]:
        """Have one answer judged. A function is called in the cage, which is still there.

        Returns:
            The judgement, and why the process ended that was asked for it ("" if it did not).

        Raises:
            ServerError: the process that runs submissions has failed.
            JudgeError: nothing can be judged with this lesson.
        """
        for _ in range(_TRIES):  # a judge may be ended from outside, or by what it is asked
            ended = ""
            message = self._told({"label": label, "answer": run.answer(label)})
            while "call" in message:
                reply = {"ended": ended} if ended else run.call(message)
                ended = ended or str(reply.get("why", ""))
                message = self._told(reply)
            if "lost" not in message:
                return message, ended
        return closed(f"It could not be judged: {message['lost']}."), ended

    def stop(self) -> None:
        """End the judge; the next answer starts a new one."""
        if self._server is not None:
            self._server.stop()
            self._server = None

    def _told(self, message: Mapping[str, Any]) -> dict[str, Any]:
        """What the judge says to a message; {"lost": why} where it says nothing any more."""
        server = self._ready()
        try:
            server.say(dict(message))
            return server.hear(_JUDGING)
        except ServerError as error:
            self.stop()
            return {"lost": str(error)}

    def _ready(self) -> Server:
        for _ in range(_TRIES):
            if self._server is not None:
                return self._server
            server = judge(self._warm(), self.lesson, self.settings.follow_through)
            try:
                server.hear(_JUDGING)
                self._server = server
            except ServerError:
                server.stop()
        if self._server is None:
            problem = "does not run by itself; `checks build` says why"
            raise JudgeError(f"{self.lesson.name}.md {problem}")
        return self._server


def mark(submitted: bytes, bench: Bench, zygote: Server) -> dict[str, Any]:
    """Mark a notebook, which is given as the bytes of its file.

    Returns:
        What `results/<assignment>/<student>.json` holds of it: "notes" and "exercises".

    Raises:
        ServerError: the process that runs submissions has failed.
        JudgeError: nothing can be judged with this lesson.
    """
    source = bench.lesson.cells
    checks = [cell for cell in source if cell.role is Role.CHECK]
    try:
        handed = pair(cells_of(submitted), source)
    except SubmissionError as error:
        return refused(bench.lesson, str(error))
    run = Run(source, handed.typed, bench.settings, zygote)
    judged: dict[str, dict[str, Any]] = {}
    try:
        for cell in checks:
            judged[cell.label] = _judged(cell.label, bench, run)
    finally:
        run.close()
    exercises = [
        _exercise(cell, judged[cell.label], _parts(cell, source, handed)) for cell in checks
    ]
    return {"notes": list(handed.notes), "exercises": exercises}


def _judged(label: str, bench: Bench, run: Run) -> dict[str, Any]:
    """Have an exercise judged; if its function ends the process, once more without later cells."""
    judged, ended = bench.judge(label, run)
    if ended and run.until(label):
        judged, ended = bench.judge(label, run)
        if not ended:
            run.again()
    notes = run.notes(label)
    if ended:
        notes.append(f"The function ended its process: {ended}.")
        run.without(label, ended)
    return {**judged, "notes": notes}


def refused(lesson: Lesson, why: str) -> dict[str, Any]:
    """What comes of a submission of which nothing can be marked."""
    checks = (cell for cell in lesson.cells if cell.role is Role.CHECK)
    return {
        "notes": [why],
        "exercises": [_exercise(cell, closed(why), ([], [])) for cell in checks],
    }


def closed(why: str) -> dict[str, Any]:
    """No points: what a judgement is where none can be made."""
    return {"outcome": "invalid", "credit": 0.0, "text": why, "html": "", "mistakes": []}


def _shown(text: str, html: str) -> dict[str, str]:
    """What is kept of a verdict: what is very long, as a forged answer may be, is not."""
    if len(html) > _LONGEST_HTML:
        html = ""
    return {
        "text": text if len(text) <= _LONGEST_TEXT else f"{text[:_LONGEST_TEXT]}…",
        "html": html,
    }


def _parts(check: Cell, source: Sequence[Cell], handed: Handed) -> tuple[list[str], list[str]]:
    """The learner's code for an exercise, and what a teacher should look at in it."""
    cells = [c for c in source if c.role is Role.ANSWER and c.label == check.label]
    flags = [told for cell in cells for told in handed.flags.get(cell.id, ())]
    return [handed.typed[cell.id] for cell in cells], list(dict.fromkeys(flags))


def _exercise(
    cell: Cell, judged: Mapping[str, Any], parts: tuple[list[str], list[str]]
) -> dict[str, Any]:
    """One exercise of a result."""
    code, flags = parts
    credit = min(1.0, max(0.0, float(judged["credit"])))
    return {
        "label": cell.label,
        "points": cell.points,
        "credit": credit,
        "score": round(credit * cell.points, 4),
        "outcome": str(judged["outcome"]),
        "entries": dict(judged.get("entries", {})),
        "mistakes": sorted(set(judged.get("mistakes", ()))),
        **_shown(str(judged["text"]), str(judged["html"])),
        "code": "\n\n".join(code),
        "notes": [*judged.get("notes", ()), *filter(None, [judged.get("note")])],
        "flags": flags,
    }
