"""The process that others are forked from, and how one speaks to them."""

from __future__ import annotations

import json
import os
import signal
import threading
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import cast

import pytest

pytest.importorskip("resource", reason="marking needs Linux or macOS")

from classroom import NAME, SOURCE
from test_forked_kernel import gone

from checks.classroom import servers, warm
from checks.classroom.lesson import parse
from checks.classroom.servers import Server, ServerError, environment
from checks.classroom.warm import Shared, Warm, WarmError

HERE = str(Path(__file__).parent)


def started() -> Warm:
    inside = environment()
    return Warm(
        {**inside, "PYTHONPATH": os.pathsep.join((HERE, inside["PYTHONPATH"]))}, ("warmed",)
    )


@pytest.fixture(scope="module")
def process() -> Iterator[Warm]:
    one = started()
    yield one
    one.stop()


@pytest.fixture
def server(process: Warm) -> Iterator[Server]:
    one = Server(process, "warmed")
    yield one
    one.stop()


def forked(process: Warm, *arguments: str, **how: str) -> tuple[int, int]:
    """Fork one; its number, and where its output can be read."""
    out, into = os.pipe()
    nowhere = os.open(os.devnull, os.O_RDWR)
    number = process.fork("warmed", arguments, (nowhere, into, nowhere), {"A": "b"}, **how)
    os.close(into)
    os.close(nowhere)
    return number, out


def test_what_is_said_is_heard(server: Server) -> None:
    # The mistakes: a message that is long is cut; of two that come at once the second is lost.
    for message in ({"a": 1}, {"long": "x" * 3_000_000}, {"twice": "y" * 100}):
        speaker = threading.Thread(target=server.say, args=(message,))
        speaker.start()
        assert server.hear(20) == message
        speaker.join()
    assert server.hear(20) == {"twice": "y" * 100}


