"""What a run of marking does with what comes back: without marking anything, in no time."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import CancelledError, Executor, Future, ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from classroom import NAME, hand_in, lesson_in, stored, submission
from fenced import FULL

from checks.classroom import fence, grading, station
from checks.classroom.grading import AtOnce, Graded, grade
from checks.classroom.marking import JudgeError
from checks.classroom.pairing import NONE_FOUND
from checks.classroom.running import Settings
from checks.classroom.station import Task

SETTINGS = Settings(fence.Limits(), FULL)
Come = Callable[[Task], dict[str, Any]]


class AtHand(Executor):
    """Does each thing at once, where it is asked to."""

    def submit(self, work: Callable[..., Any], /, *given: Any, **named: Any) -> Future[Any]:
        done: Future[Any] = Future()
        try:
            done.set_result(work(*given, **named))
        except BaseException as error:
            done.set_exception(error)
        return done


class Class:
    """A folder of submissions, and what is marked of them and told."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.folder, self.source = folder, lesson_in(folder / "source")
        self.marked: list[Task] = []
        self.told: list[str] = []
        self.come: Come = lambda _: {}
        monkeypatch.setattr(station, "marked", self._mark)
        for student in ("ada", "bob", "eve"):
            hand_in(folder / "submitted", student, submission({"1.3": f"size = '{student}'"}))

    def _mark(self, task: Task) -> dict[str, Any]:
        self.marked.append(task)
        return {"notes": [], "exercises": [], "seconds": 0.25, **self.come(task)}

    def grade(self, settings: Settings = SETTINGS, **options: Any) -> Graded:
        self.marked, self.told = [], []
        here = {"executor": AtHand(), "tell": self.told.append, **options}
        to = self.folder / "new" / "results"
        return grade(self.folder / "submitted", [self.source], to, settings, **here)

    def stored(self, student: str) -> dict[str, Any]:
        return stored(self.folder / "new" / "results", student)

    def students(self) -> list[str]:
        """Whose results are there."""
        return sorted(path.stem for path in (self.folder / "new/results" / NAME).glob("*.json"))


