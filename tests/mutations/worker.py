"""A warmed process that runs tests in a copy of the course, with one mutation put in.

Started as `python worker.py COPY` in the copy, with PYTHONPATH=COPY. It reads jobs from its
standard input, one line of JSON each, and answers each with a line. It has imported what the tests
import, but nothing of the course: so a mutation costs a fork, and not a new import of PyTorch.
"""

from __future__ import annotations

import contextlib
import gc
import importlib.util
import json
import os
import resource
import signal
import sys
import time
from pathlib import Path
from typing import Any

WARM = ("torch", "numpy", "hypothesis", "nbformat", "IPython", "pytest", "nbval.plugin", "nbclient",
        "jupytext", "matplotlib.pyplot", "graphviz", "xdist", "jinja2")  # fmt: skip
OURS = "checks"


def main() -> None:
    copy = Path(sys.argv[1]).resolve()
    for name in WARM:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    assert OURS not in sys.modules
    gc.freeze()  # pytest collects garbage again and again; what is here is none
    talk = os.fdopen(os.dup(1), "w")
    print(json.dumps({"ready": True}), file=talk, flush=True)
    for line in sys.stdin:
        print(json.dumps(job(copy, json.loads(line))), file=talk, flush=True)


def job(copy: Path, asked: dict[str, Any]) -> dict[str, Any]:
    """Write the mutated files, run the tests, write the files back as they were."""
    before = {name: (copy / name).read_text(encoding="utf-8") for name in asked["files"]}
    begin = time.monotonic()
    try:
        for name, text in asked["files"].items():
            (copy / name).write_text(text, encoding="utf-8")
        code, test = each(copy, asked)
    finally:
        for name, text in before.items():
            (copy / name).write_text(text, encoding="utf-8")
    output = (copy / "output.txt").read_text(encoding="utf-8", errors="replace")
    seconds = round(time.monotonic() - begin, 1)
    return {"code": code, "test": test, "seconds": seconds, "output": output[-4000:]}


def each(copy: Path, asked: dict[str, Any]) -> tuple[int | None, str]:
    """Run the tests, one file (or some tests of one) at a time, up to the first that fails.

    Returns the exit code of pytest, None where it had to be ended; and what was run last.
    """
    code, test = 0, ""
    for test in asked["tests"]:
        code = forked(copy, [*asked["options"], *test.split()], asked["seconds"])
        if code != 0:
            break
    return code, test


def forked(copy: Path, arguments: list[str], seconds: float) -> int | None:
    """Run pytest in a child; its exit code, or None where it had to be ended.

    It may work for so many seconds; while it only waits, three times as long.
    """
    child = os.fork()
    if child == 0:
        os.setsid()
        # By the processor's clock, and not by the one on the wall: the machine may be busy.
        resource.setrlimit(resource.RLIMIT_CPU, (int(seconds), resource.RLIM_INFINITY))
        with open(copy / "output.txt", "w") as output:  # noqa: PTH123
            os.dup2(output.fileno(), 1)
            os.dup2(output.fileno(), 2)
        os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
        os._exit(tests(copy, arguments))
    deadline = time.monotonic() + 3 * seconds
    while time.monotonic() < deadline:
        ended, status = os.waitpid(child, os.WNOHANG)
        if ended:
            end_group(child)  # what the tests have left behind
            code = os.waitstatus_to_exitcode(status)
            return None if code == -signal.SIGXCPU else code
        time.sleep(0.02)
    end_group(child)
    os.waitpid(child, 0)
    return None


def end_group(leader: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(leader, signal.SIGKILL)


def tests(copy: Path, arguments: list[str]) -> int:
    # The course is installed "editable", which means: elsewhere. It must come from the copy.
    found = importlib.util.find_spec(OURS)
    if found is None or found.origin != str(copy / OURS / "__init__.py"):
        print(f"{OURS} would come from {found and found.origin}, not from {copy}")
        return 99
    import pytest

    try:
        return int(pytest.main(arguments))
    except BaseException as error:
        print(f"pytest itself ended with {error!r}")
        return 98
    finally:
        sys.stdout.flush()
        sys.stderr.flush()


if __name__ == "__main__":
    main()
