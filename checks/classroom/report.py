"""`checks report`: tables of marks, a page of feedback for each student, a page about the class.

The pages need nothing but themselves: no script, no other file, nothing from the network; and their
content policy forbids it, should anything that a student wrote ever ask for it.
"""

import csv
import io
from collections.abc import Iterable, Sequence
from pathlib import Path
from urllib.parse import quote

import jinja2
from markupsafe import Markup

from checks import whole
from checks.classroom.overview import Assignment, assignments, in_words
from checks.classroom.results import Result, left_out, read
from checks.verdict import inline

# A cell that begins with one of these is a formula to a spreadsheet.
_FORMULA = ("=", "+", "-", "@", "\t", "\r", "\n", "＝", "＋", "－", "＠")

GRADES = (
    *("assignment", "student_id", "score", "max_score", "percent", "exercises", "correct"),
    *("notes", "flags", "isolation"),
)
EXERCISES = (
    *("assignment", "student_id", "exercise", "score", "max_score", "outcome"),
    *("mistakes", "notes", "flags"),
)

# What a run without a fence could not keep off.
FENCES = {
    "limits": "limits on time, memory and disk",
    "files": "the fence around files",
    "network": "the fence against the network",
    "processes": "the fence around processes",
}


class ReportError(ValueError):
    """A folder that cannot be reported on; the message says why."""


def report(folder: Path) -> list[str]:
    """Write the tables and pages into the folder of results; return what could not be read.

    `grades.csv`, `exercises.csv`, `class.html`, and `feedback/<assignment>/<student>.html`. The
    same results give the same bytes.

    Raises:
        ReportError: there are no results.
        OSError: a file cannot be written.
    """
    results, problems = read(folder)
    if not results:
        raise ReportError(
            f"There are no results in {folder}. Give the folder that `checks grade` has written to."
        )
    classes = assignments(results)
    pages = _pages()
    write(folder / "grades.csv", table(GRADES, (_grade(a, r) for a in classes for r in a.results)))
    write(folder / "exercises.csv", table(EXERCISES, _exercises(results)))
    page = pages.get_template("class.html")
    write(folder / "class.html", page.render(classes=classes, left_out=left_out(folder)))
    feedback = pages.get_template("feedback.html")
    for result in results:
        write(folder / _feedback(result), feedback.render(result=result))
    return problems


def _feedback(result: Result) -> Path:
    return Path("feedback") / result.assignment / f"{result.file}.html"


def _pages() -> jinja2.Environment:
    pages = jinja2.Environment(
        loader=jinja2.PackageLoader("checks.classroom", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    pages.filters["number"] = number
    pages.filters["inline"] = lambda text: Markup(inline(text))  # inline escapes
    pages.filters["fence"] = lambda name: FENCES.get(name, name)
    pages.filters["link"] = lambda result: quote(_feedback(result).as_posix())
    return pages


# -- tables ----------------------------------------------------------------------------------------


def disarmed(cell: object) -> object:
    """Keep a spreadsheet from running a cell: an apostrophe before what would be a formula."""
    return f"'{cell}" if isinstance(cell, str) and cell.startswith(_FORMULA) else cell


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(header)
    writer.writerows([disarmed(cell) for cell in row] for row in rows)
    return text.getvalue()


def _grade(assignment: Assignment, result: Result) -> tuple[object, ...]:
    most = assignment.points
    correct = sum(1 for exercise in result.exercises if exercise.outcome == "correct")
    flags = [f"{e.label}: {flag}" for e in result.exercises for flag in e.flags]
    notes = [*result.notes, *(f"{e.label}: {note}" for e in result.exercises for note in e.notes)]
    percent = number(100 * result.score / most) if most else ""
    isolation = f"without {', '.join(result.missing)}" if result.missing else "full"
    return (
        *(assignment.name, result.student, number(result.score), number(most), percent),
        *(len(result.exercises), correct, " | ".join(notes), " | ".join(flags), isolation),
    )


def _exercises(results: Iterable[Result]) -> Iterable[tuple[object, ...]]:
    for result in results:
        for exercise in result.exercises:
            # A bare 5.10 is 5.1 to a spreadsheet, or the fifth of October.
            yield (
                *(result.assignment, result.student, f"Exercise {exercise.label}"),
                *(number(exercise.score), number(exercise.points), str(exercise.outcome)),
                " | ".join(map(in_words, exercise.mistakes)),
                *(" | ".join(exercise.notes), " | ".join(exercise.flags)),
            )


def number(value: float) -> str:
    """Write a number with two decimals at most."""
    return f"{round(value, 2):g}"


def write(path: Path, text: str) -> None:
    """Write a file, and the folder in which it stands."""
    path.parent.mkdir(parents=True, exist_ok=True)
    whole.write(path, text)
