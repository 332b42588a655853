"""The marks in the formats of other tools, read back as those tools read them."""

import csv
import json
import math
import os
import re
import shutil
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import pytest
import yaml
from classroom import NAME, hand_in, lesson_in, submission
from extras import needs_nbgrader
from jsonschema import Draft202012Validator
from junitparser.xunit2 import JUnitXml
from test_report import EVIL, exercise, store, wrong

from checks.__main__ import main, parser
from checks.classroom.exports import FORMATS, ExportError, export
from checks.classroom.exports.gradebook import cell_names
from checks.classroom.exports.grades import COLUMNS
from checks.classroom.lesson import read as read_lesson
from checks.classroom.names import safe_name
from checks.classroom.report import disarmed
from checks.classroom.results import Result, read

ROOT = Path(__file__).parent.parent
FLAG = "uses `backward`, which asks autograd"
# What a terminal, XML and a spreadsheet each stumble over.
ODD = f"\x1b[31mred\x00 ]]> {EVIL} \ud800"
STUDENTS = {
    "anna": [exercise("5.4"), exercise("5.10", flags=[FLAG])],
    "bo": [wrong("5.4", "mean-count", score=0.5, credit=0.25), exercise("5.10")],
    "cy": [wrong("5.4"), exercise("5.10", "unanswered")],
    "Zoë 漢字": [
        exercise(label, "invalid", text="This is no notebook.") for label in ("5.4", "5.10")
    ],
    "../../etc/passwd": [wrong("5.4", text=ODD, notes=["It raised `E`."]), exercise("5.10")],
    "=1+1": [exercise("5.4"), exercise("5.10")],
    "O'Neil, Pat": [exercise("5.4", score=0.1), wrong("5.10", score=0.2)],
}


def class_in(folder: Path) -> Path:
    """A class with everything in it; one of them has handed in another lesson, too."""
    for student, exercises in STUDENTS.items():
        notes = ["The file was renamed."] if student == "bo" else []
        store(folder, student, *exercises, file=safe_name(student), notes=notes)
    store(folder, "anna", exercise("6.1", points=3, score=3.0), assignment="06_network")
    (folder / "run.json").write_text("{}")
    return folder


@pytest.fixture
def results(tmp_path: Path) -> Path:
    return class_in(tmp_path / "results")


def stored(results: Path) -> list[Result]:
    return read(results)[0]


