"""Kernels that are forked from a warm process, for runs of many lessons.

Starting a kernel and importing PyTorch takes two seconds or three; a fork of a process that has
done it, a tenth of that. It is a provisioner of jupyter_client, which whoever starts kernels can
ask for by name: nbclient and nbval notice nothing. Where no kernel can be forked, or it would not
be like one that was started, an ordinary one is started.
"""

from __future__ import annotations

import atexit
import contextlib
import os
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from importlib.metadata import EntryPoint
from pathlib import Path
from typing import Any

from jupyter_client.connect import KernelConnectionInfo
from jupyter_client.kernelspec import KernelSpec
from jupyter_client.provisioning.factory import KernelProvisionerFactory
from jupyter_client.provisioning.local_provisioner import LocalProvisioner

from checks.classroom.warm import Shared, Warm, WarmError

_NAME = "checks-forked"
_CHILD = "checks.classroom.forked_kernel"
# What a kernel imports beside what a lesson does. Not the backend of its plots, which looks for the
# kernel when it is imported.
_MODULES = (
    _CHILD,
    "contourpy",
    "ipykernel.debugger",
    "ipykernel.zmqshell",
    "IPython.core.completerlib",
    "IPython.core.debugger",
    "IPython.core.pylabtools",
    "matplotlib.backends.backend_agg",
    "numpy.random",
    "PIL.GifImagePlugin",
    "psutil",
    "pygments.lexers.python",
    "sqlite3",
    "stack_data",
    "tornado.platform.asyncio",
    "torch._dynamo",
)
_BACKEND = "module://matplotlib_inline.backend_inline"
# Settings that are read when they are used. All others are read when Python or a library starts.
_READ_LATE = ("IPYTHONDIR", "JPY_", "JUPYTER_", "PYTEST_")


def forked(spec: KernelSpec) -> KernelSpec:
    """The same kernel, to be forked."""
    # Made known to this process alone: what JupyterLab starts is as it was.
    entry = EntryPoint(_NAME, f"{__name__}:ForkedProvisioner", KernelProvisionerFactory.GROUP_NAME)
    KernelProvisionerFactory.provisioners[_NAME] = entry
    spec.metadata["kernel_provisioner"] = {"provisioner_name": _NAME}
    return spec


class ForkedProvisioner(LocalProvisioner):
    """Forks a kernel that would be started with `python -m ipykernel_launcher`."""

    async def launch_kernel(self, cmd: list[str], **kwargs: Any) -> KernelConnectionInfo:
        """Fork it if that can be done, else start it."""
        process = _fork(cmd, **self._scrub_kwargs(kwargs))
        if process is None:
            return await super().launch_kernel(cmd, **kwargs)
        self.process = process  # type: ignore[assignment]
        self.pid = self.pgid = process.pid  # it leads a group of its own
        self.cwd = kwargs.get("cwd") or Path.cwd()
        return self.connection_info

    async def kill(self, restart: bool = False) -> None:
        """Kill it, and see it dead: whoever asks for this looks again after a tenth of a second."""
        await super().kill(restart)
        if isinstance(self.process, _Process):
            self.process.wait(0.1)


class _Process:
    """A forked kernel, with what jupyter_client asks of a `Popen`."""

    stdin = stdout = stderr = None

    def __init__(self, warm: Warm, pid: int) -> None:
        self.pid = pid
        self._warm = warm
        self._code: int | None = None

    def poll(self) -> int | None:
        if self._code is None:
            try:
                self._code = self._warm.poll(self.pid)
            except WarmError:  # a kernel ends with the process from which it was forked
                self._code = -signal.SIGKILL
        return self._code

    def wait(self, seconds: float = float("inf")) -> int | None:
        deadline = time.monotonic() + seconds
        while self.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        return self._code

    def send_signal(self, number: int) -> None:
        if self.poll() is None:
            os.kill(self.pid, number)

    def terminate(self) -> None:
        self.send_signal(signal.SIGTERM)

    def kill(self) -> None:
        self.send_signal(signal.SIGKILL)


_shared = Shared()
atexit.register(_shared.stop)


def _fork(
    cmd: Sequence[str],
    env: Mapping[str, str] | None = None,
    cwd: str | os.PathLike[str] | None = None,
    stdout: Any = None,
    stderr: Any = None,
    **others: Any,
) -> _Process | None:
    """Fork the kernel that the command would start; None where that would not be the same."""
    command, output = _parts(cmd), (_number(stdout, 1), _number(stderr, 2))
    if not hasattr(os, "fork") or others or command is None or min(output) < 0:
        return None
    options, arguments = command
    settings = dict(os.environ if env is None else env)
    folder = str(Path(cwd or ".").absolute())
    with contextlib.suppress(WarmError, OSError), Path(os.devnull).open() as nothing:
        warm = _warm(options, settings)
        if warm is not None:
            streams = (nothing.fileno(), *output)
            return _Process(warm, warm.fork(_CHILD, arguments, streams, settings, folder))
    return None


def _warm(options: Sequence[str], env: Mapping[str, str]) -> Warm | None:
    """The warm process, if it began as a kernel with these options and settings would."""
    settings = {"MPLBACKEND": _BACKEND, **env}  # the first is a kernel's own
    warm = _shared.get(lambda: Warm(settings, _MODULES, options))
    same = (*options,) == warm.options and _lasting(settings) == _lasting(warm.env)
    return warm if same else None


def _lasting(env: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in env.items() if not name.startswith(_READ_LATE)}


def _parts(cmd: Sequence[str]) -> tuple[Sequence[str], Sequence[str]] | None:
    """The options of Python and the arguments of the kernel, where this is our Python's kernel."""
    python, *rest = cmd
    at = rest.index("-m") if "-m" in rest else 0
    if python != sys.executable or rest[at : at + 2] != ["-m", "ipykernel_launcher"]:
        return None
    return rest[:at], rest[at + 2 :]


def _number(stream: Any, default: int) -> int:
    """The number of an open file; one of subprocess's own wishes is below 0."""
    if stream is None:
        return default
    return stream if isinstance(stream, int) else int(stream.fileno())
