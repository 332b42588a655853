"""The process that keeps a submission: what it passes on, and when it ends one."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("resource", reason="marking needs Linux or macOS")

from checks.classroom import fence, keeper
from checks.classroom.keeper import DIED, _message, _read_line, _Relay, _write
from checks.classroom.plain import decode

CELLS = 3
LAST = {"begin": CELLS - 1}
LABEL = {"label": "1.1", "answer": "{}"}
NOTE = {"note": "x", "cell": 1}
RESULT = {"result": "[]"}
INHERITED = ("PATH", "LANG", "LC_ALL", "OMP_NUM_THREADS", "MPLBACKEND")
TOO_MUCH = "it said too much"


class Clock(keeper.Clock):
    """One that is put forward by hand."""

    def __init__(self) -> None:
        self.restarts, self.now = 0, 0.0

    def restart(self) -> None:
        self.restarts, self.now = self.restarts + 1, 0.0

    def taken(self) -> float:
        return self.now


class Wire:
    """A relay with a pipe in place of the cage, and one in place of the main process."""

    def __init__(self) -> None:
        self.replies, self.cage = os.pipe()
        self.asked, requests = os.pipe()
        self.out, out = os.pipe()
        self.clock = Clock()
        self.relay = _Relay(self.replies, requests, out, self.clock, 4.0, CELLS)
        self.fds = {self.replies, self.cage, self.asked, requests, self.out, out}
        for fd in (self.out, self.asked):
            os.set_blocking(fd, False)

    def close(self, *fds: int) -> None:
        for fd in fds or [*self.fds]:
            os.close(fd)
            self.fds.remove(fd)

    def heard(self) -> list[dict[str, Any]]:
        """What has reached the main process since this was asked last."""
        try:
            return [json.loads(line) for line in os.read(self.out, 1 << 16).splitlines()]
        except BlockingIOError:
            return []

    def says(self, *messages: dict[str, Any] | bytes) -> list[dict[str, Any]]:
        """The cage says something; what of it reaches the main process."""
        for one in messages:
            os.write(self.cage, one if isinstance(one, bytes) else json.dumps(one).encode() + b"\n")
        self.relay._listen()
        return self.heard()

    def asks(self, label: str = "1.2") -> list[dict[str, Any]]:
        """The main process has a function called; what it hears at once."""
        self.relay._ask(b'{"label": "x"}\n', {"label": label})
        return self.heard()


@pytest.fixture
def wire() -> Iterator[Wire]:
    one = Wire()
    yield one
    one.close()


def test_what_a_cage_may_say_is_passed_on(wire: Wire) -> None:
    # The mistakes: an answer is lost; what a submission makes up reaches the main process.
    assert wire.says({"begin": 0}, LABEL, {**NOTE, "score": 3}) == [LABEL, NOTE]
    assert wire.relay.busy and wire.relay.number == 0
    assert wire.says({"ended": 1, "why": "x"}, {"over": True}, b"[]\n", b"\n", b"{\n") == []
    assert wire.relay.malformed == 5
    assert wire.says(b'{"note": ') == []
    assert wire.says(b'"x", "cell": 1}\n{"no') == [NOTE]
    assert wire.says(b'te": "x", "cell": 1}\n') == [NOTE]


def test_it_is_done_when_the_last_cell_has_begun_and_once(wire: Wire) -> None:
    # The mistake: a submission says that it is done, and its later cells are never run.
    assert wire.says({"begin": 0}, {"done": True}) == []
    assert wire.relay.busy
    assert wire.says(LAST, {"done": True}, {"done": True}) == [{"done": True}]
    assert not wire.relay.busy
    assert wire.says(LABEL, NOTE) == []  # nobody listens to it any more


def test_a_result_is_what_was_asked_for(wire: Wire) -> None:
    # The mistake: results are laid in store, and the next check is given an old one.
    assert wire.says({"begin": 0}, RESULT) == []
    wire.says(LAST, {"done": True})
    assert wire.says(RESULT) == []
    assert wire.asks() == [] and os.read(wire.asked, 100) == b'{"label": "x"}\n'
    assert wire.says(RESULT, RESULT) == [RESULT]
    assert wire.asks() == []
    assert wire.says({"raised": "E"}) == [{"raised": "E"}]


def test_the_calls_of_one_check_share_their_time(wire: Wire) -> None:
    # The mistakes: each of hundreds of calls has all the time; one check takes that of another.
    wire.says(LAST, {"done": True})
    for taken, left in ((0.0, 4.0), (1.5, 4.0), (1.5, 2.5)):
        wire.asks()
        assert wire.relay.allowed == left
        wire.clock.now = taken
        wire.says(RESULT)
    wire.asks("1.3")
    assert wire.relay.allowed == 4.0
    wire.relay.seconds = 100.0
    wire.asks("1.4")
    assert wire.relay.allowed == keeper._ONE_CALL


def test_each_cell_has_its_time_once(wire: Wire) -> None:
    # The mistake: who says again and again that a cell begins is never ended.
    before = wire.clock.restarts
    wire.says({"begin": 0}, {"begin": 1}, {"begin": 1}, {"begin": 0})
    assert wire.clock.restarts == before + 2


def test_one_that_dies_is_told(wire: Wire) -> None:
    # The mistake: the main process waits for ever, or is told twice.
    wire.says({"begin": 1})
    wire.close(wire.cage)
    wire.relay._listen()
    over = {"ended": 1, "why": DIED}
    assert wire.heard() == [over]
    assert wire.asks() == [over] and not wire.relay.busy


def test_one_that_dies_before_it_begins_is_no_fault_of_the_submission(wire: Wire) -> None:
    wire.close(wire.cage)
    with pytest.raises(RuntimeError, match="did not begin"):
        wire.relay._listen()


def test_one_that_does_not_read_is_ended(wire: Wire) -> None:
    # The mistake: a submission that is gone is asked, and the keeper dies of it.
    wire.says(LAST, {"done": True})
    wire.close(wire.asked)
    assert wire.asks() == [{"ended": CELLS - 1, "why": DIED}]


@pytest.mark.parametrize(
    "limit, most, flood",
    [
        ("_MOST_SAID", 50, b"x" * 60),
        ("_MOST_MESSAGES", 2, b'{"begin": 0}\n' * 4),
        ("_MOST_MALFORMED", 2, b"[]\n" * 4),
    ],
)
def test_a_flood_is_ended(
    wire: Wire, monkeypatch: pytest.MonkeyPatch, limit: str, most: int, flood: bytes
) -> None:
    # The mistake: a submission that writes without end fills the memory of the marker.
    wire.says({"begin": 0})
    monkeypatch.setattr(keeper, limit, most)
    assert wire.says(flood) == [{"ended": 0, "why": TOO_MUCH}]
    assert not wire.relay.busy


@pytest.mark.parametrize(
    "line, message",
    [
        (b'{"begin": 3}', {"begin": 3}),
        (b'{"begin": true}', {}),
        (b'{"begin": "3"}', {}),
        (b'{"label": "1", "answer": "x", "more": 1}', {"label": "1", "answer": "x"}),
        (b'{"label": "1"}', {}),
        (b'{"raised": "E"}', {"raised": "E"}),
        (b'["begin"]', {}),
        (b"[" * 100_000, {}),
        (b"\xff", {}),
    ],
)
def test_a_message_is_one_of_those_there_are(line: bytes, message: dict[str, Any]) -> None:
    assert _message(line) == message


def test_a_line_is_read_whole_and_alone() -> None:
    # The mistake: half a request, or two, are taken for one.
    out, into = os.pipe()
    long = b"x" * 60_000 + b"\n"
    os.write(into, long)
    assert _read_line(out) == long
    os.write(into, b"a\nb\n")
    with pytest.raises(RuntimeError, match="two lines"):
        _read_line(out)
    os.close(into)
    assert _read_line(out) == b""
    os.close(out)


def test_who_does_not_read_is_waited_for_so_long_and_no_longer() -> None:
    out, into = os.pipe()
    with pytest.raises(TimeoutError):
        _write(into, b"x" * (1 << 20), time.monotonic() + 0.1)
    os.close(out)
    os.close(into)


def kept(seconds: float, talk: Callable[[int, int, int], object]) -> int:
    """Let a relay run in a process of its own, and talk with it; its exit code.

    `talk` is given where requests are written, where the main process hears, and where the cage
    speaks.
    """
    requests, ask = os.pipe()
    hear, out = os.pipe()
    replies, cage = os.pipe()
    _, to_cage = os.pipe()
    child = os.fork()
    if child == 0:
        code = 1
        try:
            os.dup2(requests, 0)
            os.close(cage)
            _Relay(replies, to_cage, out, keeper.Clock(os.getpid()), seconds, 1).run()
            code = 0
        finally:
            os._exit(code)
    for fd in (requests, out, replies):  # who waits for one that has ended hears that
        os.close(fd)
    try:
        talk(ask, hear, cage)
    finally:
        os.close(ask)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_how_long_a_process_has_waited_is_read_as_the_kernel_writes_it(tmp_path: Path) -> None:
    # The mistake: waiting counts twice, or in another unit.
    (tmp_path / "schedstat").write_text("7000000000 2500000000 31\n")
    clock = keeper.Clock(0)
    clock._file = os.open(tmp_path / "schedstat", os.O_RDONLY)
    assert clock._waits() == 2.5
    os.close(clock._file)
    assert clock._waits() == 2.5  # the process has ended: what was known of it


@pytest.mark.skipif(not Path("/proc/self/fd").exists(), reason="what is open is looked up in /proc")
def test_what_a_cage_finds(tmp_path: Path) -> None:
    # The mistakes: the teacher's secrets in the environment; a way to the main process is open.
    look = (
        "import os\nfds = sorted(map(int, os.listdir('/proc/self/fd')))\n"
        "found = [fds, *os.environ, os.getcwd()]"
    )
    job = {
        "cells": [
            {"role": "code", "code": look, "typed": ""},
            {"role": "check", "label": "1", "asked": "found", "call": "", "wrt": "None"},
        ],
        "blanked": [],
    }
    nothing = fence.Isolation(limits=False, files=False, network=False, processes=False)
    out, into = os.pipe()
    requests, _ = os.pipe()
    child = os.fork()
    if child == 0:
        os.environ["TEACHERS_TOKEN"] = "secret"
        keeper._live(job, tmp_path, fence.Limits(), nothing, requests, into)
    lines = b""
    while b'"answer"' not in lines:
        lines += os.read(out, 1 << 16)
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)
    said = [json.loads(line) for line in lines.splitlines()]
    (answer,) = [json.loads(one["answer"])["value"] for one in said if "answer" in one]
    open_, *names, folder = decode(answer)
    assert open_ == [0, 1, 2, 3, 10, 11]  # 3 is the folder that is looked at
    assert {"HOME", "TMPDIR"} <= {*names} <= {*INHERITED, "HOME", "TMPDIR"}
    assert folder == str(tmp_path)


def test_it_goes_on_until_the_main_process_has_heard_enough() -> None:
    # The mistakes: it ends too early, or never; what is over is told as still alive.
    def talk(ask: int, hear: int, cage: int) -> None:
        os.write(cage, b'{"begin": 0}\n{"done": true}\n')
        assert _read_line(hear) == b'{"done": true}\n'
        os.write(ask, b'{"still": true}\n')
        assert _read_line(hear) == b'{"done": true}\n'
        os.close(cage)
        time.sleep(0.2)
        os.write(ask, b'{"still": true}\n')
        assert json.loads(_read_line(hear)) == {"ended": 0, "why": DIED}
        os.write(ask, b'{"enough": true}\n')

    assert kept(60.0, talk) == 0
    assert kept(60.0, lambda ask, hear, cage: os.close(cage)) == 1  # it had not begun


def test_one_whose_time_is_up_is_ended() -> None:
    # The mistake: a cell that runs for ever, or says something all the time, is never ended.
    def talk(ask: int, hear: int, cage: int) -> None:
        os.write(cage, b'{"begin": 0}\n')
        over = json.loads(_read_line(hear))
        assert over == {"ended": 0, "why": "it was still running when its time was up"}
        os.write(ask, b'{"enough": true}\n')

    assert kept(0.2, talk) == 0


@pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="processes are looked up in /proc")
def test_all_that_was_started_is_ended() -> None:
    # The mistake: what has left its group, or has lost its parent, lives on.
    def tree() -> None:
        fence.adopt()
        for leaves in (True, False):
            if os.fork() == 0:
                if leaves:
                    os.setsid()
                if os.fork() == 0:
                    time.sleep(600)
                if leaves:
                    os._exit(0)
                time.sleep(600)
        time.sleep(0.2)
        assert len(keeper._descendants(os.getpid())) == 3
        keeper.end_all(os.getpid())
        assert keeper._descendants(os.getpid()) == []

    child = os.fork()
    if child == 0:
        code = 1
        signal.alarm(30)
        try:
            tree()
            code = 0
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
