"""Keep one submission: start its cage, pass on what it says, and end it with all it has started.

The keeper stands between the main process and the cage. Of what the cage says it passes on the
messages that a cage may send, nothing else; and it alone says when a run was ended, and why.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import time
from pathlib import Path
from typing import Any

from checks.classroom import cage, fence
from checks.classroom.fence import PATIENCE, Isolation, Limits

NO_JOB = 3  # the exit code where the input has ended
DIED = "its process was ended"

_MOST_MESSAGES = 100_000  # of one submission
_MOST_MALFORMED = 100  # lines that are no message
_MOST_SAID = 96 << 20  # bytes that one submission may say
_CHUNK = 1 << 16
_FOREVER = 3600.0
_SHORTEST = 0.02  # seconds that nothing is looked at, where nothing is said
_ONE_CALL = 10.0  # seconds: longer than a check waits
# What a cage may say: the kinds of its messages, and what is in them.
_KINDS: dict[str, dict[str, type]] = {
    "begin": {"begin": int},
    "label": {"label": str, "answer": str},
    "note": {"note": str, "cell": int},
    "done": {"done": bool},
    "result": {"result": str},
    "raised": {"raised": str},
}


def live(scratch: Path, out: int) -> None:
    """Read a job from the input, and do it. Never returns."""
    code = 1
    try:
        os.setsid()
        line = _read_line(0)
        if not line:
            code = NO_JOB
            return
        _keep(json.loads(line), scratch, out)
        code = 0
    finally:
        os._exit(code)


def say(where: int, message: dict[str, Any]) -> None:
    """Send a message."""
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(where, data) :]


def end_all(ancestor: int) -> None:
    """End every process below one, also what has left its session, until none is left."""
    while True:
        try:
            while os.waitpid(-1, os.WNOHANG)[0]:
                continue
        except ChildProcessError:
            return
        found = _descendants(ancestor)
        if not found and not Path("/proc/self").exists():
            return
        for process in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        time.sleep(0.001)


def _keep(job: dict[str, Any], scratch: Path, out: int) -> None:
    limits, isolation = Limits(**job.pop("limits")), Isolation(**job.pop("isolation"))
    to_cage, from_main = os.pipe()
    from_cage, to_main = os.pipe()
    fence.separate(scratch, limits, isolation)
    child = os.fork()
    if child == 0:
        _live(job, scratch, limits, isolation, to_cage, to_main)
    os.close(to_cage)
    os.close(to_main)
    try:
        clock = Clock(child)
        _Relay(from_cage, from_main, out, clock, limits.seconds, len(job["cells"])).run()
    finally:
        with contextlib.suppress(ProcessLookupError):
            os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)  # in a world of its own, all that it has started has ended, too


def _live(
    job: dict[str, Any],
    scratch: Path,
    limits: Limits,
    isolation: Isolation,
    to_cage: int,
    to_main: int,
) -> None:
    """Be the cage. Never returns."""
    try:
        os.setsid()  # what it does to its group it does to itself
        nowhere = os.open(os.devnull, os.O_RDWR)
        for stream in (0, 1, 2):
            os.dup2(nowhere, stream)
        os.chdir(scratch)
        for name in [*os.environ]:
            if name not in ("PATH", "LANG", "LC_ALL", "OMP_NUM_THREADS", "MPLBACKEND"):
                del os.environ[name]
        os.environ |= {"HOME": str(scratch), "TMPDIR": str(scratch)}
        requests, replies = 10, 11  # nothing else stays open
        os.dup2(to_cage, requests)
        os.dup2(to_main, replies)
        os.closerange(3, requests)
        os.closerange(replies + 1, 4096)
        fence.enclose(scratch, limits, isolation)
        cage.live(job, requests, replies)
    finally:
        os._exit(0)


class Clock:
    """The time that a process takes: not what it waits for a processor while others have them.

    So marks do not depend on how busy the machine is. It is no less than the fourth part of the
    time that passes: nothing takes for ever.
    """

    def __init__(self, process: int) -> None:
        self._file = -1
        with contextlib.suppress(OSError):  # without it, all the time that passes counts
            self._file = os.open(f"/proc/{process}/schedstat", os.O_RDONLY)
        self._waited = 0.0
        self.restart()

    def restart(self) -> None:
        """Begin to count."""
        self._begun, self._before = time.monotonic(), self._waits()

    def taken(self) -> float:
        """The seconds since it was started."""
        passed = time.monotonic() - self._begun
        return max(passed - (self._waits() - self._before), passed / PATIENCE)

    def _waits(self) -> float:
        """How long it has waited for a processor in its life."""
        if self._file >= 0:
            with contextlib.suppress(OSError, ValueError, IndexError):  # it may have ended
                self._waited = int(os.pread(self._file, 100, 0).split()[1]) / 1e9
        return self._waited


class _Relay:
    """Passes messages between the main process and the cage, and watches the clock."""

    def __init__(
        self, from_cage: int, to_cage: int, out: int, clock: Clock, seconds: float, cells: int
    ) -> None:
        self.from_cage, self.to_cage, self.out = from_cage, to_cage, out
        self.clock, self.seconds, self.last = clock, seconds, cells - 1
        self.allowed = seconds  # for what runs now
        self.left = seconds  # for the calls of one check together
        self.number = -1  # of the cell that runs
        self.said, self.rest = 0, bytearray()
        self.messages = self.malformed = 0
        self.busy = True
        self.done = False  # all cells have run: only functions are called from now on
        self.label: object = None
        self.ended = ""

    def run(self) -> None:
        """Go on until the main process has heard enough."""
        while True:
            sources = [0] if self.ended else [0, self.from_cage]
            wait = self.allowed - self.clock.taken() if self.busy else _FOREVER
            if wait <= 0:  # also where there is always something to be read
                self._end("it was still running when its time was up")
                continue
            wait = max(wait, _SHORTEST)
            ready, _, _ = select.select(sources, [], [], wait)
            if 0 in ready:
                line = _read_line(0)
                request = json.loads(line) if line else {"enough": True}
                if "enough" in request:
                    return
                if "still" in request:
                    say(self.out, self._over() if self.ended else {"done": True})
                else:
                    self._ask(line, request)
            elif self.from_cage in ready:
                self._listen()

    def _ask(self, line: bytes, request: dict[str, Any]) -> None:
        """Have a function called; the calls of one check share the time of one cell."""
        if request["label"] != self.label:
            self.label, self.left = request["label"], self.seconds
        if not self.ended:
            self.busy, self.allowed = True, min(self.left, _ONE_CALL)
            self.clock.restart()
            try:
                _write(self.to_cage, line, time.monotonic() + PATIENCE * self.allowed)
            except OSError:
                self._end(DIED)
        else:
            say(self.out, self._over())

    def _listen(self) -> None:
        data = os.read(self.from_cage, _CHUNK)
        self.said += len(data)
        if not data or self.said > _MOST_SAID:
            self._end("it said too much" if data else DIED)
            return
        self.rest += data
        if b"\n" not in data:
            return
        *lines, rest = bytes(self.rest).split(b"\n")
        self.rest = bytearray(rest)
        for line in lines:
            message = _message(line)
            self.messages += 1
            self.malformed += not message
            if self.messages > _MOST_MESSAGES or self.malformed > _MOST_MALFORMED:
                self._end("it said too much")
                return
            self._pass(message)

    def _pass(self, message: dict[str, Any]) -> None:
        """Pass on one message of the cage."""
        if self.done and not message.keys() & {"result", "raised"}:
            return  # nobody listens to it any more
        if "begin" in message:
            # Each cell has its time once: whoever counts backwards gets no more of it.
            if message["begin"] > self.number:
                self.number = message["begin"]
                self.clock.restart()
            return
        if message.keys() & {"done", "result", "raised"}:
            if not self.busy or ("done" in message) == self.done:
                return  # nobody has asked
            if "done" in message and self.number < self.last:
                return  # before the last cell has begun
            self.busy, self.done = False, True
            self.left -= self.clock.taken()
        if message:
            say(self.out, message)

    def _end(self, why: str) -> None:
        if self.number < 0:
            raise RuntimeError("the cage did not begin")
        self.ended = why
        if self.busy:
            say(self.out, self._over())
        self.busy = False

    def _over(self) -> dict[str, Any]:
        return {"ended": self.number, "why": self.ended}


def _message(line: bytes) -> dict[str, Any]:
    """A message that a cage may send, with nothing else in it; nothing where it is not one."""
    try:
        message = json.loads(line)
    except (ValueError, RecursionError):
        return {}
    if isinstance(message, dict):
        for kind, parts in _KINDS.items():
            if kind in message and all(type(message.get(key)) is t for key, t in parts.items()):
                return {key: message[key] for key in parts}
    return {}


def _read_line(where: int) -> bytes:
    """Read one line. Whoever writes waits for the answer: what follows is for another process.

    Raises:
        RuntimeError: there is more than one: somebody is out of step.
    """
    parts: list[bytes] = []
    while not parts or not parts[-1].endswith(b"\n"):
        data = os.read(where, _CHUNK)
        if not data:
            return b""
        if b"\n" in data[:-1]:
            raise RuntimeError("two lines at once")
        parts.append(data)
    return b"".join(parts)


def _write(where: int, data: bytes, deadline: float) -> None:
    """Write to a cage that may have stopped reading.

    Raises:
        OSError: it does not read, or is gone.
    """
    os.set_blocking(where, False)
    while data:
        if not select.select([], [where], [], max(0.0, deadline - time.monotonic()))[1]:
            raise TimeoutError
        data = data[os.write(where, data) :]


def _descendants(ancestor: int) -> list[int]:
    """The living processes below one."""
    parents: dict[int, int] = {}
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if state != "Z":
                parents[int(stat.parent.name)] = int(parent)
    found: list[int] = []
    level = {ancestor}
    while level:
        level = {process for process, parent in parents.items() if parent in level}
        found += level
    return found
