"""What marking a class costs: rows for the table of `bench.py`."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

from checks.classroom import cage, fence, grading, station, zygote
from checks.classroom.cell import Role
from checks.classroom.lesson import Version, notebook, read
from checks.classroom.pairing import pair
from checks.classroom.running import Settings, job_cell
from checks.classroom.station import Task

Row = tuple[str, float, float | None]

SOURCE = Path(__file__).parent.parent / "notebooks/source/05_backpropagation.md"
_ROUNDS = 15


def marking_a_submission() -> list[Row]:
    """A whole right submission of lesson 05, and the same cells run in one warm process.

    Both are the best of several, on one core: what marking adds is the difference.
    """
    isolation = fence.available()
    alone = _cells_alone()
    marked = _marked(Settings(fence.Limits(), isolation))
    fences = "all fences" if isolation.full else "NOT all fences"
    return [
        ("lesson 05: its cells alone, in a warm process", alone, None),
        (f"lesson 05: marked, with {fences}", marked, alone),
        ("lesson 05: what marking adds", marked - alone, None),
    ]


def _marked(settings: Settings) -> float:
    lesson, data = SOURCE.stem, json.dumps(_solved()).encode()
    task = Task(lesson, SOURCE.read_text("utf-8"), "", data, "", settings)
    with tempfile.TemporaryDirectory() as folder:
        times = []
        for _ in range(_ROUNDS):
            begin = time.perf_counter()
            result = station.marked(task)
            grading.write(Path(folder) / "result.json", result)
            times.append(time.perf_counter() - begin)
    station.close()
    assert all(exercise["outcome"] == "correct" for exercise in result["exercises"])
    return min(times)


def _cells_alone() -> float:
    """Seconds for the same cells in a process that has run them before, and on one thread."""
    line = [sys.executable, __file__]
    env = {**os.environ, "OMP_NUM_THREADS": "1"}
    return float(subprocess.run(line, env=env, capture_output=True, check=True).stdout.split()[-1])


def _solved() -> dict[str, Any]:
    return dict(json.loads(json.dumps(notebook(read(SOURCE), Version.SOLUTION))))


def main() -> None:
    """Print what the cells take alone."""
    zygote.warm()
    source = read(SOURCE).cells
    typed = pair(_solved()["cells"], source).typed
    cells = [job_cell(cell, typed) for cell in source if cell.role is not Role.TEXT]
    times = []
    for _ in range(_ROUNDS):
        begin = time.perf_counter()
        namespace: dict[str, Any] = {"__name__": "__main__"}
        for cell in cells:
            if cell["role"] != "check":
                cage.executed(cell.get("typed", cell["code"]), namespace)
        times.append(time.perf_counter() - begin)
    print(min(times))


if __name__ == "__main__":
    main()
