"""`checks export`: the stored marks in the formats of the tools that teachers already have.

A module for each format. None is imported before it is asked for, and none but the gradebook needs
anything that is not installed with the course.
"""

from __future__ import annotations

from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

from checks.classroom.results import read
from checks.verdict import Outcome

# Each format, and the module that writes it.
FORMATS = {"gradescope": "gradescope", "junit": "junit", "nbgrader": "gradebook", "csv": "grades"}


class ExportError(ValueError):
    """Results that cannot be exported as asked for; the message says why."""


@dataclass(frozen=True)
class Exported:
    """What was written, in words; what could not be read; and whether all exercises are correct."""

    says: str
    problems: tuple[str, ...]
    all_correct: bool


def export(folder: Path, form: str, to: Path) -> Exported:
    """Write the results in a folder in one of `FORMATS`.

    Raises:
        ExportError: there are no results, or the format cannot hold them, or needs what is not
            installed.
        OSError: a file cannot be written.
    """
    results, problems = read(folder)
    if not results:
        advice = "Give the folder that `checks grade` has written to."
        raise ExportError(" ".join([f"There are no results in {folder}.", *problems, advice]))
    if problem := _misplaced(folder, form, to):
        raise ExportError(problem)
    all_correct = not problems and all(
        exercise.outcome is Outcome.CORRECT for result in results for exercise in result.exercises
    )
    says = import_module(f"{__name__}.{FORMATS[form]}").write(results, to)
    return Exported(says, tuple(problems), all_correct)


def _misplaced(folder: Path, form: str, to: Path) -> str:
    """What is wrong with the place to write to, or nothing."""
    if to.suffix == ".json" and to.resolve().parent.parent == folder.resolve():
        return f"{to} lies among the results themselves. Write to another place."
    if form == "gradescope" and to.suffix != ".json" and to.is_file():
        return f"{to} is a file. For several students give a folder; for one, a file *.json."
    if to.is_dir() and (form != "gradescope" or to.suffix == ".json"):
        return f"{to} is a folder. Give the name of the file to write, such as {to / 'marks'}."
    return ""
