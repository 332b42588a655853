"""Which code is taken from a submission, whatever became of its cells; and which file is whose."""

from __future__ import annotations

import os
import time
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from classroom import NAME, RIGHT, SOURCE, hand_in, submission

from checks.classroom.cell import Role
from checks.classroom.lesson import Lesson, parse
from checks.classroom.pairing import (
    MOST_BYTES,
    NONE_FOUND,
    Handed,
    SubmissionError,
    cells_of,
    load,
    pair,
)
from checks.classroom.submissions import CollectError, find, unpack

LESSON = parse(SOURCE, NAME)
LESSON_BLANK = {cell.label: cell.blank for cell in LESSON.cells if cell.role is Role.ANSWER}
Cells = list[dict[str, Any]]


def paired(cells: Cells) -> Handed:
    return pair(cells, LESSON.cells)


def typed(handed: Handed) -> dict[str, str]:
    return {cell.label: handed.typed[cell.id] for cell in LESSON.cells if cell.id in handed.typed}


def reordered(cells: Cells) -> Cells:
    return cells[::-1]


def without_ids(cells: Cells) -> Cells:
    return [{k: v for k, v in cell.items() if k != "id"} for cell in cells]


def without_metadata(cells: Cells) -> Cells:
    return [{**cell, "metadata": {}} for cell in cells]


def without_either(cells: Cells) -> Cells:
    return without_metadata(without_ids(cells))


def without_checks(cells: Cells) -> Cells:
    return [cell for cell in without_either(cells) if "checks." not in cell["source"]]


def with_new_ids(cells: Cells) -> Cells:
    return [{**cell, "id": f"x{n}"} for n, cell in enumerate(without_metadata(cells))]


def in_lines(cells: Cells) -> Cells:
    return [{**cell, "source": cell["source"].splitlines(keepends=True)} for cell in cells]


def with_rubbish(cells: Cells) -> Cells:
    odd: Cells = [{}, {"cell_type": "code"}, {"cell_type": 3, "source": 7, "id": []}]
    odd.append({"cell_type": "code", "metadata": {"nbgrader": {"grade_id": {}}}, "source": [1]})
    return odd + cells


@pytest.mark.parametrize(
    "change",
    [
        *(list, reordered, without_ids, without_metadata, without_either),
        *(without_checks, with_new_ids, in_lines, with_rubbish),
    ],
)
def test_answers_are_found(change: Callable[[Cells], Cells]) -> None:
    # Lost marks for what an editor did to the file.
    assert typed(paired(change(submission()["cells"]))) == RIGHT


def test_of_two_that_set_the_name_the_one_before_the_check_is_taken() -> None:
    # The mistake: without ids, an answer that was tried twice counts as none.
    cells = without_either(submission()["cells"])
    (number,) = [n for n, cell in enumerate(cells) if cell["source"] == RIGHT["1.3"]]
    first = {**cells[number], "source": "size = 7"}
    for tried in ([*cells[:number], first, *cells[number:]], [*cells, first]):
        assert typed(paired(tried)) == RIGHT


def test_only_answers_are_taken() -> None:
    # A learner who edits a check, or the teacher's numbers, changes nothing.
    cells = submission()["cells"]
    for cell in cells:
        if not cell["id"].startswith("answer-"):
            cell["source"] = "raise SystemExit"
    assert typed(paired(cells)) == RIGHT


@pytest.mark.parametrize("above", [True, False])
def test_of_copies_the_one_with_an_answer_is_taken(above: bool) -> None:
    cells = submission()["cells"]
    (number,) = [n for n, cell in enumerate(cells) if cell["id"] == "answer-1-3"]
    blank = {**cells[number], "source": "size = ..."}
    cells.insert(number + (not above), blank)
    handed = paired(cells)
    assert typed(handed) == RIGHT
    assert any("1.3" in note and "copies" in note for note in handed.notes)


def test_a_deleted_cell_is_blank_and_said() -> None:
    cells = [cell for cell in submission()["cells"] if cell["id"] != "answer-1-3"]
    handed = paired(cells)
    assert typed(handed) == {**RIGHT, "1.3": "size = ..."}
    assert any("1.3" in note and "not there" in note for note in handed.notes)


def test_the_notebook_of_another_lesson_is_told() -> None:
    # The mistake: no points for anybody, each exercise by itself, and nothing that says why.
    assert paired([{**submission()["cells"][0], "id": "x"}]).notes == [NONE_FOUND]


AUTOGRAD = [
    *(
        "loss.backward()",
        "dw = w . grad",
        "from torch.func import vjp",
        "torch.autograd.grad(a, b)",
    ),
    *("import torch.autograd as t", "dw = torch.func.jacrev(f)(w)", "%time loss.backward()"),
]


@pytest.mark.parametrize("code", AUTOGRAD)
def test_autograd_is_flagged(code: str) -> None:
    assert paired(submission({"1.1": code})["cells"]).flags["answer-1-1"]


