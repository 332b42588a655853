"""The two helpers of marking, spoken to in lines of JSON: a judge, and a zygote."""

from __future__ import annotations

import contextlib
import json
import os
import select
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import checks
from checks.classroom.lesson import Lesson
from checks.classroom.warm import Warm, WarmError

ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MKL_NUM_THREADS": "1",
    "MPLBACKEND": "Agg",
    "PYTHONHASHSEED": "0",  # a set has the same order each time
}
# What a submission must not find in the memory of its process is not there: of the teacher's
# environment these are handed down, and what begins with `CHECKS_` or `LC_`: no token is there.
_HANDED_DOWN = (
    *("PATH", "LANG", "TZ", "TMPDIR", "HOME", "XDG_CACHE_HOME", "MPLCONFIGDIR"),
    *("LD_LIBRARY_PATH", "PYTHONHOME", "VIRTUAL_ENV"),
)
_ENDED = "one of its processes has ended"


def environment() -> dict[str, str]:
    """The environment of what marks."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name in _HANDED_DOWN or name.startswith(("CHECKS_", "LC_"))
    }
    return {**kept, "PYTHONPATH": str(Path(checks.__file__).resolve().parent.parent), **ENVIRONMENT}


class ServerError(RuntimeError):
    """A helper does not answer any more."""


class Server:
    """A process that reads and writes lines of JSON, forked from a warm one."""

    def __init__(self, warm: Warm, module: str, env: dict[str, str] | None = None) -> None:
        """Fork it.

        Raises:
            ServerError: the warm process has ended.
        """
        self._warm = warm
        read, self._in = os.pipe()
        self._out, write = os.pipe()
        nowhere = os.open(os.devnull, os.O_RDWR)
        try:
            whole = {**environment(), **(env or {})}
            self._process = warm.fork(module, [], (read, write, nowhere), whole)
        except WarmError as error:
            os.close(self._in)
            os.close(self._out)
            raise ServerError(str(error)) from error
        finally:
            for stream in (read, write, nowhere):
                os.close(stream)
        self._rest = bytearray()

    def say(self, message: dict[str, Any]) -> None:
        """Send a message.

        Raises:
            ServerError: the process has ended.
        """
        data = json.dumps(message).encode() + b"\n"
        try:
            while data:
                data = data[os.write(self._in, data) :]
        except OSError as error:
            raise ServerError(_ENDED) from error

    def hear(self, seconds: float) -> dict[str, Any]:
        """Read the next message.

        Raises:
            ServerError: none came in time, or the process has ended.
        """
        deadline = time.monotonic() + seconds
        ready = select.poll()  # `select` knows no stream beyond the thousandth
        ready.register(self._out, select.POLLIN)
        whole = b"\n" in self._rest
        while not whole:
            if not ready.poll(1000 * max(0.0, deadline - time.monotonic())):
                raise ServerError(f"no answer within {seconds:g} seconds")
            data = os.read(self._out, 1 << 20)
            if not data:
                raise ServerError(_ENDED)
            self._rest += data
            whole = b"\n" in data
        line, _, rest = bytes(self._rest).partition(b"\n")
        self._rest = bytearray(rest)
        message: dict[str, Any] = json.loads(line)
        return message

    def stop(self) -> None:
        """Let it end by itself, so that it can end what it has started; not for long."""
        with contextlib.suppress(OSError):
            os.close(self._in)
        self._warm.end(self._process)
        os.close(self._out)


def judge(warm: Warm, lesson: Lesson, follow_through: float) -> Server:
    """Start a judge for one lesson.

    Raises:
        ServerError: the warm process has ended.
    """
    settings = {"CHECKS_FOLLOW_THROUGH": str(follow_through), "CHECKS_FEEDBACK": "full"}
    server = Server(warm, "checks.classroom.judge", settings)
    server.say({"cells": [asdict(cell) for cell in lesson.cells]})
    return server


def zygote(warm: Warm) -> Server:
    """Start a zygote.

    Raises:
        ServerError: the warm process has ended.
    """
    return Server(warm, "checks.classroom.zygote")
