"""Marking goes on whatever ends: a helper process, the run, or the patience of the teacher."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import threading
import time
import uuid
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest
from classroom import NAME, POINTS, SOURCE, hand_in, lesson_in, scores, stored, submission
from fenced import ISOLATION, command, marking_threads, needs_fences, until_none_is_left

from checks.classroom import fence, station
from checks.classroom.grading import grade
from checks.classroom.lesson import parse
from checks.classroom.marking import refused
from checks.classroom.running import Settings
from checks.classroom.station import Task

pytestmark = needs_fences

SETTINGS = Settings(fence.Limits(seconds=60.0, memory=1024), ISOLATION)
SLEEPS = "import time\ntime.sleep({})\nsize = {}"


@pytest.fixture(scope="module")
def threads() -> Iterator[Executor]:
    with marking_threads() as pool:
        yield pool


def task(answers: dict[str, str], settings: Settings = SETTINGS, name: str = NAME) -> Task:
    return Task(name, SOURCE, "", json.dumps(submission(answers)).encode(), "", settings)


def mark(folder: Path, to: str, executor: Executor, settings: Settings = SETTINGS) -> list[str]:
    told: list[str] = []
    source = folder / "source" / f"{NAME}.md"
    grade(
        folder / "submitted",
        [source],
        folder / to,
        settings,
        executor=executor,
        tell=told.append,
    )
    return told


def results(folder: Path, to: str = "results") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / to / NAME).glob("*.json")}


def forked(parent: int) -> list[int]:
    """The living children of a process."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            state, its_parent = stat.read_text().rpartition(")")[2].split()[:2]
        except OSError:
            continue
        if state != "Z" and int(its_parent) == parent:
            found.append(int(stat.parent.name))
    return found


# -- processes that are ended ----------------------------------------------------------------------


@pytest.mark.parametrize(
    "who, when", [("warm", 0.0), ("warm", 0.5), ("forked", 0.2), ("forked", 0.5), ("all", 0.2)]
)
def test_a_helper_that_is_ended_costs_nothing(who: str, when: float, threads: Executor) -> None:
    # The mistakes: a right answer that could not be judged, a run that hangs or stops.
    slow = task({"1.3": SLEEPS.format(0.3, 2)})
    threads.submit(station.marked, slow).result()  # all is there
    warm = station._warm()._process.pid
    marking = [threads.submit(station.marked, slow) for _ in range(3)]
    time.sleep(when)
    for victim in [warm] * (who != "forked") + forked(warm) * (who != "warm"):
        with contextlib.suppress(ProcessLookupError):  # ended with the one before
            os.kill(victim, signal.SIGKILL)
    for future in marking:
        result = future.result(timeout=120)
        assert "lost" not in result
        assert {e["label"]: e["score"] for e in result["exercises"]} == POINTS


