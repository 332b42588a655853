"""Mark a submission wherever it is sent to: another thread, another process, another machine.

A `Task` is plain data. Each thread that marks has a station of its own, a zygote and judges, which
stay from one submission to the next; all stations of a process are forked from one warm process.
"""

from __future__ import annotations

import threading
import time
from dataclasses import asdict, dataclass
from functools import cache, lru_cache
from typing import Any

from checks.classroom.fence import Isolation
from checks.classroom.lesson import Lesson, parse
from checks.classroom.marking import Bench, JudgeError, mark, refused
from checks.classroom.release import varied
from checks.classroom.running import Settings
from checks.classroom.servers import Server, ServerError, environment, zygote
from checks.classroom.warm import Shared, Warm

_TRIES = 2
_MOST_BENCHES = 8  # lessons whose judges stay; each is as many processes as there are exercises
_FIRST = ("checks.classroom.judge", "checks.classroom.zygote")  # with what they import
_STARTING = 120.0  # seconds for a warm process to have imported all


class FenceError(RuntimeError):
    """A machine that cannot put up the fences that were promised."""


@dataclass(frozen=True)
class Task:
    """One submission to be marked.

    Attributes:
        lesson: the lesson's name.
        source: the text of its source.
        variant: the student whose numbers it has; "" for those of the source.
        submitted: the bytes of the notebook's file.
        refused: why there is nothing to mark; "" where there is.
        settings: limits, fences, and what follow-through is worth.
    """

    lesson: str
    source: str
    variant: str
    submitted: bytes
    refused: str
    settings: Settings


class _Station:
    """What one thread marks with."""

    def __init__(self) -> None:
        self._zygote: Server | None = None
        self._benches: dict[tuple[Lesson, Settings], Bench] = {}  # the last used is the last

    def mark(self, task: Task) -> dict[str, Any]:
        lesson = _lesson(task.lesson, task.source)
        if task.variant:
            lesson = varied(lesson, task.variant)
        if task.refused:
            return refused(lesson, task.refused)
        for _ in range(_TRIES):
            try:
                return mark(task.submitted, self._bench(lesson, task.settings), self._cages())
            except ServerError as error:
                self.stop()
                lost = str(error)
            except JudgeError:
                raise
            except BaseException:
                self.stop()  # who knows what it was about to say
                raise
            finally:
                if task.variant:  # nobody else has these numbers
                    self._stop(lesson, task.settings)
        return {**refused(lesson, f"This could not be marked: {lost}."), "lost": lost}

    def stop(self) -> None:
        """End the processes; the next submission starts new ones."""
        for bench in self._benches.values():
            bench.stop()
        self._benches.clear()
        if self._zygote is not None:
            self._zygote.stop()
            self._zygote = None

    def _cages(self) -> Server:
        if self._zygote is None:
            self._zygote = zygote(_warm())
        return self._zygote

    def _bench(self, lesson: Lesson, settings: Settings) -> Bench:
        bench = self._benches.pop((lesson, settings), None)
        if len(self._benches) >= _MOST_BENCHES:
            self._stop(*next(iter(self._benches)))
        bench = bench or Bench(lesson, settings, _warm)
        self._benches[lesson, settings] = bench
        return bench

    def _stop(self, lesson: Lesson, settings: Settings) -> None:
        bench = self._benches.pop((lesson, settings), None)
        if bench is not None:
            bench.stop()


_shared = Shared()
_mine = threading.local()
_all: list[_Station] = []


def marked(task: Task) -> dict[str, Any]:
    """Mark a submission.

    Returns:
        "notes" and "exercises", as they are stored; "seconds", what it took; and "lost", why this
        is to be marked again, where the processes that mark were ended twice.

    Raises:
        FenceError: this machine has weaker fences than the task asks for.
        JudgeError: nothing can be judged with this lesson.
    """
    begin = time.monotonic()
    _demand(task.settings.isolation)
    if not hasattr(_mine, "station"):
        _mine.station = _Station()
        _all.append(_mine.station)
    result = _mine.station.mark(task)
    return {**result, "seconds": time.monotonic() - begin}


def close() -> None:
    """End all that the threads of this process have marked with. They must be done."""
    global _mine
    _mine = threading.local()
    while _all:
        _all.pop().stop()
    _shared.stop()


@cache
def fences() -> Isolation:
    """What the machine can put up that runs this."""
    server = Server(_warm(), "checks.classroom.fence")
    try:
        return Isolation(**server.hear(_STARTING))
    finally:
        server.stop()


def _warm() -> Warm:
    return _shared.get(lambda: Warm(environment(), _FIRST))


def _demand(wanted: Isolation) -> None:
    here = asdict(fences())
    missing = [name for name, stands in asdict(wanted).items() if stands and not here[name]]
    if missing:
        raise FenceError(f"the machine that was to mark it cannot fence in: {', '.join(missing)}")


@lru_cache(maxsize=16)
def _lesson(name: str, source: str) -> Lesson:
    return parse(source, name)
