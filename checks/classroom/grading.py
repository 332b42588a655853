"""`checks grade`: mark a folder of submissions, and store what came of each.

Every result is a file of its own, written whole: a run that was ended goes on where it stopped, and
marking twice gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import stat
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Any

from checks.classroom.lesson import read
from checks.classroom.marking import Bench, JudgeError, mark, refused
from checks.classroom.names import safe_name
from checks.classroom.pairing import MOST_BYTES
from checks.classroom.running import Settings
from checks.classroom.servers import Server, ServerError, zygote
from checks.classroom.submissions import Submission, find

_TRIES = 2


@dataclass(frozen=True)
class Graded:
    """How many submissions there are; how many could not be marked, through no fault of theirs."""

    number: int
    failed: int


def grade(
    submitted: Path,
    sources: Sequence[Path],
    to: Path,
    settings: Settings,
    *,
    jobs: int = 2,
    tell: Callable[[str], None] = print,
    progress: Callable[[list[Submission]], Iterable[object]] | None = None,
) -> Graded:
    """Mark all submissions that are not marked yet.

    Args:
        submitted: the folder of submissions.
        sources: the teacher's sources.
        to: the folder for the results.
        settings: limits, isolation, and what follow-through is worth.
        jobs: how many submissions are marked at the same time.
        tell: is given a sentence for each thing that a teacher should know.
        progress: is given the submissions, and gone through by one for each that is done.

    Raises:
        LessonError: a source is no lesson.
        CollectError: there is nothing to mark.
    """
    lessons = {path: read(path) for path in sources}
    benches = {lesson.name: Bench(lesson, path, settings) for path, lesson in lessons.items()}
    prints = {lesson.name: _fingerprint(path, settings) for path, lesson in lessons.items()}
    submissions, notes = find(submitted, list(lessons.values()))
    write(to / "run.json", _about(settings))
    for note in notes:
        tell(note)
    work: queue.SimpleQueue[Submission] = queue.SimpleQueue()
    for submission in submissions:
        if submission.lesson:
            work.put(submission)
        else:
            tell(f"{submission.path}: which lesson this is cannot be told. It was left out.")
    bar = iter(progress(submissions)) if progress else iter(())
    run = _Marking(work, benches, prints, to, bar, tell)
    workers = [threading.Thread(target=run.work, daemon=True) for _ in range(max(1, jobs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for bench in benches.values():
        bench.stop()
    for _ in bar:  # what could not be marked is passed over, too
        continue
    return Graded(len(submissions), run.failed)


@dataclass
class _Marking:
    """What the workers of a run share."""

    submissions: queue.SimpleQueue[Submission]
    benches: dict[str, Bench]
    prints: dict[str, str]
    to: Path
    bar: Iterator[object]
    tell: Callable[[str], None]
    failed: int = 0
    lock: threading.Lock = field(default_factory=threading.Lock)

    def work(self) -> None:
        """Mark until nothing is left; a zygote that fails is replaced."""
        cages = _Cages()
        try:
            while True:
                try:
                    submission = self.submissions.get_nowait()
                except queue.Empty:
                    return
                self._one(submission, cages)
                with self.lock:
                    next(self.bar, None)
        finally:
            cages.stop()

    def _one(self, submission: Submission, cages: _Cages) -> None:
        """Mark one submission. Nothing that goes wrong here may reach the next one."""
        name = submission.lesson
        wanted = {"source": self.prints[name], "submission": _hash(submission.path)}
        target = self.to / name / f"{safe_name(submission.student)}.json"
        begin = time.monotonic()
        try:
            if _is_done(target, wanted):
                return
            result = self._marked(submission, cages)
            settings = self.benches[name].settings
            about = {"student": submission.student, "assignment": name}
            write(target, {**about, "isolation": _isolation(settings), **wanted, **result})
            with self.lock:
                _log(self.to, submission, time.monotonic() - begin)
        except Exception as error:
            with self.lock:
                self.failed += 1
                self.tell(f"{submission.path}: it could not be marked ({error}).")

    def _marked(self, submission: Submission, cages: _Cages) -> dict[str, Any]:
        bench = self.benches[submission.lesson]
        for _ in range(_TRIES):
            try:
                return mark(submission.path, bench, cages.get())
            except ServerError as error:
                cages.stop()
                why = f"This could not be marked: {error}."
            except JudgeError:
                raise
            except Exception:
                cages.stop()  # who knows what it was about to say
                raise
        return refused(bench.lesson, why)


class _Cages:
    """The zygote of one worker, started when it is first needed."""

    def __init__(self) -> None:
        self._server: Server | None = None

    def get(self) -> Server:
        """The zygote, warmed up."""
        if self._server is None:
            self._server = zygote()
            self._server.ready()
        return self._server

    def stop(self) -> None:
        """End it."""
        if self._server is not None:
            self._server.stop()
            self._server = None


def _isolation(settings: Settings) -> str | list[str]:
    missing = [name for name, stands in asdict(settings.isolation).items() if not stands]
    return missing or "full"


def _about(settings: Settings) -> dict[str, Any]:
    return {
        "version": metadata.version("autograd-by-hand"),
        "isolation": _isolation(settings),
        "settings": {
            "follow_through": settings.follow_through,
            "limits": asdict(settings.limits),
        },
    }


def _is_done(target: Path, wanted: dict[str, str]) -> bool:
    try:
        stored = json.loads(target.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all(stored.get(key) == value for key, value in wanted.items())


def _fingerprint(source: Path, settings: Settings) -> str:
    """What the marks depend on beside the submission."""
    text = source.read_text(encoding="utf-8") + json.dumps(_about(settings), sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()


def _hash(path: Path) -> str:
    """What tells whether a submission has changed. Only a file is read, and no endless one."""
    try:
        about = path.lstat()
        if not stat.S_ISREG(about.st_mode) or about.st_size > MOST_BYTES:
            return f"{about.st_size} bytes"
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def write(path: Path, data: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    try:
        # Halves of characters, which a learner's text may hold, cannot be written.
        with os.fdopen(handle, "w", encoding="utf-8", errors="replace", newline="\n") as file:
            file.write(text)
        Path(name).replace(path)
    except BaseException:
        Path(name).unlink(missing_ok=True)
        raise


def _log(to: Path, submission: Submission, seconds: float) -> None:
    """Times are kept apart from the marks, which are the same each time."""
    with (to / "log.csv").open("a", encoding="utf-8") as file:
        file.write(f"{safe_name(submission.student)},{submission.lesson},{seconds:.3f}\n")
