"""What was solved is kept in the learner's folder, and no check ever suffers from it."""

import errno
import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest
import torch

import checks
from checks import launch, marks
from checks.marks import Marks

ROOT = Path(__file__).resolve().parents[1]


def lesson(*labels: str, title: str = "", marked: bool = True, source: Any = str) -> dict[str, Any]:
    """A notebook with one check for each label."""
    cells = [{"cell_type": "markdown", "metadata": {}, "source": source(f"# {title}\n\nText.")}]
    for label in labels:
        cells += [
            {"cell_type": "code", "metadata": {}, "source": source("answer = ...")},
            {
                "cell_type": "code",
                "metadata": {"tags": ["check"], "nbgrader": {"grade": True}} if marked else {},
                "source": source(f'checks.value(\n    "{label}",\n    answer, 3)'),
            },
        ]
    return {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}


def lines(text: str) -> list[str]:
    return text.splitlines(keepends=True)


def lay(folder: Path, name: str, notebook: dict[str, Any]) -> None:
    (folder / name).write_text(json.dumps(notebook), encoding="utf-8")


@pytest.fixture
def mine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A learner's folder with two lessons, in which the notebook runs."""
    (tmp_path / "checks").mkdir()
    (tmp_path / "checks/launch.py").touch()
    (tmp_path / "notebooks").mkdir()
    folder = tmp_path / launch.FOLDER
    folder.mkdir()
    lay(folder, "01_first.ipynb", lesson("1.1", "1.2", "1.3", title="1 · The first", source=lines))
    lay(folder, "05_second.ipynb", lesson("5.1", "5.2", title="5 · The <second>"))
    monkeypatch.chdir(folder)
    monkeypatch.delenv("CHECKS_STRICT", raising=False)
    monkeypatch.delenv("NBGRADER_EXECUTION", raising=False)
    return folder


def kept(folder: Path) -> list[str]:
    return json.loads((folder / marks.FILE).read_text(encoding="utf-8"))["solved"]


def solve(label: str, answer: object = 3) -> None:
    checks.value(label, answer, 3)


def new_sitting() -> None:
    """Forget what this process remembers, as a new kernel does."""
    marks._marks.cache_clear()


def test_the_table_says_what_is_solved_in_each_lesson(mine: Path) -> None:
    # Lessons nobody opened left out, labels counted twice, a lesson that looks done and is not.
    solve("1.1")
    solve("1.3")
    solve("1.1")
    assert str(checks.progress()) == (
        "Your progress: 2 of 5 exercises solved\n"
        "  01  The first     ██████░░░░  2 of 3  open: 1.2\n"
        "  05  The <second>  ░░░░░░░░░░  0 of 2  not begun"
    )
    solve("1.2")
    assert "  01  The first     ██████████  3 of 3  all solved\n" in str(checks.progress())


def test_the_bar_is_full_only_at_the_end_and_empty_only_at_the_start(mine: Path) -> None:
    # Rounding that makes a lesson look finished, or not begun.
    lay(mine, "01_first.ipynb", lesson(*(f"1.{i}" for i in range(40))))
    bars = []
    for number in range(40):
        solve(f"1.{number}")
        bars.append(checks.progress().rows[0].filled)
    assert bars[0] == 1
    assert bars[-2:] == [9, 10]
    assert bars == sorted(bars)


def test_the_table_in_html_does_not_depend_on_colour(mine: Path) -> None:
    # A bar without its number; a title that becomes a tag.
    solve("5.1")
    bundle = checks.progress()._repr_mimebundle_()
    assert bundle["text/plain"] == str(checks.progress())
    row = next(r for r in bundle["text/html"].split("<tr>") if "05" in r)
    assert 'aria-hidden="true"' in row
    assert "width: 50%" in row
    assert ">05 · The &lt;second&gt;</th>" in row
    assert "</span>1 of 2</td>" in row
    assert ">open: 5.2</td>" in row


def test_only_a_correct_answer_counts_and_it_counts_for_good(mine: Path) -> None:
    # Marks for a blank or for a slip, or lost when the cell is run again with a wrong answer.
    for answer in (4, ..., "three"):
        solve("1.1", answer)
    assert not (mine / marks.FILE).exists()
    solve("1.1")
    solve("1.1", 4)
    solve("1.1", ...)
    assert kept(mine) == ["1.1"]


def test_it_is_there_again_in_the_next_sitting(mine: Path) -> None:
    # Kept in memory only; or a second sitting that begins the file anew.
    solve("1.1")
    new_sitting()
    assert checks.progress().rows[0].solved == {"1.1"}
    solve("1.2")
    assert kept(mine) == ["1.1", "1.2"]


