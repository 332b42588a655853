"""Gradescope's `results.json`, one for each submission.

https://gradescope-autograders.readthedocs.io/en/latest/specs/
"""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from checks.classroom.exports import ExportError, words
from checks.classroom.report import write as write_file
from checks.classroom.results import Exercise, Result
from checks.verdict import Outcome


def write(results: Sequence[Result], to: Path) -> str:
    """Write `to/<assignment>/<student>/results.json` for each; or `to` itself, if it is a `.json`.

    The latter is what runs inside Gradescope, where there is one submission at a time.

    Raises:
        ExportError: one file is asked for, and there are several results.
    """
    if to.suffix != ".json":
        for result in results:
            _write(result, to / result.assignment / result.file / "results.json")
        return f"Written: {len(results)} files results.json in {to}."
    if len(results) > 1:
        raise ExportError(
            f"{to} can hold one result, and there are {len(results)}. Give a folder instead: each "
            "student then gets a results.json in it."
        )
    _write(results[0], to)
    return f"Written: {to}."


def _write(result: Result, path: Path) -> None:
    write_file(path, json.dumps(_submission(result), indent=1, ensure_ascii=False) + "\n")


def _submission(result: Result) -> dict[str, Any]:
    return {
        "score": float(result.score),
        "output": words.of_result(result),
        "output_format": "text",  # the default would take what a student wrote for HTML
        "visibility": "visible",
        "stdout_visibility": "hidden",  # what the marking prints is for the teacher
        "tests": [_test(exercise) for exercise in result.exercises],
    }


def _test(exercise: Exercise) -> dict[str, Any]:
    return {
        "score": float(exercise.score),
        "max_score": float(exercise.points),
        "status": "passed" if exercise.outcome is Outcome.CORRECT else "failed",
        "name": words.clean(f"Exercise {exercise.label}"),
        "name_format": "text",
        "number": words.clean(exercise.label),
        "output": words.of_exercise(exercise),
        "output_format": "text",
        "visibility": "visible",
    }
