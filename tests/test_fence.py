"""The fences that can be put up here are found out, and told as they are."""

from __future__ import annotations

import ctypes
import errno
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import gettempdir

import pytest
from fenced import needs_fences

from checks.classroom import fence, kernel

NONE = fence.Isolation(limits=False, files=False, network=False, processes=False)


LIMITS = fence.Limits(memory=512, processes=17)


def behind(fences: fence.Isolation, scratch: Path, do: Callable[[], object]) -> str:
    """What becomes of something in a process behind some fences: a value, or the error's name."""
    out, into = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            if fences.processes:
                fence.separate(scratch, LIMITS, fences)
                if inside := os.fork():
                    os.waitpid(inside, 0)
                    os._exit(0)
            fence.enclose(scratch, LIMITS, fences)
            said = repr(do())
        except BaseException as error:
            said = type(error).__name__
        os.write(into, said.encode())
        os._exit(0)
    os.close(into)
    with os.fdopen(out) as answer:
        said = answer.read()
    os.waitpid(child, 0)
    return said


def test_what_is_missing_is_told() -> None:
    # The mistake: a fence that does not stand counts as one that does.
    none = fence.Isolation(limits=True, files=False, network=False, processes=True)
    assert not none.full
    assert [line.startswith("NO") for line in none.sentences()] == [False, True, True, False]


def test_a_fence_that_fails_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(kernel, "unshare", refuse)
    found = fence.available()
    assert not found.network and not found.processes and not found.full
    monkeypatch.setattr(fence, "_files", refuse)
    assert not fence.available().files


@pytest.mark.skipif(sys.platform != "linux", reason="the fences are Linux's")
def test_a_fence_that_stands_is_available(tmp_path: Path) -> None:
    # The mistake: it is tried in a wrong way, and the teacher is told that nothing can be done.
    def works(do: Callable[[], object]) -> bool:
        return behind(NONE, tmp_path, do) == "None"

    found = fence.available()
    assert found.network == works(lambda: kernel.unshare(kernel.NEW_NETWORK))
    assert found.processes == works(lambda: fence._own_world(tmp_path, fence.Limits()))
    assert found.files == works(lambda: fence._files(tmp_path))
    assert found.limits


@needs_fences
def test_each_fence_stops_what_it_is_for_and_nothing_else(tmp_path: Path) -> None:
    # The mistakes: a fence that is told to stand, and does not; one that stops honest work, too.
    import resource

    def writes() -> int:
        return (tmp_path / "file").write_text("x")

    def reads() -> int:
        return len(Path(__file__).read_text()) and 1

    def limits() -> list[int]:
        kinds = resource.RLIMIT_NPROC, resource.RLIMIT_CORE, resource.RLIMIT_NOFILE
        return [top for kind in kinds for top in resource.getrlimit(kind)]

    def calls() -> int:
        socket.socket().close()
        return 1

    for name, do, stopped in (
        ("files", reads, "PermissionError"),
        ("files", writes, "1"),
        ("limits", limits, "[17, 17, 0, 0, 256, 256]"),
        ("limits", lambda: len(bytearray(10**9)), "MemoryError"),
        ("limits", lambda: len(bytearray(10**8)), "100000000"),
        ("network", calls, "PermissionError"),
    ):
        alone = fence.Isolation(**{**vars(NONE), name: True})
        assert behind(alone, tmp_path, do) == stopped
    assert [behind(NONE, tmp_path, do) for do in (reads, writes, calls)] == ["1", "1", "1"]


@needs_fences
def test_a_world_of_its_own(tmp_path: Path) -> None:
    # The mistakes: a submission sees, and ends, the processes of others; it writes outside of its
    # folder, or fills the disk.
    outside = Path(gettempdir()) / f"left-by-a-submission-{os.getpid()}"
    (tmp_path / "before").write_text("x")

    def writes_outside() -> None:
        outside.write_text("x")
        outside.unlink()

    own = fence.Isolation(**{**vars(NONE), "processes": True})
    assert behind(own, tmp_path, os.getpid) == "1"
    assert behind(own, tmp_path, lambda: (tmp_path / "file").write_text("x")) == "1"
    assert [path.name for path in tmp_path.iterdir()] == ["before"]
    assert behind(own, tmp_path, writes_outside) == "OSError"
    assert behind(NONE, tmp_path, writes_outside) == "None"
    nowhere = tmp_path / "nowhere"
    assert behind(own, tmp_path, lambda: kernel.read_only(nowhere)) == "FileNotFoundError"


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is Linux's")
def test_what_the_kernel_refuses_is_an_error() -> None:
    # The mistake: a fence that was not put up counts as one that stands.
    with pytest.raises(OSError, match="unshare") as refused:
        kernel.unshare(1)
    assert refused.value.errno == errno.EINVAL


@pytest.mark.skipif(sys.platform != "linux", reason="the kernel is Linux's")
def test_what_the_kernel_was_told(tmp_path: Path) -> None:
    # The mistakes: a submission outlives its keeper, is given rights by a program that it starts,
    # or leaves behind what nobody finds.
    def asked(option: int) -> int:
        told = ctypes.c_int(-1)
        kernel._prctl(option, ctypes.byref(told))
        return told.value

    def rights() -> str:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(line.split()[1] for line in lines if line.startswith("NoNewPrivs:"))

    assert behind(NONE, tmp_path, rights) == "'1'"
    assert behind(NONE, tmp_path, lambda: asked(2)) == str(int(signal.SIGKILL))  # of its parent's
    assert behind(NONE, tmp_path, lambda: asked(37)) == "0"  # whether it adopts
    assert behind(NONE, tmp_path, lambda: (fence.adopt(), asked(37))) == "(None, 1)"


def test_a_machine_without_a_known_filter_has_no_network_fence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Without the filter a submission reaches sockets that are files.
    monkeypatch.setattr(kernel.platform, "machine", lambda: "pdp11")
    assert not fence.available().network


def test_trying_the_fences_changes_nothing_here(tmp_path: Path) -> None:
    before = os.getresuid() if hasattr(os, "getresuid") else ()
    fence.available()
    (tmp_path / "file").write_text("x")
    assert (os.getresuid() if hasattr(os, "getresuid") else ()) == before
    assert subprocess.run([sys.executable, "-c", "import socket; socket.socket()"]).returncode == 0


def test_a_submission_cannot_read_where_marks_may_lie() -> None:
    # The home folder, the temporary folder and the course lie outside of what can be read.
    course = Path(__file__).resolve().parent.parent
    for place in (course / "notebooks", course / "tests", Path(gettempdir()), Path.home()):
        assert not any(place.is_relative_to(folder) for folder in fence.readable())
