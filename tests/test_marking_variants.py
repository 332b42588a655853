"""Each student is judged by the numbers that this student got, and by nobody else's."""

from __future__ import annotations

import ast
import json
import sys
from collections.abc import Iterator
from concurrent.futures import Executor
from pathlib import Path
from typing import Any

import pytest
from classroom import NAME, POINTS, RIGHT, SOURCE, hand_in, scores, stored, submission
from fenced import ISOLATION, marking_threads, needs_fences

from checks.__main__ import main
from checks.classroom import fence, station
from checks.classroom.grading import Graded, grade
from checks.classroom.names import safe_name
from checks.classroom.release import release
from checks.classroom.running import Settings
from checks.classroom.warm import Warm

pytestmark = needs_fences

ROSTER = ["ada", "Ben Ö.", "=x", "a/b"]
VARIES = SOURCE.replace(
    "```{code-cell} ipython3\nu = torch", "```{code-cell} ipython3\n:tags: [varies]\n\nu = torch"
)
assert VARIES != SOURCE


@pytest.fixture(scope="module")
def threads() -> Iterator[Executor]:
    with marking_threads() as pool:
        yield pool


def mark(
    folder: Path, executor: Executor, students: list[str], to: str = "results"
) -> tuple[Graded, list[str]]:
    told: list[str] = []
    graded = grade(
        folder / "submitted",
        [folder / "source" / f"{NAME}.md"],
        folder / to,
        Settings(fence.Limits(seconds=60.0, memory=1024), ISOLATION),
        students=students,
        executor=executor,
        tell=told.append,
    )
    return graded, told


@pytest.fixture
def course(tmp_path: Path) -> Path:
    """A lesson that was released with other numbers for each student of the roster."""
    (tmp_path / "source").mkdir()
    source = tmp_path / "source" / f"{NAME}.md"
    source.write_text(VARIES, encoding="utf-8")
    release([source], tmp_path / "release", ROSTER)
    return tmp_path


def solved(course: Path, student: str) -> dict[str, Any]:
    """The notebook of a student, solved with a pencil: by the numbers that stand in it."""
    path = course / "release" / safe_name(student) / f"{NAME}.ipynb"
    built = dict(json.loads(path.read_text(encoding="utf-8")))
    for cell in built["cells"]:
        cell["source"] = "".join(cell["source"])
    (cell,) = (c for c in built["cells"] if "u = torch" in c["source"])
    u, v, _ = (
        statement.value.args[0].value if isinstance(statement.value, ast.Call) else 0
        for statement in ast.parse(cell["source"]).body
        if isinstance(statement, ast.Assign)
    )
    answers = {**RIGHT, "1.4": f"dz_du = {2 * u * v}\ndz_dv = {u * u}"}
    for cell in built["cells"]:
        if cell["id"].startswith("answer-"):
            cell["source"] = answers[cell["id"].removeprefix("answer-").replace("-", ".")]
    return built


def results(folder: Path, to: str = "results") -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in (folder / to / NAME).glob("*.json")}


def test_ones_own_numbers_are_right(course: Path, threads: Executor) -> None:
    # The mistake: a folder that release has named is not found in the roster.
    numbers = {solved(course, student)["cells"][-2]["source"] for student in ROSTER}
    assert len(numbers) == len(ROSTER)
    for student in ROSTER:
        hand_in(course / "submitted", safe_name(student), solved(course, student))
    hand_in(course / "submitted", "Ben Ö.", solved(course, "Ben Ö."))  # as the platform has it
    graded, told = mark(course, threads, ROSTER)
    assert graded == Graded(len(ROSTER) + 1, 0) and told == []
    for student in [*map(safe_name, ROSTER), "Ben Ö."]:
        assert scores(course / "results", student) == POINTS, student


def test_the_numbers_of_another_are_wrong(course: Path, threads: Executor) -> None:
    # The mistake: the notebook is believed that says whose numbers it has.
    theirs = solved(course, "ada")
    theirs["metadata"]["checks"] = {"variant": "=x"}
    hand_in(course / "submitted", safe_name("=x"), theirs)
    mine = solved(course, "ada")
    mine["metadata"]["checks"] = {"variant": "=x"}
    hand_in(course / "submitted", "ada", mine)
    mark(course, threads, ROSTER)
    assert scores(course / "results", safe_name("=x")) == {**POINTS, "1.4": 0}
    assert scores(course / "results", "ada") == POINTS


