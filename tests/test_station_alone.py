"""What a station keeps, starts anew and ends: with stand-ins for its processes, in no time."""

from __future__ import annotations

import functools
import threading
from dataclasses import asdict, replace
from typing import Any

import pytest
from classroom import NAME, POINTS, SOURCE
from fenced import FULL

from checks.classroom import fence, station
from checks.classroom.marking import JudgeError
from checks.classroom.running import Settings
from checks.classroom.servers import ServerError
from checks.classroom.station import FenceError, Task
from checks.classroom.warm import Shared

SETTINGS = Settings(fence.Limits(), FULL)
TASK = Task(NAME, SOURCE, "", b"{}", "", SETTINGS)
GOOD = {"notes": [], "exercises": [{"label": "1.1"}]}


class Helper:
    """Stands for a warm process, a server or a bench, and remembers that it was ended."""

    made: list[Helper]

    def __init__(self, kind: str, *about: Any) -> None:
        self.kind, self.about, self.lives = kind, about, True
        self.made.append(self)

    def stop(self) -> None:
        assert self.lives or self.kind == "warm", "it was ended twice"
        self.lives = False

    def hear(self, seconds: float) -> dict[str, bool]:
        return asdict(FULL)


@pytest.fixture(autouse=True)
def made(monkeypatch: pytest.MonkeyPatch) -> list[Helper]:
    """All helpers that a test starts."""
    Helper.made = []
    monkeypatch.setattr(station, "Warm", lambda *about: Helper("warm", *about))
    monkeypatch.setattr(station, "Server", lambda *about: Helper("server", *about))
    monkeypatch.setattr(station, "zygote", lambda *about: Helper("zygote", *about))
    monkeypatch.setattr(station, "Bench", lambda *about: Helper("bench", *about))
    monkeypatch.setattr(station, "_shared", Shared())
    monkeypatch.setattr(station, "_mine", threading.local())
    monkeypatch.setattr(station, "_all", [])
    monkeypatch.setattr(station, "fences", functools.cache(station.fences.__wrapped__))
    monkeypatch.setattr(station, "_lesson", functools.cache(station._lesson.__wrapped__))
    return Helper.made


def mark_as(monkeypatch: pytest.MonkeyPatch, *outcomes: Any) -> list[tuple[Helper, Helper]]:
    """Let marking come out so, one time after the other; what it was called with."""
    left, called = list(outcomes), []

    def mark(submitted: bytes, bench: Helper, zygote: Helper) -> dict[str, Any]:
        called.append((bench, zygote))
        outcome = left.pop(0)
        if isinstance(outcome, BaseException):
            raise outcome
        return dict(outcome)

    monkeypatch.setattr(station, "mark", mark)
    return called


def alive(kind: str) -> list[Helper]:
    return [one for one in Helper.made if one.kind == kind and one.lives]


