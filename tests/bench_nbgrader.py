"""`checks grade` beside `nbgrader autograde`, on the same notebooks: rows for `bench.py`."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
import warnings
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from checks.classroom import fence
from checks.classroom.lesson import Version, notebook, read

Row = tuple[str, float, float | None]

SOURCE = Path(__file__).parent.parent / "notebooks/source/05_backpropagation.md"
_MANY = 41


def beside_nbgrader() -> list[Row]:
    """One submission of lesson 05, without what each program takes to start.

    Each marks as it does when nothing is said: nbgrader one after the other, `checks grade` two at
    a time. Half of the notebooks are right, half are blank.
    """
    if find_spec("nbgrader") is None:
        print("(nbgrader is not installed: it is not measured)")
        return []
    with tempfile.TemporaryDirectory() as folder:
        theirs, ours = _nbgrader(Path(folder)), _checks(Path(folder) / "ours")
    return [
        ("lesson 05: checks grade, each further notebook", ours, None),
        ("lesson 05: nbgrader autograde, the same", theirs, ours),
    ]


def _notebooks() -> list[dict[str, Any]]:
    lesson = read(SOURCE)
    return [
        json.loads(json.dumps(notebook(lesson, version)))
        for version in (Version.SOLUTION, Version.LEARNER)
    ]


def _nbgrader(folder: Path) -> float:
    """Seconds for one notebook; nbgrader is imported before, and its course set up."""
    from nbgrader_course import Course

    # Of nbgrader's own way with its tables.
    warnings.filterwarnings("ignore", message="Object of type <Submitted")
    course = Course(folder / "course", SOURCE)
    kinds = _notebooks()
    begin = time.perf_counter()
    for number, built in enumerate(kinds):
        course.hand_in(f"s{number}", built)
        course.autograde(f"s{number}")
    seconds = time.perf_counter() - begin
    right, blank = (sum(course.scores(f"s{number}").values()) for number in range(2))
    assert right > 0 and blank == 0
    return seconds / len(kinds)


def _checks(folder: Path) -> float:
    """Seconds for one notebook, of many; without what comes before the first result."""
    kinds = _notebooks()
    for k in range(_MANY):
        path = folder / "submitted" / f"s{k:02}" / f"{SOURCE.stem}.ipynb"
        path.parent.mkdir(parents=True)
        path.write_text(json.dumps(kinds[k % 2]), encoding="utf-8")
    line = [sys.executable, "-m", "checks", "grade", folder / "submitted"]
    line += ["--source", SOURCE, "--to", folder / "results"]
    line += [] if fence.available().full else ["--unfenced"]
    subprocess.run(line, capture_output=True, check=True)
    results = list((folder / "results" / SOURCE.stem).glob("*.json"))
    outcomes = [_outcomes(path) for path in results]
    assert (outcomes.count({"correct"}), outcomes.count({"unanswered"})) == (
        _MANY // 2 + 1,
        _MANY // 2,
    )
    times = sorted(path.stat().st_mtime for path in results)
    return (times[-1] - times[0]) / (len(times) - 1)


def _outcomes(result: Path) -> set[str]:
    exercises = json.loads(result.read_text(encoding="utf-8"))["exercises"]
    return {exercise["outcome"] for exercise in exercises}


if __name__ == "__main__":
    for name, seconds, base in beside_nbgrader():
        print(f"{name:48}{seconds * 1000:9.0f} ms{seconds / base if base else 1:9.1f}")
