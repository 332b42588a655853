"""Copies of the course in which mutations are tried, and the processes that work there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from checks.classroom import fence

ROOT = Path(__file__).resolve().parents[2]
_LEFT_OUT = shutil.ignore_patterns(
    ".git", ".venv", "artefacts", "my-notebooks", "node_modules", "__pycache__", "*.egg-info",
    ".*_cache", ".hypothesis", ".ipynb_checkpoints",
)  # fmt: skip
_LINKED = (".venv", "tests/content/node_modules")
QUIET = (
    "-x", "-q", "--no-header", "--color=no", "--tb=short",
    "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:unraisableexception",
    "-W", "ignore::pytest.PytestAssertRewriteWarning",
    "-k", "not million",  # what is slow, and there for its size alone
)  # fmt: skip


class BrokenError(Exception):
    """The run itself has failed, not a mutation; the text says how."""


class Copy:
    """A copy of the course, and a warmed process that runs its tests."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        shutil.copytree(ROOT, folder, ignore=_LEFT_OUT)
        for name in _LINKED:
            if (ROOT / name).exists():
                (folder / name).symlink_to(ROOT / name)
        self.environment = {
            **os.environ,
            "PYTHONPATH": str(folder),
            "OMP_NUM_THREADS": "1",
            "CHECKS_FENCED": str(int(fence.available().full)),  # by what is not broken
        }
        # What is compiled is to be used only while the source is the same, byte for byte: a variant
        # may have the size and the time of what stood there before.
        compiling = ["-m", "compileall", "-q", "--invalidation-mode", "checked-hash", "checks"]
        if self.python(compiling).returncode:
            raise BrokenError("The modules of `checks` cannot be compiled.")
        self._worker = subprocess.Popen(
            [*_apart(), sys.executable, Path(__file__).with_name("worker.py"), folder],
            cwd=folder,
            env=self.environment,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        self._answer()

    def tests(
        self, tests: tuple[str, ...], files: Mapping[str, str] | None = None, seconds: float = 600
    ) -> dict[str, Any]:
        """Run tests up to the first that fails, with some files changed.

        Returns:
            "code" (pytest's, or None where they had to be ended), "test" (what was run last),
            "seconds" and "output".
        """
        asked = {"files": dict(files or {}), "tests": tests, "options": QUIET, "seconds": seconds}
        assert self._worker.stdin is not None
        self._worker.stdin.write(json.dumps(asked) + "\n")
        self._worker.stdin.flush()
        found = self._answer()
        if found["code"] in {98, 99, 3, 4, 5}:  # ours; pytest's own for bad usage and no tests
            raise BrokenError(f"The tests {' '.join(tests)} could not be run:\n{found['output']}")
        return found

    def python(self, arguments: list[str]) -> subprocess.CompletedProcess[str]:
        """Run Python in the copy."""
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=self.environment,
            capture_output=True,
            text=True,
        )

    def close(self) -> None:
        """End the process."""
        assert self._worker.stdin is not None
        self._worker.stdin.close()
        self._worker.wait()

    def _answer(self) -> dict[str, Any]:
        assert self._worker.stdout is not None
        line = self._worker.stdout.readline()
        if not line:
            raise BrokenError("The process that runs the tests has ended.")
        answer: dict[str, Any] = json.loads(line)
        return answer


def _apart() -> list[str]:
    """What keeps a broken fence from mounting something over the folders of this machine."""
    may = sys.platform == "linux" and os.geteuid() == 0 and shutil.which("unshare")
    return ["unshare", "--mount"] if may else []


@contextmanager
def copies(count: int) -> Iterator[list[Copy]]:
    """Some copies in a temporary folder."""
    with tempfile.TemporaryDirectory(prefix="mutations-") as folder:
        made: list[Copy] = []
        try:
            for number in range(count):
                made.append(Copy(Path(folder).resolve() / f"copy{number}"))
            yield made
        finally:
            for copy in made:
                copy.close()