@pytest.mark.parametrize("code", ["# loss.backward()", "grad = 2 * x", "(" * 10**5, "-" * 10**5])
def test_what_asks_no_autograd_is_not_flagged(code: str) -> None:
    # The last two end a process that parses them.
    assert not paired(submission({"1.1": code})["cells"]).flags


@pytest.mark.parametrize("text", ["", "[]", "{}", '{"cells": 3}', "[" * 10**5, "1" * 10**5, "\0"])
def test_what_is_no_notebook_is_said(tmp_path: Path, text: str) -> None:
    with pytest.raises(SubmissionError):
        cells_of(load(hand_in(tmp_path, "ada", text)))


# -- which file is whose ---------------------------------------------------------------------------

OTHER = Lesson("02_other", ())


def found(folder: Path, *lessons: Lesson) -> dict[str, str]:
    """The student and lesson of each submission."""
    submissions, _ = find(folder, lessons or (LESSON, OTHER))
    return {s.student: s.lesson for s in submissions}


def put(folder: Path, *names: str) -> None:
    for name in names:
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text("{}")


def test_layouts(tmp_path: Path) -> None:
    put(tmp_path, "ada/01_small/01_small.ipynb", "bob/01_small.ipynb", "cem_01.ipynb")
    put(tmp_path, "dan_lesson-02 (1).ipynb", "eva/02_other/homework.ipynb", "fay.b_01_small.ipynb")
    put(tmp_path, "ada/.ipynb_checkpoints/01_small.ipynb", "__MACOSX/x/01_small.ipynb")
    assert found(tmp_path) == {
        **{"ada": NAME, "bob": NAME, "cem": NAME, "fay.b": NAME},
        **{"dan": "02_other", "eva": "02_other"},
    }


def test_a_renamed_file_is_known_by_its_cells(tmp_path: Path) -> None:
    path = hand_in(tmp_path, "ada", submission())
    path.rename(tmp_path / "ada" / "homework final.ipynb")
    path.parent.rmdir()
    put(tmp_path, "bob/something.ipynb")
    assert found(tmp_path) == {"ada": NAME, "bob": ""}
    assert found(tmp_path, LESSON) == {"ada": NAME, "bob": NAME}


def test_flat_files_of_two_students_are_not_one(tmp_path: Path) -> None:
    # The mistake: two Marias, of whom one loses all marks.
    put(
        tmp_path, "maria_lopez_01.ipynb", "maria_rossi_01.ipynb", "j.doe_01.ipynb", "j.roe_01.ipynb"
    )
    submissions, notes = find(tmp_path, [LESSON])
    assert len({s.student for s in submissions}) == len(submissions) == 4
    assert len(notes) == 1 and "maria" in notes[0]


def test_of_several_notebooks_the_newest_is_taken_and_said(tmp_path: Path) -> None:
    put(tmp_path, "ada/01_small.ipynb", "ada/01_small-Copy1.ipynb")
    os.utime(tmp_path / "ada/01_small-Copy1.ipynb", (1, 1))
    (tmp_path / "ada/01_small-folder.ipynb").mkdir()
    submissions, notes = find(tmp_path, [LESSON])
    assert [s.path.name for s in submissions] == ["01_small.ipynb"]
    assert len(notes) == 1 and "01_small.ipynb" in notes[0]


def test_an_answer_in_a_cell_of_their_own_is_told() -> None:
    # The mistake: no points for what was answered in a new cell, and nobody knows why.
    cells = submission({"1.4": "dz_du = 1.82\ndz_dv = ...", "1.2": LESSON_BLANK["1.2"]})["cells"]
    own = ("dz_dv = 1.69", "dz_du = 3", "def product_backward(u, a, b): ...", "dz_dv == 1", "x = 1")
    cells += [{"cell_type": "code", "id": f"own-{n}", "source": s} for n, s in enumerate(own)]
    assert paired(cells).notes == [
        "1.2: `product_backward` is set in a cell of their own, which was not run.",
        "1.4: `dz_dv` is set in a cell of their own, which was not run.",
    ]


@pytest.mark.parametrize("word", ["import ", ". ", ".\t", "import a.b ", "import\n", "#", "grad "])
def test_looking_for_autograd_takes_no_time(word: str) -> None:
    # The mistake: a pattern that takes the square of the length stops the marking of everybody.
    begin = time.process_time()
    paired(submission({"1.1": word * 100_000})["cells"])
    assert time.process_time() - begin < 2