def test_what_is_lost_twice_is_marked_the_next_time(
    tmp_path: Path, threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The mistake: what the machine could not do counts as marked, with no points for ever.
    lesson_in(tmp_path / "source")
    hand_in(tmp_path / "submitted", "ada", submission())

    def gone(one: Task) -> dict[str, Any]:
        return {**refused(parse(SOURCE, NAME), "gone"), "seconds": 0.0, "lost": "gone"}

    with monkeypatch.context() as patch:
        patch.setattr(station, "marked", gone)
        told = mark(tmp_path, "results", threads)
    assert len(told) == 1 and "could not be marked (gone)" in told[0]
    assert set(scores(tmp_path / "results", "ada").values()) == {0}
    assert mark(tmp_path, "results", threads) == []
    assert scores(tmp_path / "results", "ada") == POINTS


def test_judges_that_are_not_needed_any_more_are_ended(
    threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The mistake: on a worker that stays for weeks, each lesson and setting leaves processes.
    monkeypatch.setattr(station, "_MOST_BENCHES", 1)
    for number in range(1, 5):
        settings = Settings(SETTINGS.limits, ISOLATION, follow_through=number / 10)
        threads.submit(station.marked, task({}, settings)).result()
    helpers = forked(station._warm()._process.pid)
    assert len(helpers) <= 2 * (1 + 1)  # for each thread: what runs submissions, and a judge


def test_a_lesson_that_cannot_judge_is_told_once(tmp_path: Path, threads: Executor) -> None:
    # The mistake: the same sentence a thousand times; a result of no points that stays.
    source = lesson_in(tmp_path / "source")
    source.write_text(SOURCE.replace("import torch\n", "import torch\n\n1 / 0\n", 1))
    for student in range(8):
        hand_in(tmp_path / "submitted", f"s{student}", submission())
    told = mark(tmp_path, "results", threads)
    assert len(told) == 1 and "`checks build` says why" in told[0]
    assert results(tmp_path) == {}


# -- a run that is ended ---------------------------------------------------------------------------


@pytest.fixture
def begun(tmp_path: Path) -> Iterator[Path]:
    """A class whose answers take their time, and a folder for what is left behind."""
    lesson_in(tmp_path / "source")
    for n in range(8):
        hand_in(tmp_path / "submitted", f"s{n}", submission({"1.3": SLEEPS.format(0.3, n % 3)}))
    (tmp_path / "tmp").mkdir()
    yield tmp_path
    assert list((tmp_path / "tmp").iterdir()) == []
    assert [path.name for path in (tmp_path / "results").rglob(".*")] == []


def ended(folder: Path, *signals: int, timeout: str = "60") -> tuple[int, str]:
    """Begin to mark, and send signals when something is marked; the exit code and what was said."""
    identity = uuid.uuid4().hex
    env = {"CHECKS_TEST": identity, "TMPDIR": str(folder / "tmp")}
    run = command(folder, "--memory", "1024", "--timeout", timeout, **env)
    deadline = time.monotonic() + 120
    while len(results(folder)) < 2 and run.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    for number in signals:
        run.send_signal(number)
        time.sleep(0.5)
    text, _ = run.communicate(timeout=120)
    assert until_none_is_left(identity) == []
    return run.returncode, text


def test_a_run_that_was_killed_goes_on(begun: Path, threads: Executor) -> None:
    # The mistakes: a half-written result, orphans that live on, other marks after the restart.
    code, _ = ended(begun, signal.SIGKILL)
    done = results(begun)
    times = {name: (begun / "results" / NAME / name).stat().st_mtime_ns for name in done}
    assert code == -signal.SIGKILL and 0 < len(done) < 8
    mark(begun, "results", threads)
    assert (
        times.items()
        <= {
            path.name: path.stat().st_mtime_ns for path in (begun / "results" / NAME).iterdir()
        }.items()
    )
    mark(begun, "whole", threads)
    assert results(begun) == results(begun, "whole") and len(results(begun)) == 8


def test_a_run_that_was_interrupted_finishes_what_it_has_begun(
    begun: Path, threads: Executor
) -> None:
    # The mistakes: a traceback, what was being marked thrown away, the whole class marked first.
    code, text = ended(begun, signal.SIGINT)
    assert code == 130 and "Traceback" not in text
    assert "Interrupted. What is marked is kept: the same command goes on." in text
    done = results(begun)
    assert 0 < len(done) < 8
    mark(begun, "whole", threads)
    assert done.items() <= results(begun, "whole").items()


def test_a_second_interrupt_waits_for_nothing(begun: Path) -> None:
    # The mistake: a submission that never ends keeps the teacher from leaving.
    for student in ("s2", "s3"):
        hand_in(begun / "submitted", student, submission({"1.3": "while True:\n    pass"}))
    code, text = ended(begun, signal.SIGINT, signal.SIGINT, timeout="900")
    assert code == 130 and "Traceback" not in text
    assert "2 are still being marked" in text
    assert sorted(results(begun)) == ["s0.json", "s1.json"]


def test_a_thread_that_was_interrupted_marks_the_next_one_right(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The mistake: a helper still speaks of the submission before.
    found: list[Any] = []

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    def work() -> None:
        station.marked(task({}))
        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr("checks.classroom.marking._exercise", interrupt)
            patch.setattr("checks.classroom.running.Run.close", interrupt)
            station.marked(task({"1.3": "size = 3"}))
        found.append(station.marked(task({})))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert {e["label"]: e["score"] for e in found[0]["exercises"]} == POINTS


def test_what_is_stored_names_its_student(tmp_path: Path, threads: Executor) -> None:
    lesson_in(tmp_path / "source")
    hand_in(tmp_path / "submitted", "ada", submission())
    mark(tmp_path, "results", threads)
    assert stored(tmp_path / "results", "ada")["variant"] == ""