def test_a_changed_cell_changes_no_numbers(course: Path, threads: Executor) -> None:
    # The mistake: easier numbers, put into the cell that gives them.
    built = solved(course, "ada")
    for cell in built["cells"]:
        if "u = torch" in cell["source"]:
            cell["source"] = "u = torch.tensor(1.0, requires_grad=True)\nv = u\nz = u"
        if cell["id"] == "answer-1-4":
            cell["source"] = "dz_du = 1.0\ndz_dv = 0.0"
    hand_in(course / "submitted", "ada", built)
    mark(course, threads, ROSTER)
    assert scores(course / "results", "ada") == {**POINTS, "1.4": 0}


def test_who_is_not_in_the_roster_is_told_so(course: Path, threads: Executor) -> None:
    # The mistake: marked by the numbers of the source, which nobody got.
    hand_in(course / "submitted", "eve", solved(course, "ada"))
    graded, _ = mark(course, threads, ROSTER)
    result = stored(course / "results", "eve")
    assert graded.failed == 0
    assert result["notes"] == [
        "eve is not in the roster: which numbers were handed out is not known."
    ]
    assert {e["outcome"] for e in result["exercises"]} == {"invalid"}
    # With a roster that names her, she is marked.
    mark(course, threads, [*ROSTER, "eve"])
    assert scores(course / "results", "eve")["1.1"] == 2


def test_with_another_roster_it_is_marked_again(course: Path, threads: Executor) -> None:
    # The mistakes: marks of the run before stay; that there is a roster is forgotten in silence.
    hand_in(course / "submitted", "ada", solved(course, "ada"))
    mark(course, threads, ROSTER)
    first = results(course)
    _, told = mark(course, threads, [])
    assert scores(course / "results", "ada") == {**POINTS, "1.4": 0}
    assert len(told) == 1 and "--variants" in told[0]
    mark(course, threads, ROSTER)
    assert results(course) == first


def test_a_lesson_in_which_nothing_varies_needs_no_roster(
    tmp_path: Path, threads: Executor
) -> None:
    # The mistake: in a folder of several lessons, those without variants are refused.
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / f"{NAME}.md").write_text(SOURCE, encoding="utf-8")
    hand_in(tmp_path / "submitted", "eve", submission())
    mark(tmp_path, threads, ROSTER)
    mark(tmp_path, threads, [], "plain")
    assert results(tmp_path) == results(tmp_path, "plain")
    assert scores(tmp_path / "results", "eve") == POINTS


def test_all_variants_are_forked_from_one_process(
    course: Path, threads: Executor, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The mistake: PyTorch is imported for each student.
    begun: list[Warm] = []
    init = Warm.__init__

    def count(self: Warm, *arguments: Any) -> None:
        begun.append(self)
        init(self, *arguments)

    monkeypatch.setattr(Warm, "__init__", count)
    station.close()
    for student in ROSTER:
        hand_in(course / "submitted", safe_name(student), solved(course, student))
    mark(course, threads, ROSTER)
    assert len(begun) == 1


@pytest.mark.parametrize(
    "text, says",
    [
        ("name\nada\nbob,x\n", "student"),
        ("", "roster.csv"),
        ("student\nada\nada\n", "ada stands 2 times"),
    ],
)
def test_a_roster_that_is_none_is_refused(
    course: Path,
    text: str,
    says: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # The mistake: a traceback, or a run without variants.
    (course / "submitted").mkdir()
    (course / "roster.csv").write_text(text)
    line = f"{course}/submitted --source {course}/source --to {course}/results"
    arguments = ["checks", "grade", *line.split(), "--variants", f"{course}/roster.csv"]
    monkeypatch.setattr(sys, "argv", arguments)
    assert main() == 2
    error = capsys.readouterr().err
    assert says in error and len(error.strip().splitlines()) == 1
    assert not (course / "results").exists()
