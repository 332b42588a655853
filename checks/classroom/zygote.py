"""A warmed process that forks a fenced one for each submission.

Started as `python -m checks.classroom.zygote`. It has imported what submissions import, so that a
fork costs milliseconds, and holds nothing that is worth stealing: no source, no answer, no marks.
It reads jobs as lines of JSON, one after another, and passes on what the submission says.
"""

from __future__ import annotations

import contextlib
import json
import os
import select
import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from checks.classroom import cage, fence
from checks.classroom.fence import Isolation, Limits

_MOST_SAID = 96 << 20  # bytes that one submission may say
_CHUNK = 1 << 16


def main() -> None:
    """Serve until the input ends."""
    # What a submission or a library prints must not get among the messages.
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    _warm()
    out.write(b'{"ready": true}\n')
    for line in sys.stdin.buffer:
        job = json.loads(line)
        serve(job, out.fileno())


def _warm() -> None:
    """Import what lessons and answers import, on one thread: a fork of two threads may hang."""
    import matplotlib as mpl

    mpl.use("Agg")
    import matplotlib.pyplot  # noqa: F401
    import numpy  # noqa: F401
    import torch
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    import checks.card  # noqa: F401  # loaded when a picture is drawn, but not from inside a fence

    torch.set_num_threads(1)
    # Nobody looks at a picture here, and to draw them takes longer than all the rest.
    Figure.savefig = FigureCanvasAgg.draw = lambda *_, **__: None  # type: ignore[method-assign, assignment]


def serve(job: dict[str, Any], out: int) -> None:
    """Run one job in a cage of its own, pass on what it says, and leave nothing behind."""
    limits = Limits(**job["limits"])
    isolation = Isolation(**job["isolation"])
    scratch = Path(tempfile.mkdtemp(prefix="checks-"))
    to_cage, from_main = os.pipe()
    from_cage, to_main = os.pipe()
    keeper = os.fork()
    if keeper == 0:
        os.close(from_main)
        os.close(from_cage)
        _keep(job, scratch, limits, isolation, to_cage, to_main)
    os.close(to_cage)
    os.close(to_main)
    try:
        _relay(from_cage, from_main, out, limits.seconds)
    finally:
        os.close(from_cage)
        os.close(from_main)
        _end(keeper)
        shutil.rmtree(scratch, ignore_errors=True)
    _say(out, {"over": True})


def _keep(
    job: dict[str, Any],
    scratch: Path,
    limits: Limits,
    isolation: Isolation,
    to_cage: int,
    to_main: int,
) -> None:
    """Fork the cage into a world of its own, and end with it. Never returns."""
    try:
        os.setsid()
        fence.adopt()
        fence.separate(isolation)
        child = os.fork()
        if child == 0:
            _live(job, scratch, limits, isolation, to_cage, to_main)
        os.close(to_cage)
        os.close(to_main)
        while True:  # until it is ended: what the cage leaves behind becomes its own
            os.wait()
    except ChildProcessError:
        signal.pause()
    finally:
        os._exit(0)


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
        asked = cage.run(job, lambda message: _say(replies, message))
        _say(replies, {"done": True})
        with os.fdopen(requests, "rb") as lines:
            for line in lines:
                _say(replies, cage.answer_call(json.loads(line), asked))
    finally:
        os._exit(0)


def _relay(from_cage: int, from_main: int, out: int, seconds: float) -> None:
    """Pass messages on until the main process has heard enough, or the cage is silent for good."""
    said, rest, waiting, number = 0, b"", True, -1
    deadline = time.monotonic() + seconds
    while True:
        sources = [from_cage] if waiting else [from_cage, 0]
        ready, _, _ = select.select(sources, [], [], max(0.0, deadline - time.monotonic()))
        if not ready and waiting:
            _say(out, {"ended": number, "why": f"it was still running after {seconds:g} seconds"})
            return
        if 0 in ready:
            line = sys.stdin.buffer.readline()
            if not line or b'"enough"' in line:
                return
            os.write(from_main, line)
            waiting, deadline = True, time.monotonic() + seconds
        if from_cage not in ready:
            if not waiting:
                deadline = time.monotonic() + 3600
            continue
        data = os.read(from_cage, _CHUNK)
        said += len(data)
        if not data or said > _MOST_SAID:
            why = "its process was ended" if not data else "it said too much"
            _say(out, {"ended": number, "why": why})
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            message = _read(line)
            if "begin" in message:
                number = message["begin"] if isinstance(message["begin"], int) else number
                deadline = time.monotonic() + seconds
                continue
            if message:
                _say(out, message)
            if message.keys() & {"done", "result", "raised"}:
                waiting = False
                deadline = time.monotonic() + 3600


def _read(line: bytes) -> dict[str, Any]:
    """A message from the cage; nothing where it is not one."""
    try:
        message = json.loads(line)
    except ValueError:
        return {}
    return message if isinstance(message, dict) else {}


def _say(where: int, message: dict[str, Any]) -> None:
    data = json.dumps(message).encode() + b"\n"
    while data:
        data = data[os.write(where, data) :]


def _end(keeper: int) -> None:
    """End the keeper and all that it has started, also what has left its session."""
    while True:
        for process in [*_descendants(keeper), keeper]:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGSTOP if process == keeper else signal.SIGKILL)
        if not _descendants(keeper):
            break
        os.kill(keeper, signal.SIGCONT)  # it is the one that can take away the dead
        time.sleep(0.001)
    os.kill(keeper, signal.SIGKILL)
    os.waitpid(keeper, 0)


def _descendants(ancestor: int) -> list[int]:
    """The living processes below one; where there is no /proc, they are found by their session."""
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


if __name__ == "__main__":
    main()
