"""The packages from npm that tests use: installed when they are needed, at pinned versions."""

import os
import shutil
import subprocess
from pathlib import Path

from filelock import FileLock

HERE = Path(__file__).resolve().parent


def node_modules() -> Path | None:
    """The folder of the installed packages; None where there is no Node.js (never in CI)."""
    node, npm = shutil.which("node"), shutil.which("npm")
    if not node or not npm:
        if os.environ.get("CI"):
            raise SystemExit("Node.js is not installed, and in CI it has to be.")
        return None
    installed = HERE / "node_modules/.package-lock.json"
    wanted = HERE / "package-lock.json"
    with FileLock(HERE / ".installing"):  # tests run in several processes
        if not installed.exists() or installed.stat().st_mtime < wanted.stat().st_mtime:
            subprocess.run([npm, "ci", "--silent"], cwd=HERE, check=True)
    return HERE / "node_modules"
