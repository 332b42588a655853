"""`checks grade`: mark a folder of submissions, and store what came of each.

Marking is a map over submissions through the interface of `concurrent.futures.Executor`. Every
result is a file of its own, written whole: a run that was ended goes on where it stopped, and
marking twice gives the same bytes.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import (
    FIRST_COMPLETED,
    CancelledError,
    Executor,
    Future,
    ThreadPoolExecutor,
    as_completed,
    wait,
)
from dataclasses import asdict, dataclass
from importlib import metadata
from itertools import islice
from pathlib import Path
from typing import Any

from checks import whole
from checks.classroom import station
from checks.classroom.lesson import read
from checks.classroom.marking import JudgeError
from checks.classroom.names import safe_name
from checks.classroom.pairing import NONE_FOUND, SubmissionError, load
from checks.classroom.release import by_name, normal, varies
from checks.classroom.running import Settings
from checks.classroom.station import Task
from checks.classroom.submissions import Submission, find


class AtOnce(KeyboardInterrupt):
    """A second interrupt: not even what is being marked is waited for."""


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
    students: Sequence[str] = (),
    executor: Executor | None = None,
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
        students: the roster of a lesson that was released with other numbers for each of them.
        executor: what marks them; without it, threads with processes of their own on this machine.
        tell: is given a sentence for each thing that a teacher should know.
        progress: is given the submissions, and gone through by one for each that is done.

    Raises:
        LessonError: a source is no lesson.
        CollectError: there is nothing to mark.
        CancelledError: the executor is gone; what is marked is stored.
        KeyboardInterrupt: what was being marked is marked and stored.
        AtOnce: it is not; threads that mark may still be there.
    """
    lessons = [read(path) for path in sources]
    submissions, notes = find(submitted, lessons)
    for note in notes:
        tell(note)
    left_out = [submission.path for submission in submissions if not submission.lesson]
    for path in left_out:
        tell(f"{path}: which lesson this is cannot be told. It was left out.")
    names = sorted(str(path.relative_to(submitted)) for path in left_out)
    write(to / "run.json", {**_about(settings), "left_out": names})
    texts = {
        lesson.name: path.read_text("utf-8") for lesson, path in zip(lessons, sources, strict=True)
    }
    rosters = {lesson.name: by_name(students) if varies(lesson) else None for lesson in lessons}
    bar = iter(progress(submissions)) if progress else iter(())
    run = _Run(texts, rosters, to, settings, bar, tell)
    with contextlib.nullcontext(executor) if executor else _threads(jobs) as pool:
        run.mark((one for one in submissions if one.lesson), pool, 2 * max(1, jobs))
    for _ in bar:  # what could not be marked is passed over, too
        continue
    return Graded(len(submissions), run.failed)


@contextlib.contextmanager
def _threads(jobs: int) -> Iterator[Executor]:
    """Threads, each of which marks with processes of its own."""
    pool = ThreadPoolExecutor(max(1, jobs))
    patient = True
    try:
        yield pool
    except AtOnce:
        patient = False
        raise
    finally:
        pool.shutdown(wait=patient, cancel_futures=True)
        if patient:
            station.close()