def test_a_zip_is_unpacked_inside_its_folder(tmp_path: Path) -> None:
    # A path that climbs out, an absolute one, a link: none is written.
    archive, folder = tmp_path / "all.zip", tmp_path / "inside"
    link = zipfile.ZipInfo("eve/01_small.ipynb")
    link.external_attr = 0o120777 << 16
    with zipfile.ZipFile(archive, "w") as packed:
        packed.writestr(zipfile.ZipInfo("ada/01_small.ipynb", (2020, 1, 2, 3, 4, 6)), "{}")
        packed.writestr("ben/deep/down/01_small.ipynb", "{}")
        for name in ("../out.ipynb", "/out.ipynb", "a/../../out.ipynb", "..\\out.ipynb", "run.py"):
            packed.writestr(name, "{}")
        packed.writestr(link, "/etc/passwd")
    folder.mkdir()
    unpack(archive, folder)
    written = {p.relative_to(tmp_path).as_posix() for p in tmp_path.rglob("*.ipynb")}
    assert written == {"inside/ada/01_small.ipynb", "inside/ben/deep/down/01_small.ipynb"}
    assert (folder / "ada/01_small.ipynb").stat().st_mtime < 1_600_000_000


def test_one_bad_entry_of_a_zip_costs_only_its_student(tmp_path: Path) -> None:
    # The mistake: a checksum that is wrong, or a name that is too long, refuses the whole class.
    archive, folder = tmp_path / "all.zip", tmp_path / "inside"
    with zipfile.ZipFile(archive, "w") as packed:
        for name in ("broken", "locked", "packed"):
            packed.writestr(f"{name}/01_small.ipynb", f"of {name}")
        packed.writestr("folder/", "")
        packed.writestr("folder/01_small.ipynb/", "")
        packed.writestr(f"{'n' * 300}/{'m' * 300}.ipynb", "{}")
        packed.writestr("both.ipynb", "{}")
        packed.writestr("both.ipynb/01_small.ipynb", "{}")
        packed.writestr("other/both.ipynb/01_small.ipynb", "{}")
        packed.writestr("other/both.ipynb", "{}")
        packed.writestr(f"deep{'/d' * 1500}/01_small.ipynb", "{}")
        packed.writestr("upper/01_small.IPYNB", "{}")
        packed.writestr("essay/essay.pdf", "{}")
        packed.writestr("last/01_small.ipynb", "{}")
    data = archive.read_bytes().replace(b"of broken", b"of spoken")
    directory = data.index(b"PK\x01\x02")
    for name, at, value in ((b"locked", 8, 1), (b"packed", 10, 77)):
        entry = data.rindex(b"PK\x01\x02", directory, data.rindex(name + b"/01_small"))
        data = data[: entry + at] + bytes([value]) + data[entry + at + 1 :]
    archive.write_bytes(data)
    folder.mkdir()
    problems = unpack(archive, folder)
    found, notes = find(folder, [LESSON])
    students = {one.student: one.path.read_bytes() for one in found}
    assert [students[name] for name in ("broken", "locked", "packed")] == [b""] * 3
    assert len(problems) == 3 and all("cannot be unpacked" in told for told in problems)
    assert students["last"] == students["upper"] == students["deep"] == b"{}"
    assert len(students) == 3 + 1 + 2 + 2 + 3  # the long name; both; other, twice
    assert sorted(note.split(":")[0] for note in notes) == ["essay", "folder", "other"]


def test_who_hands_in_no_notebook_is_told(tmp_path: Path) -> None:
    # The mistake: the student is nowhere in the marks, and nobody knows why.
    hand_in(tmp_path, "ada", submission())
    (tmp_path / "bob").mkdir()
    (tmp_path / "bob/01_small.pdf").touch()
    (tmp_path / "eve").mkdir()
    (tmp_path / "dan_01_small.ipynb.txt").touch()
    (tmp_path / ".hidden").mkdir()
    (tmp_path / "fay").mkdir()
    (tmp_path / "fay/01_small.IPYNB").touch()
    found, notes = find(tmp_path, [LESSON])
    assert [one.student for one in found] == ["ada", "fay"]
    assert [note.split(":")[0] for note in notes] == ["bob", "dan_01_small.ipynb.txt", "eve"]


def test_a_name_does_not_command_the_terminal(capsys: pytest.CaptureFixture[str]) -> None:
    # The mistake: a file's name clears the screen on which the marking is followed.
    from checks.classroom import command

    command._tell("\x1b[2J\x9bName\r\udcff: \u0394")
    assert capsys.readouterr().err == "\ufffd[2J\ufffdName\ufffd\ufffd: \u0394\n"


def test_what_is_no_zip_is_said(tmp_path: Path) -> None:
    (tmp_path / "all.zip").write_bytes(b"PK\x03\x04 and then nothing")
    with pytest.raises(CollectError):
        unpack(tmp_path / "all.zip", tmp_path)
    with pytest.raises(CollectError):
        find(tmp_path / "nowhere", [LESSON])


def test_a_file_that_is_too_large_is_not_read(tmp_path: Path) -> None:
    # Mistake caught: gigabytes are read before anybody says no.
    path = tmp_path / "large.ipynb"
    path.touch()
    os.truncate(path, MOST_BYTES + 1)  # takes no room on the disk
    with pytest.raises(SubmissionError, match="larger than 20 MB"):
        load(path)
