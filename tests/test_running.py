"""How a submission is run: what its time is, how often it is tried, what is kept of it."""

from __future__ import annotations

import os
import signal
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any, cast

import pytest
from classroom import NAME, SOURCE
from fenced import ISOLATION

from checks.classroom import fence, keeper, running
from checks.classroom.cell import Role
from checks.classroom.lesson import parse
from checks.classroom.running import Run, Settings
from checks.classroom.servers import Server

CELLS = parse(SOURCE, NAME).cells
TYPED = {cell.id: cell.blank for cell in CELLS if cell.role is Role.ANSWER}


@pytest.fixture
def start() -> Iterator[Callable[[Callable[[], object]], int]]:
    """Starts processes that share one processor, and ends them."""
    begun: list[int] = []

    def fork(work: Callable[[], object]) -> int:
        child = os.fork()
        if child == 0:
            if sys.platform == "linux":
                os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
            while True:
                work()
        begun.append(child)
        return child

    yield fork
    for child in begun:
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)


@pytest.mark.skipif(not Path("/proc/self/schedstat").exists(), reason="not told here")
def test_what_others_use_is_not_charged(start: Callable[[Callable[[], object]], int]) -> None:
    # The mistake: the processes of another submission cost an innocent one its points.
    clock = keeper.Clock(start(lambda: None))
    for _ in range(5):
        start(lambda: None)
    clock.restart()
    begin = time.monotonic()
    time.sleep(3)
    assert clock.taken() < 0.6 * (time.monotonic() - begin)


def test_who_sleeps_is_charged(start: Callable[[Callable[[], object]], int]) -> None:
    # The mistake: by the time of the processor alone, sleeping would never end.
    begin = time.monotonic()
    clock = keeper.Clock(start(lambda: time.sleep(9)))
    time.sleep(1)
    assert 0.5 < clock.taken() <= time.monotonic() - begin


def test_what_cannot_be_looked_up_is_charged_whole() -> None:
    clock = keeper.Clock(0)
    time.sleep(0.1)
    assert clock.taken() >= 0.1


class _Zygote:
    """Stands for one in which every cell of an answer ends the process, for ever."""

    def __init__(self, note: str = "") -> None:
        self.jobs = 0
        self._replies: list[dict[str, Any]] = []
        self._note = note

    def say(self, message: Mapping[str, Any]) -> None:
        if "cells" in message:
            self.jobs += 1
            left = [k for k, c in enumerate(message["cells"]) if c["role"] == "answer"]
            left = [k for k in left if k not in message["blanked"]]
            end = {"ended": left[0], "why": "x"} if left else {"done": True}
            self._replies = [{"note": self._note, "cell": 1}, end]
        else:
            self._replies = [{"over": True, "failed": False}]

    def hear(self, seconds: float) -> dict[str, Any]:
        return self._replies.pop(0)


def run(zygote: _Zygote) -> Run:
    settings = Settings(fence.Limits(seconds=5), ISOLATION)
    return Run(CELLS, TYPED, settings, cast(Server, zygote))


def test_a_submission_is_not_tried_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistake: a notebook of which each cell hangs is tried twice for each of them.
    patient = _Zygote()
    run(patient)
    monkeypatch.setattr(running, "_MOST_TIMES", 0)
    hasty = _Zygote()
    given_up = run(hasty)
    assert patient.jobs > 5 and hasty.jobs == 1
    assert not given_up.until("1.1")
    given_up.without("1.2", "x")
    assert hasty.jobs == 1


def test_a_note_belongs_to_its_exercise() -> None:
    # The mistake: "a cell was left out", said of another exercise.
    (number,) = [
        k
        for k, c in enumerate(cell for cell in CELLS if cell.role is not Role.TEXT)
        if c.role is Role.ANSWER and c.label == "1.3"
    ]

    class Once(_Zygote):
        def say(self, message: Mapping[str, Any]) -> None:
            super().say(message)
            if "cells" in message and number in message["blanked"]:
                self._replies = [{"done": True}]
            elif "cells" in message:
                self._replies = [{"ended": number, "why": "x"}]

    one = run(Once())
    assert one.notes("1.3") == ["A cell was left out: x."]
    assert one.notes("1.1") == one.notes("1.4") == []


def test_later_cells_are_left_aside_and_come_back() -> None:
    # The mistakes: what slows a function down runs beside it after all; what was left aside for the
    # sake of one exercise is never run again.
    answers = [cell.label for cell in CELLS if cell.role is not Role.TEXT]
    roles = [cell.role for cell in CELLS if cell.role is not Role.TEXT]
    later = [k for k, role in enumerate(roles) if role is Role.ANSWER and answers[k] != "1.1"]
    asked: list[list[int]] = []

    class Fine(_Zygote):
        def say(self, message: Mapping[str, Any]) -> None:
            super().say(message)
            if "cells" in message:
                asked.append(sorted(message["blanked"]))
                self._replies = [{"done": True}]
                if answers[later[1]] == "1.3" and not asked[-1]:
                    self._replies = [{"ended": later[1], "why": "x"}]

    one = run(Fine())
    assert asked == [[], [later[1]]]  # 1.3 ends its process, and is left out
    assert one.until("1.1") and asked[-1] == later
    one.again()
    assert asked[-1] == [later[1]] and len(asked) == 4
    one.again()
    assert not one.until("1.4") and len(asked) == 4


def test_a_note_is_cut() -> None:
    # The mistake: forty megabytes in the result of a student.
    assert [len(note) for note in run(_Zygote("n" * 10**6)).notes("1.1")][-1] < 1000


def test_after_a_death_one_looks_a_second_time(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistake: what a cell has left behind to end the process later ends it in the cell of
    # another exercise, or does not, as fast as the machine is.
    monkeypatch.setattr(running, "_LINGER", 0.0001)
    heard: list[str] = []

    class Later(_Zygote):
        def say(self, message: Mapping[str, Any]) -> None:
            if "still" in message:
                heard.append("still")
                self._replies = [{"ended": last, "why": keeper.DIED} if self.jobs == 2 else DONE]
                return
            super().say(message)
            if "cells" in message:
                heard.append("run")
                self._replies = [{"ended": first, "why": keeper.DIED} if self.jobs == 1 else DONE]

    DONE = {"done": True}
    first, *_, last = [
        k
        for k, cell in enumerate(cell for cell in CELLS if cell.role is not Role.TEXT)
        if cell.role is Role.ANSWER
    ]
    one = run(Later())
    assert heard[:4] == ["run", "run", "still", "run"] and heard.count("still") >= 2
    assert one.notes("1.1") == []  # the last one was guilty of both
    assert one.notes("1.4") == [f"A cell was left out: {keeper.DIED}."]
