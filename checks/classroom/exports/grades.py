"""The table that `nbgrader export` writes, made without nbgrader.

A row for each student in each assignment, with zero points where nothing was handed in. What is not
known here (dates, names, addresses, a penalty for being late) is empty, or zero. An id that a
spreadsheet would run as a formula gets an apostrophe before it.
"""

from collections.abc import Sequence
from pathlib import Path

from checks.classroom.overview import Assignment, assignments
from checks.classroom.report import table
from checks.classroom.report import write as write_file
from checks.classroom.results import Result

COLUMNS = (
    *("assignment", "duedate", "timestamp", "student_id", "last_name", "first_name", "email"),
    *("raw_score", "late_submission_penalty", "score", "max_score"),
)


def write(results: Sequence[Result], to: Path) -> str:
    """Write the table of all assignments into one file."""
    students = dict.fromkeys(result.student for result in results)
    rows = []
    for class_ in assignments(results):
        most = str(sum(points(class_).values(), 0.0))
        scores = {result.student: result.score for result in class_.results}
        for student in students:
            score = str(float(scores.get(student, 0.0)))
            rows.append((class_.name, "", "", student, "", "", "", score, "0.0", score, most))
    write_file(to, table(COLUMNS, rows))
    return f"Written: {to}."


def points(class_: Assignment) -> dict[str, float]:
    """The points of each exercise, in the lesson's order; the most, where results do not agree."""
    most: dict[str, float] = {}
    for result in class_.results:
        for exercise in result.exercises:
            most[exercise.label] = max(exercise.points, most.get(exercise.label, 0.0))
    return most
