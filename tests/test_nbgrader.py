"""nbgrader marks what `checks release` has made: its own run, in its own gradebook."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pytest
from classroom import NAME, POINTS, RIGHT, lesson_in
from extras import needs_nbgrader
from test_exports import run
from test_report import exercise, store

pytestmark = [needs_nbgrader, pytest.mark.filterwarnings("ignore:Object of type <Submitted")]

MIXED = {
    "1.1": "dw = (w * x - 1.1).detach() * x",
    "1.2": "def product_backward(upstream, a, b):\n    raise ValueError",
    "1.4": "dz_du = 2 * 1.3 * 0.7\ndz_dv = ...",
}
HANDED_IN = {"right": RIGHT, "mixed": RIGHT | MIXED, "blank": {}}
MARKS = {
    "right": POINTS,
    "mixed": {"1.1": 0, "1.2": 0, "1.3": 1, "1.4": 0},  # nbgrader knows no part of a check's points
    "blank": dict.fromkeys(POINTS, 0),
}


def filled_in(released: Path, answers: Mapping[str, str]) -> dict[str, Any]:
    """The notebook that a student got, with answers typed in."""
    built = json.loads(released.read_text(encoding="utf-8"))
    for cell in built["cells"]:
        label = cell["id"].removeprefix("answer-").replace("-", ".")
        if cell["id"].startswith("answer-") and label in answers:
            cell["source"] = answers[label]
    return dict(built)


@pytest.fixture(scope="module")
def course(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A course in which nbgrader has marked everybody."""
    from nbgrader_course import Course

    folder = tmp_path_factory.mktemp("nbgrader")
    course = Course(folder / "course", lesson_in(folder))
    for student, answers in HANDED_IN.items():
        course.hand_in(student, filled_in(course.released, answers))
        course.autograde(student)
    return course


def marks(course: Any, student: str) -> dict[str, float]:
    """What the gradebook holds, by exercise."""
    found = course.scores(student).items()
    return {name.removeprefix("check-").replace("-", "."): score for name, score in found}


@pytest.mark.parametrize("student", MARKS)
def test_nbgrader_gives_the_right_marks(course: Any, student: str) -> None:
    # The mistakes: a check cell that does not raise is worth full marks to nbgrader; a cell that
    # nbgrader puts back, since it takes it for altered; an error in one cell that reaches the next.
    assert marks(course, student) == MARKS[student]


def test_our_marks_go_into_the_same_cells(course: Any, tmp_path: Path) -> None:
    # Cells beside those of nbgrader would double what there is to earn. Comes last: it changes
    # the gradebook of the others.
    scores = {"1.1": 0.0, "1.2": 0.5, "1.3": 1.0, "1.4": 1.0}
    done = [
        exercise(label, "wrong", points=POINTS[label], score=score)
        for label, score in scores.items()
    ]
    store(tmp_path / "results", "mixed", *done, assignment=NAME)
    assert run(tmp_path / "results", "--as", "nbgrader", "--to", course.book) == 0
    assert marks(course, "mixed") == scores and marks(course, "right") == POINTS
    with course.api.gradebook as book:
        assert book.find_assignment(NAME).max_score == sum(POINTS.values())
