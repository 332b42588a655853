"""Fences around a submission's process: limits, files, network, other processes.

They are put up after the fork and before a line of the submission runs, and cannot be taken down
again. What a machine cannot give is said by `available`.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
import sysconfig
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path

import checks
from checks.classroom import kernel

PATIENCE = 4  # times its seconds may pass for a cell where others use the processors, too
_MEGABYTE = 1 << 20
_OWN_WORLD = kernel.NEW_PROCESSES | kernel.NEW_MOUNTS | kernel.NEW_IPC
_NOBODY = 54321  # a user that no account has: what counts its processes counts no others


@dataclass(frozen=True)
class Limits:
    """What one submission may use: seconds for each cell, megabytes, processes."""

    seconds: float = 20.0
    memory: int = 2048
    file_size: int = 64
    disk: int = 256
    processes: int = 64


@dataclass(frozen=True)
class Isolation:
    """Which fences a machine can put up."""

    limits: bool
    files: bool
    network: bool
    processes: bool

    @property
    def full(self) -> bool:
        """Whether all of them stand."""
        return all(asdict(self).values())

    def sentences(self) -> Iterator[str]:
        """What each fence keeps off, and whether it stands here."""
        for stands, keeps_off in (
            (self.limits, "a submission that uses too much time or memory"),
            (self.files, "reading the solutions and other submissions, writing outside its folder"),
            (self.network, "the network"),
            (self.processes, "ending other processes, leaving some behind, filling the disk"),
        ):
            yield f"{'yes' if stands else 'NO '}  {keeps_off}"


def available() -> Isolation:
    """Try each fence in a process of its own."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        return Isolation(
            limits=_works(lambda: _limit(Limits(), _mapped())),
            files=_works(lambda: _files(folder)),
            network=_works(_no_network),
            processes=_works(lambda: _own_world(folder, Limits())),
        )


def main() -> None:
    """Say in JSON what can be put up here. A process with threads must not try it by itself."""
    print(json.dumps(asdict(available())), flush=True)


def adopt() -> None:
    """Become the parent of what a descendant leaves behind, so that it can be found and ended."""
    if sys.platform == "linux":
        kernel.adopt_orphans()


def separate(scratch: Path, limits: Limits, isolation: Isolation) -> None:
    """Let the next fork be the first process of a world of its own, with a disk of its own.

    When that first process ends, the kernel ends everything that it has started.
    """
    if os.geteuid() == 0:
        # The number of processes is limited for everybody but root: for this, be somebody else.
        with contextlib.suppress(OSError):
            os.setresuid(_NOBODY, 0, 0)
    flags = kernel.NEW_NETWORK * isolation.network | _OWN_WORLD * isolation.processes
    if flags:
        kernel.unshare(flags)
    if isolation.processes:
        kernel.mount_memory(scratch, limits.disk)


def enclose(scratch: Path, limits: Limits, isolation: Isolation) -> None:
    """Put up all other fences: for good, in this process and in what it starts."""
    mapped = _mapped()  # cannot be read any more from inside
    with contextlib.suppress(OSError):  # where memory runs out after all, it hits no other process
        Path("/proc/self/oom_score_adj").write_text("1000")
    if sys.platform == "linux":
        kernel.die_with_parent(signal.SIGKILL)
        kernel.no_new_privileges()
    if isolation.processes:
        kernel.read_only(scratch)
    if isolation.files:
        _files(scratch)
    if isolation.limits:
        _limit(limits, mapped)
    if isolation.network:
        kernel.refuse_calls()


@cache
def readable() -> frozenset[Path]:
    """The folders that a submission can read: Python, its packages, the libraries they load."""
    own = {Path(path) for path in (sys.prefix, sys.base_prefix, *sysconfig.get_paths().values())}
    system = {Path(path) for path in ("/usr", "/lib", "/lib64", "/etc/fonts", "/sys/devices")}
    package = Path(checks.__file__).resolve().parent
    return frozenset(path for path in own | system | {package} if path.is_dir())


def _works(fence: Callable[[], None]) -> bool:
    child = os.fork()
    if child == 0:
        try:
            fence()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _no_network() -> None:
    kernel.no_new_privileges()
    kernel.unshare(kernel.NEW_NETWORK)
    kernel.refuse_calls()


def _own_world(scratch: Path, limits: Limits) -> None:
    kernel.unshare(_OWN_WORLD)
    kernel.mount_memory(scratch, limits.disk)
    kernel.read_only(scratch)


def _limit(limits: Limits, mapped: int) -> None:
    size = limits.file_size * _MEGABYTE
    cpu = int(limits.seconds * 50) + 10
    wanted = {
        resource.RLIMIT_AS: mapped + limits.memory * _MEGABYTE,
        resource.RLIMIT_FSIZE: size,
        resource.RLIMIT_CPU: cpu,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_NOFILE: 256,
        resource.RLIMIT_NPROC: limits.processes,
    }
    for kind, most in wanted.items():
        _, hard = resource.getrlimit(kind)
        top = most if hard == resource.RLIM_INFINITY else min(most, hard)
        resource.setrlimit(kind, (top, top))


def _mapped() -> int:
    """The memory that is mapped already: PyTorch maps much more than it uses."""
    try:
        return int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    except OSError:
        return 8 << 30


def _files(scratch: Path) -> None:
    """Landlock: read Python and its packages, write the scratch folder, nothing else."""
    from landlock import FSAccess, Ruleset

    kernel.no_new_privileges()
    read = FSAccess.READ_FILE | FSAccess.READ_DIR | FSAccess.EXECUTE
    # The package takes a stale error number for a failure of its own call.
    ctypes.set_errno(0)
    rules = Ruleset()
    for folder in sorted(readable()):
        with contextlib.suppress(FileNotFoundError):
            ctypes.set_errno(0)
            rules.allow(str(folder), rules=read)
    for device in ("/dev/null", "/dev/zero", "/dev/urandom"):
        ctypes.set_errno(0)
        rules.allow(device, rules=FSAccess.READ_FILE | FSAccess.WRITE_FILE)
    ctypes.set_errno(0)
    rules.allow(str(scratch))
    ctypes.set_errno(0)
    rules.apply()