def test_every_verb_is_counted(mine: Path) -> None:
    # A verb that forgot to report.
    x = torch.tensor([1.0, 2.0], requires_grad=True)
    y = x**2
    checks.gradient("5.1", [2.0, 4.0], of=y.sum(), wrt=x)
    checks.vjp("5.2", [6.0, 4.0], of=y, wrt=x, v=torch.tensor([3.0, 1.0]))
    checks.jacobian("1.1", [[2.0, 0.0], [0.0, 4.0]], of=y, wrt=x)
    checks.error("1.2", "not a scalar", lambda: (x**2).backward())
    assert kept(mine) == ["1.1", "1.2", "5.1", "5.2"]


def test_the_file_holds_labels_and_nothing_else(mine: Path) -> None:
    # An answer in a file that a learner may hand to a friend.
    solve("1.1")
    assert (mine / marks.FILE).read_text() == '{\n "solved": [\n  "1.1"\n ]\n}\n'


@pytest.mark.parametrize("number", ["05", "5", 5, " 05 ", "05_second"])
def test_a_lesson_is_started_over(mine: Path, number: str | int) -> None:
    # Another lesson's marks taken as well, or this one's back with the next right answer.
    for label in ("1.1", "5.1", "5.2"):
        solve(label)
    shown = checks.progress(start_over=number)
    assert "Lesson 05 starts over. Solved before, and to be solved again: 5.1, 5.2." in shown.notes
    assert [row.count for row in shown.rows] == ["1 of 3", "0 of 2"]
    solve("1.2")
    assert kept(mine) == ["1.1", "1.2"]
    solve("5.1")
    assert kept(mine) == ["1.1", "1.2", "5.1"]


@pytest.mark.parametrize(
    "number", ["5.1", "50", "", "all", -5, None.__class__, "9" * 5000, 10**5000], ids=range(8)
)
def test_what_is_no_lesson_is_not_started_over(mine: Path, number: Any) -> None:
    # Marks gone because of a slip of the pen; an exercise is not a lesson.
    solve("5.1")
    shown = checks.progress(start_over=number)
    assert 'No lesson was started over: choose one of "01", "05".' in shown.notes
    assert kept(mine) == ["5.1"]


def test_another_notebook_that_started_over_is_believed(mine: Path) -> None:
    # What this kernel remembers must not bring back what was taken away, nor hide a new mark.
    solve("5.1")
    Marks(mine).remove(frozenset(["5.1"]))
    solve("1.1")
    assert kept(mine) == ["1.1"]
    solve("5.1")
    assert kept(mine) == ["1.1", "5.1"]


def test_versions_and_copies_of_a_lesson_are_one_lesson(mine: Path) -> None:
    # A newer version laid beside counts its exercises a second time.
    newer = lesson("5.1", "5.2", "5.3", title="5 · The second")
    lay(mine, "05_second.new.ipynb", newer)
    lay(mine, "05_second-Copy1.ipynb", lesson("5.1"))
    lay(mine, "notes.ipynb", lesson("7.1"))
    assert [row.count for row in checks.progress().rows] == ["0 of 3", "0 of 3"]


def test_checks_of_the_learners_own_are_not_exercises(mine: Path) -> None:
    # A check that was tried in a scratch cell, or stands in a comment, is not in the total.
    scratch = 'checks.value("mine", 1, 1)\n# checks.value("1.9", answer, 3)\nchecks.draw(loss)'
    notebook = lesson("1.1")
    notebook["cells"].append({"cell_type": "code", "metadata": {}, "source": scratch})
    lay(mine, "01_first.ipynb", notebook)
    assert checks.progress().rows[0].exercises == ("1.1",)


def test_lost_metadata_does_not_lose_the_lesson(mine: Path) -> None:
    # Some editors drop the tags of a cell.
    lay(mine, "01_first.ipynb", lesson("1.1", "1.2", marked=False))
    assert checks.progress().rows[0].exercises == ("1.1", "1.2")


@pytest.mark.parametrize("junk", ["", "{", "[]", "5", '{"cells": 5}', '{"cells": [{}]}', "\xff"])
def test_a_lesson_that_cannot_be_read_is_named(mine: Path, junk: str) -> None:
    # One broken notebook and the whole table is gone.
    (mine / "01_first.ipynb").write_text(junk, encoding="latin-1")
    shown = checks.progress()
    assert shown.notes == ("`01_first.ipynb` cannot be read, so its exercises are not counted.",)
    assert [row.lesson for row in shown.rows] == ["05"]