def test_processes_stay_from_one_submission_to_the_next(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistake: each submission pays for starting them, or none is ever started.
    called = mark_as(monkeypatch, GOOD, GOOD, GOOD)
    for _ in range(3):
        result = station.marked(TASK)
        assert result["exercises"] == GOOD["exercises"] and result["seconds"] >= 0
    assert len(set(called)) == 1
    assert [len(alive(kind)) for kind in ("warm", "zygote", "bench")] == [1, 1, 1]
    (bench,) = alive("bench")
    lesson, settings, warm = bench.about
    (one,) = alive("warm")
    assert (lesson.name, settings, warm(), one.about[1]) == (NAME, SETTINGS, one, station._FIRST)


def test_what_was_lost_is_tried_once_more(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistakes: the processes of which one has failed are used again; no points, and no reason.
    called = mark_as(monkeypatch, ServerError("gone"), GOOD, ServerError("a"), ServerError("b"))
    assert station.marked(TASK)["exercises"] == GOOD["exercises"]
    assert called[0] != called[1] and not called[0][0].lives and not called[0][1].lives
    lost = station.marked(TASK)
    assert lost["lost"] == "b" and lost["notes"] == ["This could not be marked: b."]
    assert [(e["label"], e["score"]) for e in lost["exercises"]] == [(one, 0) for one in POINTS]
    assert alive("zygote") == alive("bench") == []


def test_after_an_interrupt_nothing_is_used_again(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistake: the answer to what was asked before is taken for the next submission's.
    mark_as(monkeypatch, KeyboardInterrupt(), JudgeError("no"))
    with pytest.raises(KeyboardInterrupt):
        station.marked(TASK)
    assert alive("zygote") == alive("bench") == []
    with pytest.raises(JudgeError):  # the lesson's fault: what runs submissions is sound
        station.marked(TASK)
    assert len(alive("zygote")) == 1


def test_what_is_refused_needs_no_process() -> None:
    refused = station.marked(Task(NAME, SOURCE, "", b"", "It is empty.", SETTINGS))
    assert refused["notes"] == ["It is empty."]
    assert [e["outcome"] for e in refused["exercises"]] == ["invalid"] * len(POINTS)
    assert [one.kind for one in Helper.made] == ["warm", "server"]  # to see which fences there are


def test_judges_stay_for_a_few_lessons_only(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistakes: processes without end; or the judge that was used last is the one that goes.
    monkeypatch.setattr(station, "_MOST_BENCHES", 2)
    mark_as(monkeypatch, *[GOOD] * 5)
    for share in (0.1, 0.2, 0.1, 0.3):
        settings = Settings(SETTINGS.limits, FULL, share)
        station.marked(Task(NAME, SOURCE, "", b"{}", "", settings))
        assert len(alive("bench")) <= 2
    assert [bench.about[1].follow_through for bench in alive("bench")] == [0.1, 0.3]


def test_the_judge_of_one_students_numbers_goes_with_them(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistake: a process for each student of a class.
    mark_as(monkeypatch, GOOD, ServerError("a"), ServerError("b"))
    monkeypatch.setattr(station, "varied", lambda lesson, student: (lesson, student))
    monkeypatch.setattr(station, "refused", lambda lesson, why: {"of": lesson[1]})
    station.marked(Task(NAME, SOURCE, "ada", b"{}", "", SETTINGS))
    assert alive("bench") == [] and len(alive("zygote")) == 1
    (bench,) = (one for one in Helper.made if one.kind == "bench")
    assert bench.about[0][1] == "ada"
    assert station.marked(Task(NAME, SOURCE, "bob", b"{}", "", SETTINGS))["of"] == "bob"


def test_the_processes_of_all_threads_are_ended(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistake: what another thread has started lives on.
    mark_as(monkeypatch, GOOD, GOOD, GOOD)
    for _ in range(2):
        thread = threading.Thread(target=station.marked, args=(TASK,))
        thread.start()
        thread.join()
    assert len(alive("zygote")) == len(alive("bench")) == 2
    station.close()
    assert [one.kind for one in Helper.made if one.lives] == []
    station.close()  # there is nothing left to end
    station.marked(TASK)
    assert [len(alive(kind)) for kind in ("warm", "zygote", "bench")] == [1, 1, 1]


def test_weaker_fences_than_were_promised_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistakes: another machine of a cluster marks without a fence, and nobody is told; one that
    # has more than was asked for is refused.
    mark_as(monkeypatch, GOOD, GOOD)
    weak = replace(FULL, network=False)
    monkeypatch.setattr(station, "fences", lambda: weak)
    with pytest.raises(FenceError, match=r"cannot fence in: network$"):
        station.marked(TASK)
    assert Helper.made == []
    asked_for_less = Settings(SETTINGS.limits, weak)
    station.marked(Task(NAME, SOURCE, "", b"{}", "", asked_for_less))
    monkeypatch.setattr(station, "fences", lambda: FULL)
    station.marked(Task(NAME, SOURCE, "", b"{}", "", asked_for_less))


def test_fences_are_looked_for_once(made: list[Helper]) -> None:
    # The mistake: the process that has looked stays.
    assert station.fences() == station.fences() == FULL
    (server,) = (one for one in made if one.kind == "server")
    assert server.about[1] == "checks.classroom.fence" and not server.lives


def test_a_lesson_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistake: for each submission the whole lesson is taken to pieces again.
    seen = []
    monkeypatch.setattr(station, "parse", lambda *what: seen.append(what) or what)
    assert station._lesson("a", "text") is station._lesson("a", "text") == ("text", "a")
    assert seen == [("text", "a")]
