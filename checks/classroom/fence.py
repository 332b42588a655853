"""Fences around a submission's process: limits, files, network, other processes.

Everything is put up by the process itself, after it was forked and before a line of the submission
runs, and cannot be taken down again. What a machine cannot give is said by `available`.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import resource
import sys
import sysconfig
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import checks

_NEW_USER, _NEW_PROCESSES, _NEW_NETWORK = 0x10000000, 0x20000000, 0x40000000
_CHILD_SUBREAPER, _NO_NEW_PRIVILEGES = 36, 38
_MEGABYTE = 1 << 20


@dataclass(frozen=True)
class Limits:
    """What one submission may use: seconds for each cell, megabytes, processes."""

    seconds: float = 20.0
    memory: int = 2048
    file_size: int = 64
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
            (self.limits, "a submission that uses too much time, memory or disk"),
            (self.files, "reading the solutions and other submissions, writing outside its folder"),
            (self.network, "the network"),
            (self.processes, "ending other processes, or leaving some behind"),
        ):
            yield f"{'yes' if stands else 'NO '}  {keeps_off}"


def available() -> Isolation:
    """Try each fence in a process of its own."""
    return Isolation(
        limits=_works(lambda: _limit(Limits())),
        files=_works(lambda: _files(Path.cwd())),
        network=_works(lambda: _unshare(_NEW_NETWORK)),
        processes=_works(lambda: _unshare(_NEW_PROCESSES)),
    )


def adopt() -> None:
    """Become the parent of what a descendant leaves behind, so that it can be found and ended."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_CHILD_SUBREAPER, 1, 0, 0, 0)


def separate(isolation: Isolation) -> None:
    """Leave the network, and let the next fork be the first process of a world of its own.

    When that first process ends, the kernel ends everything that it has started.
    """
    flags = _NEW_NETWORK * isolation.network | _NEW_PROCESSES * isolation.processes
    if flags:
        _unshare(flags)


def enclose(scratch: Path, limits: Limits, isolation: Isolation) -> None:
    """Put up limits and the fence around files: for good, in this process and what it starts."""
    if isolation.files:
        _files(scratch)
    if isolation.limits:
        _limit(limits)


def _works(fence: Callable[[], None]) -> bool:
    child = os.fork()
    if child == 0:
        try:
            fence()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitpid(child, 0)[1] == 0


def _unshare(flags: int) -> None:
    """With a user namespace this needs no rights; it also makes root's limits count."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_NEW_USER | flags) and libc.unshare(flags):
        raise OSError(ctypes.get_errno(), "unshare")


def _limit(limits: Limits) -> None:
    memory = _mapped() + limits.memory * _MEGABYTE
    size = limits.file_size * _MEGABYTE
    cpu = int(limits.seconds * 50) + 10
    wanted = {
        resource.RLIMIT_AS: memory,
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

    libc = ctypes.CDLL(None, use_errno=True)
    # The package takes a stale error number for a failure of its own call.
    ctypes.set_errno(0)
    if libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0):
        raise OSError(ctypes.get_errno(), "prctl")
    read = FSAccess.READ_FILE | FSAccess.READ_DIR | FSAccess.EXECUTE
    ctypes.set_errno(0)
    rules = Ruleset()
    for folder in sorted(_readable()):
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


def _readable() -> set[Path]:
    """Python, its packages, and the libraries that they load."""
    own = {Path(path) for path in (sys.prefix, sys.base_prefix, *sysconfig.get_paths().values())}
    system = {Path(path) for path in ("/usr", "/lib", "/lib64", "/etc/fonts", "/sys/devices")}
    package = Path(checks.__file__).resolve().parent
    return {path for path in own | system | {package} if path.is_dir()}
