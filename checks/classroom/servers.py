"""The two helpers of a marking run, spoken to in lines of JSON: a judge, and a zygote."""

from __future__ import annotations

import contextlib
import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import checks

_ALWAYS = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "PYTHONHASHSEED": "0",  # a set has the same order each time
}


_PATIENCE = 5.0  # seconds


class ServerError(RuntimeError):
    """A helper does not answer any more."""


class Server:
    """A process that reads and writes lines of JSON."""

    def __init__(self, module: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        """Start it; `ready` waits for its first words."""
        package = str(Path(checks.__file__).resolve().parent.parent)
        self.process = subprocess.Popen(
            [sys.executable, "-P", "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            cwd="/",  # no progress is kept, and no module is found, where the teacher happens to be
            env={**os.environ, "PYTHONPATH": package, **_ALWAYS, **(env or {})},
            start_new_session=True,  # an interrupt is for the main process, which ends this one
        )
        self._rest = bytearray()

    def ready(self, seconds: float = 120) -> dict[str, Any]:
        """Wait until it has warmed up."""
        return self.hear(seconds)

    def say(self, message: dict[str, Any]) -> None:
        """Send a message.

        Raises:
            ServerError: the process has ended.
        """
        assert self.process.stdin is not None
        try:
            self.process.stdin.write(json.dumps(message).encode() + b"\n")
            self.process.stdin.flush()
        except OSError as error:
            raise ServerError("the process has ended") from error

    def hear(self, seconds: float) -> dict[str, Any]:
        """Read the next message.

        Raises:
            ServerError: none came in time, or the process has ended.
        """
        assert self.process.stdout is not None
        out = self.process.stdout.fileno()
        deadline = time.monotonic() + seconds
        whole = b"\n" in self._rest
        while not whole:
            if not select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ServerError(f"no answer within {seconds:g} seconds")
            data = os.read(out, 1 << 20)
            if not data:
                raise ServerError("the process has ended")
            self._rest += data
            whole = b"\n" in data
        line, _, rest = bytes(self._rest).partition(b"\n")
        self._rest = bytearray(rest)
        message: dict[str, Any] = json.loads(line)
        return message

    def stop(self) -> None:
        """Let it end by itself, so that it can end what it has started; not for long."""
        assert self.process.stdin is not None
        with contextlib.suppress(OSError):
            self.process.stdin.close()
        try:
            self.process.wait(_PATIENCE)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        assert self.process.stdout is not None
        self.process.stdout.close()


def judge(source: Path, follow_through: float) -> Server:
    """Start a judge for one lesson."""
    settings = {"CHECKS_FOLLOW_THROUGH": str(follow_through), "CHECKS_FEEDBACK": "full"}
    return Server("checks.classroom.judge", str(source.resolve()), env=settings)


def zygote() -> Server:
    """Start a zygote."""
    return Server("checks.classroom.zygote")
