"""What tests need that really mark: all fences, and an eye on what is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import Executor, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="marking needs Linux or macOS")

from checks.classroom import fence, station

FULL = fence.Isolation(limits=True, files=True, network=True, processes=True)
ISOLATION = fence.available()  # of these, what stands here
# Where all fences are known to stand, one that does not is no reason to skip its tests.
MUST = os.environ.get("CHECKS_FENCED") == "1" or (
    sys.platform == "linux" and os.environ.get("CI") == "true" and os.geteuid() == 0
)
needs_fences = pytest.mark.skipif(
    not ISOLATION.full and not MUST,
    reason="this machine cannot put up all fences around a submission: see `checks doctor`",
)


@contextmanager
def marking_threads() -> Iterator[Executor]:
    """Threads that mark, with processes that stay from one test to the next."""
    with ThreadPoolExecutor(2) as pool:
        yield pool
    station.close()


# A shell that runs something in the background has it ignore an interrupt.
_COMMAND = """
import signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)
from checks.__main__ import main
sys.exit(main())
"""


def command(folder: Path, *arguments: str, **env: str) -> subprocess.Popen[str]:
    """Start `checks grade` on what is in a folder."""
    line = f"grade {folder}/submitted --source {folder}/source --to {folder}/results"
    return subprocess.Popen(
        [sys.executable, "-c", _COMMAND, *line.split(), *arguments],
        env={**os.environ, **env},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def marked_processes(mark: str) -> list[str]:
    """The processes that have inherited a mark in their environment."""
    found = []
    for environ in Path("/proc").glob("[0-9]*/environ"):
        try:
            if mark.encode() in environ.read_bytes() and int(environ.parent.name) != os.getpid():
                found.append((environ.parent / "cmdline").read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def commands() -> list[str]:
    """The command lines of all processes."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            found.append(file.read_text().replace("\0", " "))
        except OSError:
            continue
    return found


def until_none_is_left(mark: str, seconds: float = 30) -> list[str]:
    """The processes with a mark that are still there when their time to end is over."""
    deadline = time.monotonic() + seconds
    while (left := marked_processes(mark)) and time.monotonic() < deadline:
        time.sleep(0.05)
    return left
