"""What running the lessons costs, with plain nbval and as `make test` runs them, for `make bench`.

Plain nbval starts a kernel for each notebook, which imports PyTorch. Beside the time on the clock
stands the time of the processors, which is the same when others use the machine as well.
"""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
PYTEST = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "--tb=no"]
PLAIN = ["--noconftest", "-c", os.devnull, f"--rootdir={ROOT}", "--nbval", "--nbval-current-env"]
TWO = ["-n", "2", "--dist", "loadscope"]


def run(options: list[str], what: list[str]) -> tuple[float, float]:
    """Seconds on the clock, and of the processors, for one run."""
    before, begin = resource.getrusage(resource.RUSAGE_CHILDREN), time.perf_counter()
    command = [*PYTEST, *options, *(what or ["notebooks"])]
    done = subprocess.run(
        command,
        cwd=ROOT,
        env={**os.environ, "OMP_NUM_THREADS": "1"},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )
    if done.returncode > 1:
        sys.exit(f"{' '.join(command)}:\n{done.stdout}")
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    used = after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime
    return time.perf_counter() - begin, used


def main() -> None:
    """Print the table."""
    what = sys.argv[1:]
    print(f"{'':40}{'s, clock':>10}{'ratio':>8}{'s, used':>10}{'ratio':>8}")
    alone = 0.0
    for workers, name in (([], "one process"), (TWO, "two processes")):
        plain = run([*PLAIN, *workers], what)
        ours = run(workers, what)
        alone = alone or plain[0]
        for who, (clock, used) in (("pytest --nbval", plain), ("as make test does", ours)):
            ratios = clock / plain[0], used / plain[1]
            print(
                f"{f'{who}, {name}':40}{clock:10.1f}{ratios[0]:8.2f}{used:10.1f}{ratios[1]:8.2f}",
                flush=True,
            )
    print(f"`make test`, which takes two processes, of `pytest --nbval`: {ours[0] / alone:.2f}")


if __name__ == "__main__":
    main()
