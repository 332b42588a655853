"""`checks lab` gives the learner copies, and never touches one again."""

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from nbformat.v4 import new_code_cell, new_notebook, new_output

from checks import launch


def lay_lesson(course: Path, source: str, name: str = "05_tiny") -> None:
    """Put a lesson that has been run into the course."""
    result = new_output("execute_result", {"text/plain": "2"}, execution_count=1)
    cell = new_code_cell(source, id="only", execution_count=1, outputs=[result])
    lesson = course / f"notebooks/{name}.ipynb"
    lesson.parent.mkdir(parents=True, exist_ok=True)
    lesson.write_text(json.dumps(new_notebook(cells=[cell])), encoding="utf-8")


@pytest.fixture
def course(tmp_path: Path) -> Path:
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks/launch.py").touch()
    lay_lesson(tmp_path, "1 + 1")
    return tmp_path


def names(course: Path) -> list[str]:
    return sorted(path.name for path in (course / launch.FOLDER).iterdir())


def read(course: Path, name: str) -> dict:
    return json.loads((course / launch.FOLDER / name).read_text(encoding="utf-8"))


def test_a_copy_has_no_outputs(course: Path) -> None:
    # Outputs left in would tell the learner what they are asked to predict.
    launch.copy_lessons(course)
    (cell,) = read(course, "05_tiny.ipynb")["cells"]
    assert cell["source"] == "1 + 1"
    assert cell["outputs"] == []
    assert cell["execution_count"] is None


def test_only_lessons_are_copied(course: Path) -> None:
    # The solutions and a maintainer's scratch notebook are not for the learner's folder.
    lay_lesson(course, "0", name="scratch")
    lay_lesson(course, "0", name="solutions/05_tiny")
    launch.copy_lessons(course)
    assert names(course) == ["05_tiny.ipynb"]


def test_starting_again_changes_nothing(course: Path) -> None:
    # A copy laid beside at every start, or outputs of a rebuild taken for a new version.
    launch.copy_lessons(course)
    lesson = course / "notebooks/05_tiny.ipynb"
    lesson.write_text(lesson.read_text().replace('"2"', '"two"'), encoding="utf-8")
    again = launch.copy_lessons(course)
    assert (again.new, again.beside) == ([], [])
    assert names(course) == ["05_tiny.ipynb"]


def test_a_learners_work_is_never_overwritten(course: Path) -> None:
    # Byte for byte, through two updates, and so for the newer copy in which work has begun.
    launch.copy_lessons(course)
    mine = course / launch.FOLDER / "05_tiny.ipynb"
    mine.write_text(mine.read_text().replace("1 + 1", "my own work"), encoding="utf-8")
    before = mine.read_bytes()

    lay_lesson(course, "1 + 2")
    assert [path.name for path in launch.copy_lessons(course).beside] == ["05_tiny.new.ipynb"]
    newer = course / launch.FOLDER / "05_tiny.new.ipynb"
    newer.write_text(newer.read_text().replace("1 + 2", "work in the new one"), encoding="utf-8")
    newer_before = newer.read_bytes()

    lay_lesson(course, "1 + 3")
    assert [path.name for path in launch.copy_lessons(course).beside] == ["05_tiny.new2.ipynb"]
    assert mine.read_bytes() == before
    assert newer.read_bytes() == newer_before
    assert launch.copy_lessons(course).beside == []


@pytest.mark.parametrize("content", ["", "{", "[]", '{"metadata": {"checks": 5}}'])
def test_a_file_that_is_no_copy_of_ours_is_left_alone(course: Path, content: str) -> None:
    # A damaged or foreign notebook under the lesson's name stops nothing and is kept.
    mine = course / launch.FOLDER / "05_tiny.ipynb"
    mine.parent.mkdir()
    mine.write_text(content, encoding="utf-8")
    launch.copy_lessons(course)
    assert mine.read_text(encoding="utf-8") == content
    assert names(course) == ["05_tiny.ipynb", "05_tiny.new.ipynb"]


def test_a_deleted_copy_is_made_again(course: Path) -> None:
    # Deleting one's copy is how a lesson is started over.
    launch.copy_lessons(course)
    (course / launch.FOLDER / "05_tiny.ipynb").unlink()
    assert [path.name for path in launch.copy_lessons(course).new] == ["05_tiny.ipynb"]


def test_an_update_is_said(course: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # A newer lesson that is laid beside and not mentioned would never be found.
    launch.tell(launch.copy_lessons(course))
    lay_lesson(course, "1 + 2")
    launch.tell(launch.copy_lessons(course))
    said = capsys.readouterr().out
    assert "Copied to my-notebooks: 05_tiny." in said
    assert "my-notebooks/05_tiny.new.ipynb" in said


def test_the_course_is_found_from_below(course: Path) -> None:
    # The command is typed in whatever folder the learner happens to be.
    (course / "notebooks/deeper").mkdir()
    assert launch.find_course(course / "notebooks/deeper") == course


def test_a_folder_that_cannot_be_made_is_said_plainly(course: Path) -> None:
    # A traceback where a sentence belongs.
    (course / launch.FOLDER).write_text("a file, where the folder should be")
    with pytest.raises(launch.LaunchError, match="could not be copied"):
        launch.copy_lessons(course)
    done = subprocess.run(
        [sys.executable, "-m", "checks", "lab", "--copy-only"],
        cwd=course / "notebooks",
        env={**os.environ, "PYTHONPATH": str(Path(launch.__file__).parents[1])},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 1
    assert "Traceback" not in done.stderr, done.stderr
    assert "could not be copied" in done.stderr


def test_only_lab_takes_arguments_it_does_not_know(course: Path) -> None:
    # `checks build --chek` must not build.
    done = subprocess.run(
        [sys.executable, "-m", "checks", "build", "--chek"], capture_output=True, text=True
    )
    assert done.returncode == 2
    assert "--chek" in done.stderr


def test_the_learners_own_jupyter_settings_are_left_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # The path that was there stays, behind ours.
    monkeypatch.setenv("JUPYTER_CONFIG_PATH", "somewhere")
    launch.use_settings(tmp_path)
    assert os.environ["JUPYTER_CONFIG_PATH"] == os.pathsep.join([str(tmp_path), "somewhere"])
    written = json.loads((tmp_path / "labconfig/default_setting_overrides.json").read_text())
    assert written == launch.SETTINGS