def run(*arguments: object) -> int:
    """The exit code of `checks export` with these arguments."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "argv", ["checks", "export", *map(str, arguments)])
        return main()


# -- Gradescope ------------------------------------------------------------------------------------

TEXT = {"type": "string"}
NUMBER = {"type": "number"}
SEEN = {"enum": ["hidden", "after_due_date", "after_published", "visible"]}
FORM = {"enum": ["text", "html", "simple_format", "md", "ansi"]}
TEST = {
    **{"score": NUMBER, "max_score": NUMBER, "status": {"enum": ["passed", "failed"]}},
    **{"name": TEXT, "name_format": FORM, "number": TEXT, "output": TEXT, "output_format": FORM},
    **{"tags": {"type": "array", "items": TEXT}, "visibility": SEEN, "extra_data": {}},
}
LEADER = {"name": TEXT, "value": {"type": ["number", "string"]}, "order": {"enum": ["asc", "desc"]}}
TOP = {
    **{"score": NUMBER, "execution_time": NUMBER, "output": TEXT, "output_format": FORM},
    **{"test_output_format": FORM, "test_name_format": FORM, "visibility": SEEN},
    **{"stdout_visibility": SEEN, "extra_data": {"type": "object"}},
    "tests": {
        "type": "array",
        "items": {"type": "object", "properties": TEST, "additionalProperties": False},
    },
    "leaderboard": {
        "type": "array",
        "items": {
            **{"type": "object", "properties": LEADER, "additionalProperties": False},
            "required": ["name", "value"],
        },
    },
}
# https://gradescope-autograders.readthedocs.io/en/latest/specs/, section "Output format".
GRADESCOPE = {
    **{"type": "object", "properties": TOP, "additionalProperties": False},
    "anyOf": [
        {"required": ["score"]},
        {"required": ["tests"], "properties": {"tests": {"items": {"required": ["score"]}}}},
    ],
}


def gradescope(path: Path) -> dict[str, Any]:
    data = json.loads(path.read_text(encoding="utf-8"))
    Draft202012Validator(GRADESCOPE).validate(data)
    return dict(data)


def test_the_schema_refuses_what_gradescope_does_not_know() -> None:
    # A schema that lets everything pass proves nothing.
    valid = Draft202012Validator(GRADESCOPE).is_valid
    assert valid({"score": 1}) and valid({"tests": [{"score": 1}]})
    assert not valid({"tests": [{"name": "no score anywhere"}]}) and not valid({"max_score": 1})
    assert not valid({"score": "1"}) and not valid({"score": 1, "visibility": "yes"})
    assert not valid({"score": 1, "tests": [{"points": 1}]})


def test_gradescope_has_a_file_for_each(results: Path, tmp_path: Path) -> None:
    assert run(results, "--as", "gradescope", "--to", tmp_path / "out") == 0
    paths = sorted((tmp_path / "out").rglob("*"))
    files = [path for path in paths if path.is_file()]
    assert len(files) == len(STUDENTS) + 1 and {path.name for path in files} == {"results.json"}
    for result in stored(results):
        data = gradescope(tmp_path / "out" / result.assignment / result.file / "results.json")
        assert data["score"] == result.score
        assert math.isclose(data["score"], sum(test["score"] for test in data["tests"]))
        for test, one in zip(data["tests"], result.exercises, strict=True):
            assert (test["score"], test["max_score"]) == (one.score, one.points)
            assert (test["status"] == "passed") == (one.outcome == "correct")
            # As a number, 5.10 would be 5.1.
            assert (test["number"], test["name"]) == (one.label, f"Exercise {one.label}")


def test_gradescope_shows_what_feedback_shows(results: Path, tmp_path: Path) -> None:
    # The mistakes: a flag for the teacher that a student reads; HTML of a student's that is shown;
    # what the marking printed made visible.
    export(results, "gradescope", tmp_path / "out")
    for path in (tmp_path / "out").rglob("results.json"):
        data = gradescope(path)
        assert "autograd" not in path.read_text(encoding="utf-8")
        assert data["stdout_visibility"] == "hidden" and data["visibility"] == "visible"
        for part in (data, *data["tests"]):
            assert part["output_format"] == "text"
    of = tmp_path / "out/05_backpropagation"
    assert "Note: The file was renamed." in gradescope(of / "bo/results.json")["output"]
    hostile = gradescope(of / safe_name("../../etc/passwd") / "results.json")
    assert hostile["output"] == "2 of 4 points"
    assert hostile["tests"][0]["output"] == f"�[31mred� ]]> {EVIL} �\nNote: It raised `E`."


def test_inside_gradescope_there_is_one_file(results: Path, tmp_path: Path) -> None:
    # run_autograder marks one submission, and has to write this very file.
    one = tmp_path / "one"
    store(one, "submission", *STUDENTS["bo"])
    assert run(one, "--as", "gradescope", "--to", tmp_path / "autograder/results.json") == 0
    assert gradescope(tmp_path / "autograder/results.json")["score"] == 2.5
    with pytest.raises(ExportError, match="can hold one result, and there are 8"):
        export(results, "gradescope", tmp_path / "autograder/results.json")


@pytest.mark.parametrize("form", FORMATS)
def test_no_result_is_overwritten(results: Path, form: str) -> None:
    before = {path: path.read_bytes() for path in results.rglob("*.json")}
    with pytest.raises(ExportError, match="lies among the results"):
        export(results, form, results / "05_backpropagation/bo.json")
    if form == "gradescope":
        export(results, form, results)
    assert {path: path.read_bytes() for path in before} == before
    assert len(stored(results)) == len(STUDENTS) + 1


@pytest.mark.parametrize(
    "form",
    [pytest.param(form, marks=needs_nbgrader if form == "nbgrader" else ()) for form in FORMATS],
)
def test_a_place_that_cannot_be_written_to_is_told(
    results: Path, tmp_path: Path, form: str, capsys: Any
) -> None:
    # A traceback, where a file was meant and a folder is, or the other way round.
    (tmp_path / "taken.json").mkdir()
    (tmp_path / "taken").write_text("")
    places = ("taken", "taken/under") if form == "gradescope" else (".", "taken/under")
    for place in (*places, "taken.json"):
        assert run(results, "--as", form, "--to", tmp_path / place) == 2
        said = capsys.readouterr()
        assert len(said.err.splitlines()) == 1 and str(tmp_path) in said.err and not said.out
    assert (tmp_path / "taken").read_text() == "" and not any((tmp_path / "taken.json").iterdir())


# -- JUnit -----------------------------------------------------------------------------------------


def test_junit_has_a_suite_for_each(results: Path, tmp_path: Path) -> None:
    assert run(results, "--as", "junit", "--to", tmp_path / "marks.xml") == 1
    suites = list(JUnitXml.fromfile(str(tmp_path / "marks.xml")))
    for result, suite in zip(stored(results), suites, strict=True):
        assert suite.name == f"{result.assignment}.{result.student}"
        cases = list(suite)
        failed = [one.label for one in result.exercises if one.outcome != "correct"]
        assert [c.name for c in cases] == [f"Exercise {one.label}" for one in result.exercises]
        # An unanswered exercise that counts as skipped would pass.
        assert [c.name for c in cases if c.is_failure] == [f"Exercise {e}" for e in failed]
        assert not any(c.is_skipped or c.is_error for c in cases)
        told = (suite.tests, suite.failures, suite.errors)
        assert told == (len(cases), len(failed), 0)
        suite.update_statistics()
        assert told == (suite.tests, suite.failures, suite.errors)


def test_junit_counts_as_it_is_written(results: Path, tmp_path: Path) -> None:
    # The mistake: counts that the reader of this test works out by itself, and others do not.
    export(results, "junit", tmp_path / "marks.xml")
    root = ElementTree.parse(tmp_path / "marks.xml").getroot()
    for one in (root, *root.iter("testsuite")):
        cases = [*one.iter("testcase")]
        failed = [case for case in cases if case.find("failure") is not None]
        counts = {name: one.attrib[name] for name in ("tests", "failures", "errors")}
        assert counts == {"tests": str(len(cases)), "failures": str(len(failed)), "errors": "0"}


def test_junit_says_why(results: Path, tmp_path: Path) -> None:
    export(results, "junit", tmp_path / "marks.xml")
    text = (tmp_path / "marks.xml").read_text(encoding="utf-8")
    assert "autograd" not in text  # a flag is for the teacher
    suites = {s.name.split(".", 1)[1]: s for s in JUnitXml.fromstring(text.encode())}
    assert suites.keys() == STUDENTS.keys()
    (failure,) = next(iter(suites["bo"])).result
    assert (failure.message, failure.type) == ("wrong: 0.5 of 2 points", "wrong")
    assert failure.text == "5.4: wrong"
    assert suites["bo"].system_out == "2.5 of 4 points\nNote: The file was renamed."
    (failure,) = next(iter(suites["Zoë 漢字"])).result
    assert (failure.message, failure.text) == ("invalid: 0 of 2 points", "This is no notebook.")
    (failure,) = next(iter(suites["../../etc/passwd"])).result
    assert failure.text == f"�[31mred� ]]> {EVIL} �\nNote: It raised `E`."


def test_the_exit_code_is_what_github_classroom_looks_at(tmp_path: Path) -> None:
    # A workflow that is green although something is wrong, or could not be read.
    right, to = tmp_path / "right", tmp_path / "marks.xml"
    store(right, "anna", exercise("5.4"), exercise("5.10"))
    assert run(right, "--as", "junit", "--to", to) == 0
    (right / "05_backpropagation/bo.json").write_text("{}")
    assert run(right, "--as", "junit", "--to", to) == 1
    assert run(right, "--as", "csv", "--to", to) == 1
    assert run(tmp_path / "nothing", "--as", "junit", "--to", to) == 2


@pytest.mark.parametrize("outcome", ["wrong", "unanswered", "invalid"])
def test_one_exercise_is_enough_to_fail(tmp_path: Path, outcome: str) -> None:
    store(tmp_path / "r", "anna", exercise("5.4"), exercise("5.10", outcome))
    assert run(tmp_path / "r", "--as", "junit", "--to", tmp_path / "marks.xml") == 1


# -- a real run, and the workflow of the README ----------------------------------------------------


def workflow() -> dict[str, Any]:
    """The workflow for GitHub Classroom that README.md shows."""
    (text,) = re.findall(r"```yaml\n(.*?)```", (ROOT / "README.md").read_text("utf-8"), re.DOTALL)
    return dict(yaml.safe_load(text))


def commands() -> str:
    """The lines of its last step."""
    (job,) = workflow()["jobs"].values()
    return str(job["steps"][-1]["run"])


def test_the_readme_names_arguments_that_exist() -> None:
    for line in commands().strip().splitlines():
        parser().parse_args(line.split()[1:])


@pytest.fixture(scope="module")
def marked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[int, Path]]:
    """What the workflow comes to, with a submission that is half right; and its folder."""
    if not hasattr(os, "fork"):
        pytest.skip("marking needs Linux or macOS")
    folder = tmp_path_factory.mktemp("workflow")
    lesson_in(folder / "course/notebooks/source")
    answers = {"1.1": "dw = (w * x - 1.1).detach() * x", "1.4": "dz_du = 0.91\ndz_dv = 1.3**2"}
    hand_in(folder / "submitted", "student", submission(answers))
    env = {**os.environ, "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"}
    done = subprocess.run(["bash", "-e", "-c", commands()], cwd=folder, env=env, check=False)
    yield done.returncode, folder


def test_the_workflow_of_the_readme_runs(marked: tuple[int, Path]) -> None:
    code, folder = marked
    (suite,) = JUnitXml.fromfile(str(folder / "marks.xml"))
    assert suite.name == f"{NAME}.student" and (suite.tests, suite.failures) == (4, 2)
    assert [case.name for case in suite if not case.is_passed] == ["Exercise 1.1", "Exercise 1.4"]
    assert code == 1


def test_no_student_reads_a_true_value(marked: tuple[int, Path], tmp_path: Path) -> None:
    # 1.69 is the student's own right answer: nothing is given away by it.
    _, folder = marked
    export(folder / "results", "gradescope", tmp_path / "results.json")
    data = gradescope(tmp_path / "results.json")
    assert [test["score"] for test in data["tests"]] == [0, 1, 1, 1]
    read_there = json.dumps(data) + (folder / "marks.xml").read_text(encoding="utf-8")
    assert "wrong" in read_there
    for true in ("10.44", "4.086", "1.82"):
        assert true not in read_there


# -- nbgrader --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A gradebook with the marks of the class. nbgrader takes a while to make one."""
    folder = tmp_path_factory.mktemp("gradebook")
    book = folder / "new/gradebook.db"
    assert run(class_in(folder / "results"), "--as", "nbgrader", "--to", book) == 0
    return book