@pytest.fixture
def some(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Class:
    return Class(tmp_path, monkeypatch)


def of(task: Task) -> str:
    """Whose submission this is."""
    return next(name for name in ("ada", "bob", "eve") if f"'{name}'".encode() in task.submitted)


def test_each_is_marked_once_and_stored(some: Class) -> None:
    # The mistakes: who is marked already is marked again; a new one is not; an old result is kept
    # where something has changed that the marks depend on.
    some.come = lambda task: {"notes": [of(task)]}
    assert some.grade() == Graded(3, 0) and len(some.marked) == 3
    assert [some.stored(name)["notes"] for name in ("ada", "bob", "eve")] == [
        ["ada"],
        ["bob"],
        ["eve"],
    ]
    assert "seconds" not in some.stored("ada") and "lost" not in some.stored("ada")
    log = (some.folder / "new/results/log.csv").read_text().splitlines()
    assert sorted(log) == [f"{name},{NAME},0.250" for name in ("ada", "bob", "eve")]
    assert some.grade() == Graded(3, 0) and some.marked == []
    hand_in(some.folder / "submitted", "bob", submission({"1.3": "size = 'bob' "}))
    some.grade()
    assert list(map(of, some.marked)) == ["bob"]
    (some.folder / "new/results" / NAME / "eve.json").write_text("{")
    some.grade()
    assert list(map(of, some.marked)) == ["eve"]
    some.grade(replace(SETTINGS, follow_through=0.5))
    assert len(some.marked) == 3
    some.grade(students=["ada"])  # nothing varies in this lesson: the roster changes nothing
    assert len(some.marked) == 3
    some.source.write_text(some.source.read_text().replace("1.1) ** 2", "1.2) ** 2"))
    some.grade()
    assert len(some.marked) == 3


def test_what_is_lost_is_told_and_marked_the_next_time(some: Class) -> None:
    # The mistakes: no points for ever; a run that failed counts as one that has gone well.
    some.come = lambda task: {"lost": "gone"} if of(task) == "bob" else {}
    assert some.grade() == Graded(3, 1)
    (told,) = some.told
    assert "bob" in told and "could not be marked (gone)" in told
    assert "lost" not in some.stored("bob") and some.stored("bob")["submission"] == ""
    some.come = lambda _: {}
    assert some.grade() == Graded(3, 0) and list(map(of, some.marked)) == ["bob"]


def test_an_error_reaches_no_other_submission(some: Class) -> None:
    # The mistakes: one that cannot be marked ends the run; it is passed over in silence.
    def fail(task: Task) -> dict[str, Any]:
        if of(task) == "ada":
            raise ValueError
        if of(task) == "eve":
            raise OSError("disk full")
        return {}

    some.come = fail
    assert some.grade() == Graded(3, 2)
    told = {text.rpartition("(")[2] for text in some.told}
    assert told == {"ValueError).", "disk full)."} and len(some.told) == 2
    assert some.students() == ["bob"]


def test_a_lesson_without_a_judge_is_told_once(some: Class) -> None:
    # The mistakes: the same sentence for each of a thousand; each is tried.
    def fail(task: Task) -> dict[str, Any]:
        raise JudgeError(f"no judge for {task.lesson}")

    some.come = fail
    for number in range(20):
        hand_in(some.folder / "submitted", f"s{number}", submission())
    done: list[object] = []
    assert some.grade(jobs=1, progress=lambda all_: map(done.append, all_)) == Graded(23, 23)
    (told,) = some.told
    assert f"no judge for {NAME}" in told
    assert len(some.marked) <= 2  # those that were on their way when it was known
    assert len(done) == 23


def test_whoever_marks_may_go(some: Class) -> None:
    # The mistake: a cluster that is gone counts as twenty submissions that cannot be marked.
    def gone(_: Task) -> dict[str, Any]:
        raise CancelledError

    some.come = gone
    with pytest.raises(CancelledError):
        some.grade()
    assert some.told == [] and some.students() == []


def test_what_is_odd_is_told(some: Class) -> None:
    # The mistake: a teacher does not learn that there was nothing to mark, or that it was chosen.
    some.come = lambda _: {"notes": [NONE_FOUND]}
    (some.folder / "submitted" / "zoe").mkdir()
    again = some.folder / "submitted" / "bob" / "again"
    again.mkdir()
    (again / f"{NAME}.ipynb").write_text(json.dumps(submission({"1.3": "size = 'bob'"})))
    some.grade()
    assert sum(NONE_FOUND in told for told in some.told) == 3
    assert [told for told in some.told if NONE_FOUND not in told] == [
        f"bob: of 2 notebooks, {NAME}.ipynb was taken.",
        "zoe: there is no notebook (*.ipynb) in this folder.",
    ]


def test_how_it_was_fenced_in_is_stored(some: Class) -> None:
    # The mistake: marks that were given without a fence look like those that were given with it.
    some.grade()
    assert some.stored("ada")["isolation"] == "full"
    some.grade(replace(SETTINGS, isolation=replace(FULL, network=False)))
    assert some.stored("ada")["isolation"] == ["network"] and len(some.marked) == 3


def test_numbers_of_ones_own_need_a_roster(some: Class) -> None:
    # The mistakes: right answers to one's own numbers are wrong, and nobody knows why; a warning
    # where there is nothing to warn of, or for each student.
    text = some.source.read_text().replace("ipython3\nu = ", "ipython3\n:tags: [varies]\n\nu = ")
    some.source.write_text(text)
    some.grade()
    assert some.told == []
    for name in ("ada", "bob"):
        varied = submission({"1.3": f"size = '{name}'"})
        varied["metadata"]["checks"] = {"variant": name}
        hand_in(some.folder / "submitted", name, varied)
    some.grade()
    (told,) = some.told
    assert "Without --variants" in told
    assert {task.variant for task in some.marked} == {""}
    some.grade(students=["ada", "bob"])
    assert some.told == []
    about = {(task.variant, "eve is not in the roster" in task.refused) for task in some.marked}
    assert about == {("ada", False), ("bob", False), ("", True)}


def interrupted(_: object) -> Iterator[object]:
    """A progress bar in front of which somebody presses Ctrl-C."""
    raise KeyboardInterrupt
    yield


def test_what_is_being_marked_is_stored_after_an_interrupt(some: Class) -> None:
    # The mistakes: it is thrown away; the rest of the class is marked first.
    for number in range(20):
        hand_in(some.folder / "submitted", f"s{number:02}", submission({"1.3": "size = 'eve'"}))
    begun, go_on = threading.Semaphore(0), threading.Event()

    def slow(task: Task) -> dict[str, Any]:
        begun.release()
        assert of(task) == "ada" or go_on.wait(60)
        return {}

    def progress(_: object) -> Iterator[object]:
        for _ in range(3):  # ada's, and the two that are being marked now
            assert begun.acquire(timeout=60)
        yield from interrupted(_)

    def tell(text: str) -> None:
        told.append(text)
        go_on.set()

    told: list[str] = []
    some.come = slow
    with ThreadPoolExecutor(2) as pool, pytest.raises(KeyboardInterrupt) as caught:
        some.grade(executor=pool, progress=progress, tell=tell)
    assert not isinstance(caught.value, AtOnce)
    assert len(told) == 1 and told[0].startswith("Interrupted: 2 are still being marked.")
    assert len(some.marked) == len(some.students()) == 3


def test_a_second_interrupt_stores_no_more(some: Class, monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistake: it is taken for the first one, and the threads are waited for.
    def again(_: object) -> Iterator[object]:
        raise KeyboardInterrupt

    monkeypatch.setattr(grading, "as_completed", again)
    with pytest.raises(AtOnce):
        some.grade(progress=interrupted)


def test_after_a_second_interrupt_no_thread_is_waited_for(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistakes: a submission that never ends keeps the teacher from leaving; after anything else
    # the processes are not ended.
    ended: list[str] = []
    monkeypatch.setattr(station, "close", lambda: ended.append("all"))
    begun, go_on = threading.Event(), threading.Event()
    with pytest.raises(AtOnce), grading._threads(1) as pool:
        endless = pool.submit(lambda: begun.set() or go_on.wait(10))
        waiting = pool.submit(print)
        assert begun.wait(10)
        raise AtOnce
    assert not endless.done() and waiting.cancelled() and ended == []
    go_on.set()
    with pytest.raises(KeyboardInterrupt), grading._threads(1) as pool:
        last = pool.submit(time.sleep, 0.05)
        raise KeyboardInterrupt
    assert last.done() and ended == ["all"]


def test_the_marks_are_plain_text_of_one_form(tmp_path: Path) -> None:
    # The mistake: two runs whose results are the same, and whose files differ.
    path = tmp_path / "a" / "b" / "c.json"
    for data in ({"b": 1, "a": "ŷ"}, {"a": "ŷ", "b": 1}):
        grading.write(path, data)
        assert path.read_text(encoding="utf-8") == '{\n "a": "ŷ",\n "b": 1\n}\n'
    assert json.loads(path.read_text(encoding="utf-8")) == data