def test_a_judge_is_given_its_lesson(process: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistakes: it waits for ever for what to judge with; follow-through is worth what the
    # teacher's own settings say.
    about: list[object] = []

    class Told:
        def __init__(self, *what: object) -> None:
            about.extend(what)

        def say(self, message: dict[str, object]) -> None:
            about.append(message)

    monkeypatch.setattr(servers, "Server", Told)
    lesson = parse(SOURCE, NAME)
    assert isinstance(servers.judge(process, lesson, 0.5), Told)
    settings = {"CHECKS_FOLLOW_THROUGH": "0.5", "CHECKS_FEEDBACK": "full"}
    cells = {"cells": [asdict(cell) for cell in lesson.cells]}
    assert about == [process, "checks.classroom.judge", settings, cells]


def test_silence_and_an_end_are_told_apart(server: Server) -> None:
    # The mistake: who waits for a process that has ended waits for ever.
    server.say({"silent": 1})
    with pytest.raises(ServerError, match=r"no answer within 0\.1 seconds"):
        server.hear(0.1)
    server.say({"end": 1})
    with pytest.raises(ServerError, match="has ended"):
        server.hear(20)
    with pytest.raises(ServerError, match="has ended"):
        for _ in range(10_000):
            server.say({"more": "x" * 1000})


def test_one_that_is_stopped_is_gone(process: Warm) -> None:
    # The mistake: processes and open files, one more for each judge.
    def files() -> int:
        return len([*Path("/proc/self/fd").glob("*")])  # on Linux; 0 elsewhere

    before = files()
    one = Server(process, "warmed")
    one.say({"a": 1})
    one.hear(20)
    one.stop()
    assert gone(one._process)
    assert files() == before


def test_the_teachers_secrets_are_not_handed_down(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TEACHERS_TOKEN", "secret")
    monkeypatch.setenv("CHECKS_FEEDBACK", "hint")
    monkeypatch.setenv("LC_ALL", "C")
    inside = environment()
    assert "TEACHERS_TOKEN" not in inside
    assert (inside["CHECKS_FEEDBACK"], inside["LC_ALL"]) == ("hint", "C")
    assert inside["PATH"] == os.environ["PATH"] and inside["OMP_NUM_THREADS"] == "1"


def test_what_a_forked_process_finds(process: Warm, tmp_path: Path) -> None:
    # The mistakes: it has the folder or the environment of another; an interrupt reaches it.
    _, out = forked(process, "about", cwd=str(tmp_path))
    with os.fdopen(out) as answer:
        about = json.loads(answer.read())
    assert about == {"cwd": str(tmp_path), "env": {"A": "b"}, "leads": True}


@pytest.mark.parametrize(
    "arguments, code",
    [(("exit", "0"), 0), (("exit", "3"), 3), (("raise", "x"), 1), (("killed",), -15), (("no",), 0)],
)
def test_how_one_has_ended_is_told(process: Warm, arguments: tuple[str, ...], code: int) -> None:
    # The mistake: a process that has crashed counts as one that is done.
    number, out = forked(process, *arguments)
    with os.fdopen(out, "rb") as answer:
        answer.read()  # until it has ended
    deadline = time.monotonic() + 20
    while (told := process.poll(number)) is None and time.monotonic() < deadline:
        time.sleep(0.01)
    assert told == code


def test_one_that_does_not_end_is_ended(process: Warm, monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistake: a judge that hangs keeps the whole run from going on.
    monkeypatch.setattr(warm, "_PATIENCE", 0.2)
    number, out = forked(process, "stay")
    os.read(out, 1)
    assert process.poll(number) is None
    begin = time.monotonic()
    process.end(number)
    assert 0.2 <= time.monotonic() - begin < 20 and gone(number)
    os.close(out)


def test_an_interrupt_is_for_whoever_started_it(process: Warm) -> None:
    os.kill(process._process.pid, signal.SIGINT)
    time.sleep(0.1)
    assert process.lives and process.fork("warmed", ("exit", "0"), (0, 1, 2), {}) > 0


def test_one_that_is_out_of_step_is_asked_no_more() -> None:
    # The mistakes: after an interrupt, the answer to one question is taken for that to another; one
    # that hangs is waited for.
    one = started()
    assert one.fork("warmed", ("exit", "0"), (0, 1, 2), {}) > 0
    one._lost = True
    with pytest.raises(WarmError, match="has ended"):
        one.fork("warmed", ("exit", "0"), (0, 1, 2), {})
    os.kill(one._process.pid, signal.SIGSTOP)
    stopping = threading.Thread(target=one.stop)
    stopping.start()
    stopping.join(20)
    is_stopped = not stopping.is_alive()
    one._process.kill()
    assert is_stopped


def test_one_that_is_lost_is_told_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistakes: a run that hangs; what was forked before can no longer be ended.
    monkeypatch.setattr(warm, "_PATIENCE", 0.2)
    one = started()
    server = Server(one, "warmed", {"B": "c"})
    number, out = forked(one, "stay")
    os.read(out, 1)
    os.kill(one._process.pid, signal.SIGKILL)
    one._process.wait()
    assert not one.lives
    with pytest.raises(WarmError, match="has ended"):
        one.poll(number)
    with pytest.raises(ServerError, match="has ended"):
        servers.zygote(one)
    one.end(number)
    assert gone(number)
    server.stop()
    one.stop()
    os.close(out)


def test_one_is_shared_and_replaced_when_it_is_gone() -> None:
    # The mistakes: everything is forked from a dead one; a zombie for each that has died.
    class Stands:
        lives, stopped = True, 0

        def stop(self) -> None:
            self.stopped += 1

    shared = Shared()
    first, second, third = (cast(Warm, Stands()) for _ in range(3))
    assert shared.get(lambda: first) is shared.get(lambda: second) is first
    first.lives = False  # type: ignore[misc]
    assert shared.get(lambda: second) is shared.get(lambda: third) is second
    shared.stop()
    shared.stop()
    assert shared.get(lambda: third) is third
    assert [cast(Stands, one).stopped for one in (first, second, third)] == [1, 1, 0]
