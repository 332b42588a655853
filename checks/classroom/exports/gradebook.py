"""nbgrader's gradebook, filled through nbgrader's own interface. Needs nbgrader.

The gradebook may be new, or one that `nbgrader generate_assignment` has made from the same lesson:
cells have the same names in both. What a teacher has graded by hand stays, and counts.
"""

from __future__ import annotations

import json
import os
import sysconfig
import warnings
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from checks.classroom.exports import ExportError
from checks.classroom.exports.grades import points
from checks.classroom.lesson import METADATA, slug
from checks.classroom.overview import Assignment, assignments
from checks.classroom.results import Result


def write(results: Sequence[Result], to: Path) -> str:
    """Enter all results into the gradebook at `to`, which is made if there is none.

    Entering the same results again changes nothing.

    Raises:
        ExportError: nbgrader is not installed, the file is no gradebook of its version, or the
            gradebook knows other exercises for a lesson.
    """
    try:
        from nbgrader.api import Gradebook, InvalidEntry, MissingEntry
        from sqlalchemy.engine import URL
        from sqlalchemy.exc import SAWarning, SQLAlchemyError
    except ImportError as error:
        raise ExportError(
            "This export needs nbgrader, which is not installed. Install it with "
            "`python -m pip install nbgrader`."
        ) from error
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        with (
            # They are about nbgrader's own way with its tables.
            warnings.catch_warnings(action="ignore", category=SAWarning),
            _scripts_found(),
            Gradebook(URL.create("sqlite", database=str(to))) as book,
        ):
            for class_ in assignments(results):
                _enter(class_, book)
    except (SQLAlchemyError, InvalidEntry, MissingEntry) as error:
        why = str(getattr(error, "orig", None) or error).splitlines()[0]
        raise ExportError(
            f"{to} cannot be used as a gradebook ({why}). If it comes from an older nbgrader, make "
            "a copy of it, and run `nbgrader db upgrade`."
        ) from error
    return f"Written: {to}, which `nbgrader export` and `nbgrader formgrader` read."


@contextmanager
def _scripts_found() -> Iterator[None]:
    """Let nbgrader find `alembic`, which it runs by its bare name, where no .venv is activated."""
    before = os.environ.get("PATH", os.defpath)
    os.environ["PATH"] = f"{sysconfig.get_path('scripts')}{os.pathsep}{before}"
    try:
        yield
    finally:
        os.environ["PATH"] = before


def cell_names(labels: Iterable[str]) -> dict[str, str]:
    """The names that the checks of a lesson have in a notebook, by their labels, in order."""
    used: Counter[str] = Counter()
    names = {}
    for label in labels:
        base = f"check-{slug(label)}"
        used[base] += 1
        names[label] = base if used[base] == 1 else f"{base}-{used[base]}"
    return names


def _enter(class_: Assignment, book: Any) -> None:
    most = points(class_)
    names = cell_names(most)
    _prepare(class_.name, {names[label]: most[label] for label in most}, book)
    for result in class_.results:
        book.update_or_create_student(result.student)
        book.update_or_create_submission(class_.name, result.student)
        notebook = book.find_submission_notebook(class_.name, class_.name, result.student)
        scores = {names[exercise.label]: exercise.score for exercise in result.exercises}
        for grade in notebook.grades:
            score = scores.get(grade.name, 0.0)
            if grade.auto_score != score:
                grade.auto_score = score
                # A mark by hand was given to another answer: as nbgrader, ask for a second look.
                grade.needs_manual_grade = grade.manual_score is not None
        book.db.commit()


def _prepare(name: str, cells: dict[str, float], book: Any) -> None:
    """Let the gradebook know an assignment with one notebook, and its checks with their points."""
    from nbgrader.api import MissingEntry

    book.update_or_create_assignment(name)
    try:
        notebook = book.find_notebook(name, name)
    except MissingEntry:
        kernel = json.dumps(METADATA["kernelspec"])
        notebook = book.add_notebook(name, name, kernelspec=kernel)
    known = {cell.name for cell in notebook.grade_cells}
    # What was handed in earlier would lack the grades of new cells: nbgrader refuses this, too.
    lacking = cells.keys() - known if notebook.submissions else set()
    if other := ", ".join(sorted((known - cells.keys()) | lacking)):
        raise ExportError(
            f"The gradebook was made for another version of {name}: these exercises are only in "
            f"one of the two: {other}. Export to a new file."
        )
    for cell, most in cells.items():
        book.update_or_create_grade_cell(cell, name, name, max_score=most, cell_type="code")