@pytest.fixture
def book(filled: Path, tmp_path: Path) -> Path:
    return Path(shutil.copy(filled, tmp_path))


def dump(book: Path) -> list[str]:
    with sqlite3.connect(book) as database:
        return sorted(database.iterdump())


def own_export(book: Path, to: Path) -> list[dict[str, str]]:
    """What `nbgrader export` makes of a gradebook."""
    from nbgrader.api import Gradebook
    from nbgrader.plugins.export import CsvExportPlugin

    with Gradebook(f"sqlite:///{book}") as gradebook:
        CsvExportPlugin(to=str(to)).export(gradebook)
    lines = to.read_text(encoding="utf-8").splitlines()
    # nbgrader quotes nothing: what comes before and after a name with commas has none.
    head = lines[0].split(",")
    rows = []
    for line in lines[1:]:
        before, after = line.split(",", 3), line.rsplit(",", 7)
        name = line[len(",".join(before[:3])) + 1 : len(after[0])]
        rows.append(dict(zip(head, [*before[:3], name, *after[1:]], strict=True)))
    return rows


def by_who(rows: list[dict[str, str]]) -> dict[tuple[str, str], dict[str, str]]:
    return {(row["assignment"], row["student_id"]): row for row in rows}


@needs_nbgrader
def test_nbgrader_reports_the_same_scores(results: Path, filled: Path) -> None:
    from nbgrader.api import Gradebook

    with Gradebook(f"sqlite:///{filled}") as book:
        for result in stored(results):
            found = book.find_submission(result.assignment, result.student)
            assert math.isclose(found.score, result.score) and found.max_score == result.points
            assert not found.needs_manual_grade
            (notebook,) = found.notebooks
            assert notebook.name == result.assignment
            scores = {grade.name: grade.score for grade in notebook.grades}
            names = cell_names(one.label for one in result.exercises)
            assert scores == {names[one.label]: one.score for one in result.exercises}
        assert {s.id for s in book.students} == STUDENTS.keys()
        anna = book.find_student("anna")
        assert (anna.score, anna.max_score) == (7, 7)