def test_the_first_mark_says_where_it_is_kept_once(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A file nobody was told of; a notice below each check.
    for label in ("1.1", "1.2", "1.1"):
        solve(label)
    said = capsys.readouterr().out
    assert said == "What you solve is kept in my-notebooks/progress.json. " + (
        "`checks.progress()` shows it.\n"
    )
    new_sitting()
    solve("1.3")
    assert capsys.readouterr().out == ""


DAMAGED = ["", "{", "[]", "{}", '{"solved": "5.1"}', '{"solved": [1]}', "[" * 100_000, "\xff"]


@pytest.mark.parametrize("junk", DAMAGED)
def test_a_damaged_file_is_said_once_and_laid_aside(
    mine: Path, junk: str, capsys: pytest.CaptureFixture[str]
) -> None:
    # A traceback in place of a verdict; what could still be saved by hand is overwritten.
    (mine / marks.FILE).write_text(junk, encoding="latin-1")
    assert checks.value("1.1", 3, 3)
    assert checks.value("1.2", 3, 3)
    said = capsys.readouterr().out
    assert said.count("is damaged") == said.count("\n") == 1
    assert (mine / marks.DAMAGED).read_text(encoding="latin-1") == junk
    assert kept(mine) == ["1.1", "1.2"]


def test_looking_at_a_damaged_file_does_not_touch_it(mine: Path) -> None:
    # To look is not to change: another notebook may be mending it.
    (mine / marks.FILE).write_text("{")
    (note,) = checks.progress().notes
    assert "is damaged" in note
    assert checks.progress().notes == ()
    assert (mine / marks.FILE).read_text() == "{"


def test_a_file_that_another_notebook_has_mended_is_kept(mine: Path) -> None:
    # The good new file laid aside in place of the damaged one.
    (mine / marks.FILE).write_text("{")
    checks.progress()
    Marks(mine).add("1.2")
    solve("1.1")
    assert kept(mine) == ["1.1", "1.2"]
    assert (mine / marks.DAMAGED).read_text() == "{"


@pytest.mark.skipif(sys.platform == "win32", reason="an open file cannot be replaced there")
def test_the_file_is_replaced_whole(mine: Path) -> None:
    # Written in place, it is empty for a moment: whoever reads it then finds it damaged.
    solve("1.1")
    with (mine / marks.FILE).open() as reader:
        solve("1.2")
        assert json.load(reader) == {"solved": ["1.1"]}


@pytest.mark.skipif(sys.platform == "win32", reason="the disks there have locks")
def test_a_disk_without_locks_keeps_progress_too(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Some network disks: better kept without a lock than not at all.
    import fcntl

    def refuse(*args: object) -> None:
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(fcntl, "flock", refuse)
    solve("1.1")
    assert kept(mine) == ["1.1"]


def test_a_file_that_is_deleted_is_begun_anew(mine: Path) -> None:
    # Who deletes the file wants to start over: what this kernel remembers must not come back.
    solve("1.1")
    (mine / marks.FILE).unlink()
    assert checks.progress().rows[0].solved == set()
    solve("1.2")
    assert kept(mine) == ["1.2"]


def said_once_and_still_correct(capsys: pytest.CaptureFixture[str], why: str) -> None:
    assert checks.value("1.1", 3, 3)
    assert checks.value("1.2", 3, 3)
    sentence = f"Progress cannot be kept in my-notebooks/progress.json ({why}). "
    assert capsys.readouterr().out == sentence + "The checks work all the same.\n"
    assert checks.progress().rows[0].solved >= {"1.1", "1.2"}


def test_a_read_only_file_is_said_once(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Replaced all the same, for a folder that can be written to allows that.
    (mine / marks.FILE).write_text('{"solved": ["1.3"]}')
    (mine / marks.FILE).chmod(0o444)
    said_once_and_still_correct(capsys, "the file is read-only")
    assert kept(mine) == ["1.3"]
    (mine / marks.FILE).chmod(0o644)
    solve("5.1")  # what could not be written before is written now
    assert kept(mine) == ["1.1", "1.2", "1.3", "5.1"]


@pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() == 0, reason="this user may write everywhere"
)
def test_a_read_only_folder_is_said_once(mine: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # The lock cannot be made, nor the new file.
    mine.chmod(0o555)
    try:
        said_once_and_still_correct(capsys, "permission denied")
    finally:
        mine.chmod(0o755)


def test_something_else_under_the_name_is_said_once(
    mine: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # A folder can neither be read nor replaced.
    (mine / marks.FILE).mkdir()
    said_once_and_still_correct(capsys, "is a directory")
    assert (mine / marks.FILE).is_dir()


def test_a_full_disk_leaves_the_file_as_it_was(
    mine: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A file written in place is cut off in the middle.
    solve("1.3")
    capsys.readouterr()

    def write_half(self: Path, text: str, **options: Any) -> int:
        self.write_bytes(text.encode()[:7])
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Path, "write_text", write_half)
    said_once_and_still_correct(capsys, "no space left on device")
    assert kept(mine) == ["1.3"]
    assert not list(mine.glob("*.half")) + list(mine.glob(".*.half"))


def test_nothing_that_goes_wrong_reaches_the_check(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Errors nobody thought of: here `json` that the learner has overwritten, and a closed stdout.
    monkeypatch.setattr(json, "dumps", lambda *a, **k: 1 / 0)
    assert checks.value("1.1", 3, 3)
    monkeypatch.undo()
    monkeypatch.chdir(mine)
    monkeypatch.setattr(sys, "stdout", None)
    assert checks.value("1.1", 3, 3)


def test_in_a_folder_that_is_gone_nothing_is_kept(tmp_path: Path) -> None:
    # os.getcwd() raises there. In a process of its own, for it cannot be left again by everyone.
    gone = tmp_path / "gone"
    gone.mkdir()
    code = (
        "import os, checks; os.rmdir(os.getcwd()); print(checks.value('1.1', 3, 3)); "
        "print(checks.progress())"
    )
    done = subprocess.run(
        [sys.executable, "-c", code],
        cwd=gone,
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        capture_output=True,
        text=True,
    )
    if sys.platform != "win32":  # which does not let a folder go in which somebody works
        assert "1.1: correct" in done.stdout, done.stderr
        assert "This notebook is not there." in done.stdout


@pytest.mark.parametrize("folder", ["notebooks", "notebooks/solutions", "."])
def test_only_the_learners_own_folder_keeps_progress(
    mine: Path, folder: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # A build or a test run that marks the exercises as solved for whoever sits at this computer.
    course = mine.parent
    (course / folder).mkdir(exist_ok=True)
    monkeypatch.chdir(course / folder)
    solve("1.1")
    assert str(checks.progress()) == (
        "Progress is kept for notebooks in my-notebooks, the folder that `make lab` opens. "
        "This notebook is not there."
    )
    assert checks.progress(start_over="01").rows == ()
    assert capsys.readouterr().out == ""
    assert not list(course.rglob("*progress*"))


def test_a_course_that_lies_in_a_my_notebooks_is_not_mistaken(
    mine: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # ~/my-notebooks/course/notebooks is below a my-notebooks, and still no learner's folder.
    course = mine / "course"
    (course / "checks").mkdir(parents=True)
    (course / "checks/launch.py").touch()
    (course / "notebooks").mkdir()
    monkeypatch.chdir(course / "notebooks")
    solve("1.1")
    assert not list(tmp_path.rglob(marks.FILE))


def test_a_folder_inside_the_learners_folder_counts(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Learners tidy up.
    (mine / "week 1").mkdir()
    monkeypatch.chdir(mine / "week 1")
    solve("1.1")
    assert kept(mine) == ["1.1"]


def test_notebooks_that_write_at_the_same_time_lose_nothing(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Read, add, replace, without a lock: the second overwrites what the first has added.
    monkeypatch.setattr("checks.marks.PATIENCE", 60)  # not how long one of them waits
    start = threading.Barrier(6)

    def work(kernel: int) -> None:
        marks_of_its_own = Marks(mine)
        start.wait()
        for number in range(20):
            marks_of_its_own.add(f"{kernel}.{number}")

    threads = [threading.Thread(target=work, args=[kernel]) for kernel in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(kept(mine)) == 120


HOLD = """
import sys, time
from pathlib import Path
from checks.marks import _alone
with _alone(Path.cwd()):
    print("held", flush=True)
    time.sleep(float(sys.argv[1]))
"""


def test_a_kernel_that_is_killed_lets_go_of_the_lock(mine: Path) -> None:
    # A lock that outlives its owner: from then on nothing is ever kept.
    holder = subprocess.Popen(
        [sys.executable, "-c", HOLD, "600"],
        env={**os.environ, "PYTHONPATH": str(ROOT)},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert holder.stdout is not None
        assert holder.stdout.readline() == "held\n"
        solve("1.1")
        assert not (mine / marks.FILE).exists()  # and the check has come back all the same
    finally:
        holder.kill()
        holder.communicate()
    solve("1.2")
    assert kept(mine) == ["1.1", "1.2"]


def test_a_right_answer_that_is_known_costs_a_look_at_the_date(
    mine: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Counted, not timed: reading the file again at each check, or writing it.
    solve("1.1")
    opened: list[object] = []
    monkeypatch.setattr(Path, "open", lambda self, *a, **k: opened.append(self))
    monkeypatch.setattr(Path, "read_bytes", lambda self: opened.append(self))
    for _ in range(3):
        solve("1.1")
    assert opened == []
