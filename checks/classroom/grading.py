"""`checks grade`: mark a folder of submissions, and store what came of each.

Every result is a file of its own, written whole: a run that was ended goes on where it stopped, and
marking twice gives the same bytes.
"""

from __future__ import annotations

import hashlib
import json
import os
import queue
import re
import tempfile
import threading
import time
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict
from importlib import metadata
from pathlib import Path
from typing import Any

from checks.classroom.lesson import read
from checks.classroom.marking import Bench, Settings, mark
from checks.classroom.servers import Server, ServerError, zygote
from checks.classroom.submissions import Submission, find


def grade(
    submitted: Path,
    sources: Sequence[Path],
    to: Path,
    settings: Settings,
    *,
    jobs: int = 2,
    tell: Callable[[str], None] = print,
    progress: Callable[[list[Submission]], Iterable[object]] | None = None,
) -> int:
    """Mark all submissions that are not marked yet; return how many there are in all.

    Args:
        submitted: the folder of submissions.
        sources: the teacher's sources.
        to: the folder for the results.
        settings: limits, isolation, and what follow-through is worth.
        jobs: how many submissions are marked at the same time.
        tell: is given a sentence for each submission that cannot be marked at all.
        progress: is given the submissions, and gone through by one for each that is done.

    Raises:
        LessonError: a source is no lesson.
        CollectError: there is nothing to mark.
    """
    lessons = {path: read(path) for path in sources}
    benches = {lesson.name: Bench(lesson, path, settings) for path, lesson in lessons.items()}
    prints = {lesson.name: _fingerprint(path, settings) for path, lesson in lessons.items()}
    all_submissions = find(submitted, list(lessons.values()))
    _write(to / "run.json", _about(settings))
    work: queue.SimpleQueue[Submission] = queue.SimpleQueue()
    for submission in all_submissions:
        if not submission.lesson:
            tell(f"{submission.path}: which lesson this is cannot be told from its name.")
        else:
            work.put(submission)
    bar = iter(progress(all_submissions)) if progress else iter(())
    lock = threading.Lock()

    def done(_: Submission) -> None:
        with lock:
            next(bar, None)

    workers = [
        threading.Thread(target=_work, args=(work, benches, prints, to, done, tell), daemon=True)
        for _ in range(max(1, jobs))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    for bench in benches.values():
        bench.stop()
    for _ in bar:  # what could not be marked is passed over, too
        continue
    return len(all_submissions)


def _work(
    work: queue.SimpleQueue[Submission],
    benches: dict[str, Bench],
    prints: dict[str, str],
    to: Path,
    done: Callable[[Submission], None],
    tell: Callable[[str], None],
) -> None:
    """Mark until nothing is left; a zygote that fails is replaced."""
    cage: Server | None = None
    try:
        while True:
            try:
                submission = work.get_nowait()
            except queue.Empty:
                return
            target = to / submission.lesson / f"{safe_name(submission.student)}.json"
            wanted = {"source": prints[submission.lesson], "submission": _hash(submission.path)}
            if not _is_done(target, wanted):
                if cage is None:
                    cage = zygote()
                    cage.ready()
                begin = time.monotonic()
                try:
                    result = mark(submission.path, benches[submission.lesson], cage)
                except (ServerError, OSError, ValueError) as error:
                    tell(f"{submission.path}: it could not be marked ({error}). Mark it again.")
                    cage.stop()
                    cage = None
                else:
                    _store(target, submission, wanted, result, benches[submission.lesson].settings)
                    _log(to, submission, time.monotonic() - begin)
            done(submission)
    finally:
        if cage is not None:
            cage.stop()


def _store(
    target: Path,
    submission: Submission,
    wanted: dict[str, str],
    result: dict[str, Any],
    settings: Settings,
) -> None:
    about = {
        "student": submission.student,
        "assignment": submission.lesson,
        "isolation": _isolation(settings),
        **wanted,
    }
    _write(target, {**about, **result})


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
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError:
        return "unreadable"


def safe_name(student: str) -> str:
    """A file name for a student: unlike names stay unlike, and none leads anywhere else."""
    plain = re.sub(r"[^\w.@-]", "_", student).lstrip(".")[:80] or "_"
    same = plain == student and plain == plain.lower()
    return plain if same else f"{plain}-{hashlib.sha256(student.encode()).hexdigest()[:8]}"


def _write(path: Path, data: dict[str, Any]) -> None:
    """Write a file whole or not at all."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=".")
    with os.fdopen(handle, "w", encoding="utf-8", newline="\n") as file:
        file.write(text)
    Path(name).replace(path)


def _log(to: Path, submission: Submission, seconds: float) -> None:
    """Times are kept apart from the marks, which are the same each time."""
    with (to / "log.csv").open("a", encoding="utf-8") as file:
        file.write(f"{safe_name(submission.student)},{submission.lesson},{seconds:.3f}\n")