@needs_nbgrader
def test_exporting_twice_changes_nothing(results: Path, book: Path) -> None:
    before = dump(book)
    export(results, "nbgrader", book)
    assert dump(book) == before and any("O''Neil" in line for line in before)


@needs_nbgrader
def test_a_new_mark_is_entered_and_a_mark_by_hand_stays(results: Path, book: Path) -> None:
    from nbgrader.api import Gradebook

    cell = ("check-5-4", "05_backpropagation", "05_backpropagation")
    with Gradebook(f"sqlite:///{book}") as gradebook:
        gradebook.find_grade(*cell, "bo").manual_score = 1.5
        gradebook.db.commit()
        gradebook.update_or_create_student("cy", first_name="Cyrus")
    store(results, "bo", wrong("5.4"), exercise("5.10"), file=safe_name("bo"))
    store(results, "cy", exercise("5.4"), exercise("5.10"), file=safe_name("cy"))
    export(results, "nbgrader", book)
    with Gradebook(f"sqlite:///{book}") as gradebook:
        bo, cy = (gradebook.find_grade(*cell, student) for student in ("bo", "cy"))
        assert (bo.auto_score, bo.score, bo.needs_manual_grade) == (0, 1.5, True)
        assert (cy.auto_score, cy.score, cy.needs_manual_grade) == (2, 2, False)
        assert gradebook.find_student("cy").first_name == "Cyrus"


