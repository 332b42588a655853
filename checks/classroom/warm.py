"""A process that has imported what is slow to import, and forks others that begin with it.

PyTorch takes one or two seconds to import, and a fork milliseconds. The warm process runs nothing
itself and has one thread; it ends with the one that started it.
"""

from __future__ import annotations

import contextlib
import gc
import importlib
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

# Loaded when a lesson draws, when it shows a slider, when a number is printed.
_SOON_NEEDED = (
    "checks.card",
    "checks.data",
    "checks.stepper",
    "IPython.display",
    "ipywidgets",
    "landlock",
    "matplotlib.figure",
    "matplotlib.mathtext",
    "matplotlib.pyplot",
    "numpy",
    "torch",
    "torch.func",
    "torch.nn.functional",
)
_STREAMS = 3
_PATIENCE = 5.0  # seconds


class WarmError(RuntimeError):
    """The warm process does not answer any more."""


class Warm:
    """A warm process, and how to have it fork."""

    def __init__(
        self,
        env: Mapping[str, str],
        modules: Sequence[str] = (),
        options: Sequence[str] = ("-P",),
    ) -> None:
        """Start it.

        Args:
            env: its environment, all of it.
            modules: what it imports beside what a lesson imports.
            options: those of Python.
        """
        self.env, self.options = dict(env), tuple(options)  # how it began, for whoever would fork
        self._socket, its = socket.socketpair()
        self._process = subprocess.Popen(
            [sys.executable, *options, "-m", __spec__.name, str(its.fileno()), *modules],
            pass_fds=[its.fileno()],
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",  # no progress is kept, and no module is found, where the teacher happens to be
            env=env,
            start_new_session=True,  # an interrupt is for whoever started it
        )
        its.close()
        self._lines = self._socket.makefile("rb")
        self._lock = threading.Lock()
        self._lost = False

    def fork(
        self,
        module: str,
        arguments: Sequence[str],
        streams: tuple[int, int, int],
        env: dict[str, str],
        cwd: str = "/",
    ) -> int:
        """Fork a process that runs `main(*arguments)` of a module, and return its number.

        Args:
            module: the module.
            arguments: what its `main` is given.
            streams: what its input, output and error output are.
            env: its environment; what of it is read when Python starts is as it was.
            cwd: the folder in which it begins.

        Raises:
            WarmError: the warm process is gone.
        """
        request = {"module": module, "arguments": list(arguments), "env": env, "cwd": cwd}
        return int(self._ask({"fork": request}, streams))

    def poll(self, process: int) -> int | None:
        """The exit code of a process that was forked, None while it lives; below 0, its signal.

        Raises:
            WarmError: the warm process is gone.
        """
        code = self._ask({"poll": process})
        return None if code is None else int(code)

    def end(self, process: int) -> None:
        """Let a process that was forked end by itself; not for long."""
        deadline = time.monotonic() + _PATIENCE
        while self._is_there(process):
            if time.monotonic() > deadline:
                with contextlib.suppress(ProcessLookupError):
                    os.kill(process, signal.SIGKILL)
                if not self.lives:
                    return  # nobody says when it is gone
            time.sleep(0.002)

    @property
    def lives(self) -> bool:
        """Whether it can still be asked."""
        with self._lock:
            return not self._lost and self._process.poll() is None

    def stop(self) -> None:
        """End it; what it has forked lives on."""
        self._socket.close()
        self._lines.close()
        if self._lost:  # it may be anywhere, and has nothing to tidy up
            self._process.kill()
        self._process.wait()

    def _is_there(self, process: int) -> bool:
        """Whether a process that was forked lives, also when nobody can be asked any more."""
        try:
            return self.poll(process) is None
        except WarmError:
            with contextlib.suppress(OSError):
                os.kill(process, 0)
                return True
            return False

    def _ask(self, message: dict[str, Any], streams: Sequence[int] = ()) -> Any:
        with self._lock:
            lost, self._lost = self._lost, True  # also where an interrupt comes in between
            try:
                if lost:
                    raise OSError
                socket.send_fds(self._socket, [b"\0"], streams)
                self._socket.sendall(json.dumps(message).encode() + b"\n")
                answer = json.loads(self._lines.readline())
            except (OSError, ValueError) as error:
                raise WarmError("the process that starts all others has ended") from error
            self._lost = False
        return answer


class Shared:
    """One warm process for all threads: started when it is first needed, and when it is gone."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._warm: Warm | None = None

    def get(self, start: Callable[[], Warm]) -> Warm:
        """The one that there is, or a new one."""
        with self._lock:
            if self._warm is not None and not self._warm.lives:
                self._warm.stop()
                self._warm = None
            if self._warm is None:
                self._warm = start()
            return self._warm

    def stop(self) -> None:
        """End it."""
        with self._lock:
            if self._warm is not None:
                self._warm.stop()
                self._warm = None


def main(control: int, modules: Sequence[str] = ()) -> None:
    """Import what is needed, then fork until whoever started this is gone."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # whoever started it ends it
    for name in (*_SOON_NEEDED, *modules):
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    gc.collect()
    gc.freeze()  # a collection in a fork does not write to, and so copy, what is older than it
    connection = socket.socket(fileno=control)
    while (received := _next(connection)) is not None:
        request, streams = received
        if "poll" in request:
            process, status = os.waitpid(request["poll"], os.WNOHANG)
            answer = os.waitstatus_to_exitcode(status) if process else None
        else:
            answer = os.fork()
            if answer == 0:
                connection.close()
                _become(request["fork"], streams)
        for stream in streams:
            os.close(stream)
        connection.sendall(json.dumps(answer).encode() + b"\n")


def _next(connection: socket.socket) -> tuple[dict[str, Any], list[int]] | None:
    """The next request, and the streams that came with it; None when there is none any more."""
    first, streams, _, _ = socket.recv_fds(connection, 1, _STREAMS)
    line = bytearray()
    while first and not line.endswith(b"\n"):
        data = connection.recv(1 << 16)
        if not data:
            return None
        line += data
    return (json.loads(line), streams) if first else None


def _become(request: dict[str, Any], streams: Sequence[int]) -> None:
    """Be the process that was asked for. Never returns."""
    code = 1
    try:
        os.setsid()
        for stream, number in zip(streams, range(_STREAMS), strict=True):
            os.dup2(stream, number)
            os.close(stream)
        os.chdir(request["cwd"])
        os.environ.clear()
        os.environ.update(request.pop("env"))  # whoever walks up the frames finds it there no more
        importlib.import_module(request["module"]).main(*request["arguments"])
        code = 0
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else bool(end.code)
    except BaseException:
        traceback.print_exc()
    finally:
        with contextlib.suppress(Exception):
            sys.stdout.flush()
            sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2:])
