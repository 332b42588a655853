"""The two helpers of a marking run, spoken to in lines of JSON: a judge, and a zygote."""

from __future__ import annotations

import json
import os
import select
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

_ONE_THREAD = {"OMP_NUM_THREADS": "1", "MKL_NUM_THREADS": "1", "MPLBACKEND": "Agg"}


class ServerError(RuntimeError):
    """A helper does not answer any more."""


class Server:
    """A process that reads and writes lines of JSON."""

    def __init__(self, module: str, *arguments: str, env: dict[str, str] | None = None) -> None:
        """Start it; `ready` waits for its first words."""
        self.process = subprocess.Popen(
            [sys.executable, "-m", module, *arguments],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, **_ONE_THREAD, **(env or {})},
        )
        self._rest = b""

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
        while b"\n" not in self._rest:
            if not select.select([out], [], [], max(0.0, deadline - time.monotonic()))[0]:
                raise ServerError(f"no answer within {seconds:g} seconds")
            data = os.read(out, 1 << 20)
            if not data:
                raise ServerError("the process has ended")
            self._rest += data
        line, self._rest = self._rest.split(b"\n", 1)
        message: dict[str, Any] = json.loads(line)
        return message

    def stop(self) -> None:
        """End it."""
        self.process.kill()
        self.process.communicate()


def judge(source: Path, follow_through: float) -> Server:
    """Start a judge for one lesson."""
    settings = {"CHECKS_FOLLOW_THROUGH": str(follow_through), "CHECKS_FEEDBACK": "full"}
    return Server("checks.classroom.judge", str(source), env=settings)


def zygote() -> Server:
    """Start a zygote."""
    return Server("checks.classroom.zygote")