class _Run:
    """What one run of marking knows; only the thread that has started it comes here."""

    def __init__(
        self,
        sources: Mapping[str, str],
        rosters: Mapping[str, Mapping[str, str] | None],  # None where nothing varies
        to: Path,
        settings: Settings,
        bar: Iterator[object],
        tell: Callable[[str], None],
    ) -> None:
        self.sources, self.rosters = sources, rosters
        self.to, self.settings, self.bar, self.tell = to, settings, bar, tell
        # What the marks of a lesson depend on beside the submission: the same for all of them.
        about = _about(settings)
        depends = {name: [text, about, bool(rosters[name])] for name, text in sources.items()}
        self.prints = {name: _hash(json.dumps(what).encode()) for name, what in depends.items()}
        self.failed = 0
        self.without_roster = {name for name, roster in rosters.items() if roster == {}}
        self.broken: set[tuple[str, str]] = set()  # lessons, variants: no judge

    def mark(self, submissions: Iterable[Submission], executor: Executor, ahead: int) -> None:
        """Mark what is not marked yet; no more than so many submissions are held at a time."""
        todo = self._todo(submissions)
        marking: dict[Future[dict[str, Any]], _Job] = {}
        try:
            while True:
                for job in islice(todo, ahead - len(marking)):
                    marking[executor.submit(station.marked, job.task)] = job
                if not marking:
                    return
                for future in wait(marking, return_when=FIRST_COMPLETED).done:
                    self._finish(marking.pop(future), future)
                    next(self.bar, None)
        except KeyboardInterrupt:
            self._wind_up(marking)
            raise

    def _wind_up(self, marking: Mapping[Future[dict[str, Any]], _Job]) -> None:
        """Store what is being marked at this moment; begin with nothing more."""
        try:
            running = {future: job for future, job in marking.items() if not future.cancel()}
            if running:
                count = f"{len(running)} are" if len(running) > 1 else "one is"
                self.tell(f"Interrupted: {count} still being marked. A second Ctrl-C ends at once.")
            for future in as_completed(running):
                self._finish(running[future], future)
        except KeyboardInterrupt as error:
            raise AtOnce from error

    def _todo(self, submissions: Iterable[Submission]) -> Iterator[_Job]:
        for submission in submissions:
            job = self._job(submission)
            if _is_done(job.target, job.about):
                next(self.bar, None)
            elif (job.task.lesson, job.task.variant) in self.broken:
                self.failed += 1
                next(self.bar, None)
            else:
                yield job

    def _job(self, submission: Submission) -> _Job:
        name, student = submission.lesson, submission.student
        roster = self.rosters[name] or {}
        variant = roster.get(normal(student), "")
        try:
            data, refused = load(submission.path), ""
        except SubmissionError as error:
            data, refused = b"", str(error)
        if name in self.without_roster and b'"variant"' in data:
            self.without_roster.remove(name)
            self.tell(
                f"{name}: it seems to have been handed out with other numbers for each student. "
                "Without --variants, all are marked by the numbers of the source."
            )
        if roster and not variant:
            refused = f"{student} is not in the roster: which numbers were handed out is not known."
        task = Task(name, self.sources[name], variant, data, refused, self.settings)
        about = {
            "student": student,
            "assignment": name,
            "isolation": _isolation(self.settings),
            "source": self.prints[name],
            "submission": refused or _hash(data),
            "variant": variant,
        }
        return _Job(submission, task, self.to / name / f"{safe_name(student)}.json", about)

    def _finish(self, job: _Job, future: Future[dict[str, Any]]) -> None:
        """Store a result. Nothing that goes wrong here may reach the next submission."""
        try:
            result = future.result()
            seconds, lost = result.pop("seconds"), result.pop("lost", "")
            # What was lost is stored, so that it is seen, and is not taken for done the next time.
            write(job.target, {**job.about, **result, **({"submission": ""} if lost else {})})
            _log(self.to, job.submission, seconds)
            if NONE_FOUND in result["notes"]:
                self.tell(f"{job.submission.path}: {NONE_FOUND}")
        except CancelledError:  # by nobody here: who was to mark is gone
            raise
        except JudgeError as error:
            self._fail(job, str(error))
            self.broken.add((job.task.lesson, job.task.variant))
        except Exception as error:
            self._fail(job, str(error) or type(error).__name__)
        else:
            if lost:
                self._fail(job, lost)

    def _fail(self, job: _Job, why: str) -> None:
        self.failed += 1
        task = job.task
        if (task.lesson, task.variant) not in self.broken:  # of which it is said once
            self.tell(f"{job.submission.path}: it could not be marked ({why}).")


@dataclass(frozen=True)
class _Job:
    """A task, and where its result belongs; `about` is stored with it."""

    submission: Submission
    task: Task
    target: Path
    about: dict[str, Any]


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


def _is_done(target: Path, about: dict[str, Any]) -> bool:
    try:
        stored = json.loads(target.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return False
    return all(stored.get(key) == value for key, value in about.items())


def _hash(data: bytes) -> str:
    return hashlib.sha256(data).hexdigest()


def write(path: Path, data: dict[str, Any]) -> None:
    """Write plain data, and the folder in which it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    text = json.dumps(data, indent=1, sort_keys=True, ensure_ascii=False) + "\n"
    whole.write(path, text)


def _log(to: Path, submission: Submission, seconds: float) -> None:
    """Times are kept apart from the marks, which are the same each time."""
    with (to / "log.csv").open("a", encoding="utf-8") as file:
        file.write(f"{safe_name(submission.student)},{submission.lesson},{seconds:.3f}\n")