@needs_nbgrader
def test_another_version_of_the_lesson_is_refused(book: Path, tmp_path: Path) -> None:
    # Exercises that nobody has any more would stay in the sum that there is to earn.
    other = tmp_path / "other"
    store(other, "anna", exercise("5.4"), exercise("5.11"))
    with pytest.raises(ExportError, match=r"only in one of the two: check-5-10, check-5-11\."):
        export(other, "nbgrader", book)


@needs_nbgrader
def test_a_file_that_is_no_gradebook_is_refused(results: Path, tmp_path: Path) -> None:
    (tmp_path / "gradebook.db").write_text("student,score\n" * 100)
    with pytest.raises(ExportError, match=r"cannot be used as a gradebook \(file is not a data"):
        export(results, "nbgrader", tmp_path / "gradebook.db")
    assert (tmp_path / "gradebook.db").read_text() == "student,score\n" * 100


def test_checks_have_the_names_that_they_have_in_the_notebook() -> None:
    # Marks in cells of their own, beside those that `nbgrader generate_assignment` made.
    for source in sorted((ROOT / "notebooks/source").glob("*.md")):
        checks = {cell.label: cell.id for cell in read_lesson(source).cells if cell.role == "check"}
        assert cell_names(checks) == checks and checks
    assert list(cell_names(["5.1", "5-1"]).values()) == ["check-5-1", "check-5-1-2"]


def test_without_nbgrader_one_sentence_says_so(
    results: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    monkeypatch.setitem(sys.modules, "nbgrader", None)
    monkeypatch.setitem(sys.modules, "nbgrader.api", None)
    assert run(results, "--as", "nbgrader", "--to", tmp_path / "gradebook.db") == 2
    assert capsys.readouterr().err.splitlines() == [
        "This export needs nbgrader, which is not installed. Install it with "
        "`python -m pip install nbgrader`."
    ]
    for form in ("gradescope", "csv"):
        assert run(results, "--as", form, "--to", tmp_path / form) == 0


# -- the table of nbgrader -------------------------------------------------------------------------


def table(path: Path) -> list[dict[str, str]]:
    with path.open(encoding="utf-8", newline="") as file:
        return list(csv.DictReader(file))


def test_the_table_has_a_row_for_each(
    results: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(results, "--as", "csv", "--to", tmp_path / "grades.csv") == 0
    assert f"Written: {tmp_path / 'grades.csv'}." in "".join(capsys.readouterr())
    rows = by_who(table(tmp_path / "grades.csv"))
    assert len(rows) == 2 * len(STUDENTS)
    assert rows["05_backpropagation", "O'Neil, Pat"]["score"] == "0.3"
    # Who has handed in nothing has no points; a name that is a formula is not run.
    assert rows["06_network", "bo"]["score"] == "0.0"
    assert rows["06_network", "bo"]["max_score"] == "3.0"
    assert ("05_backpropagation", "'=1+1") in rows


@needs_nbgrader
def test_the_table_is_that_of_nbgrader(results: Path, book: Path, tmp_path: Path) -> None:
    export(results, "csv", tmp_path / "ours.csv")
    theirs = own_export(book, tmp_path / "theirs.csv")
    ours = by_who(table(tmp_path / "ours.csv"))
    assert len(theirs) == len(ours)
    numbers = ("raw_score", "late_submission_penalty", "score", "max_score")
    for row in theirs:
        assert tuple(row) == COLUMNS
        row["student_id"] = str(disarmed(row["student_id"]))
        own = ours[row["assignment"], row["student_id"]]
        for column, theirs_is in row.items():
            if column in numbers:
                assert math.isclose(float(own[column]), float(theirs_is)), (row, column)
                assert "." in own[column]
            else:
                assert own[column] == theirs_is
