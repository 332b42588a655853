"""`checks collect`: out of homes whose owners may have laid links, pipes and huge files there."""

import os
import shutil
import sys
from pathlib import Path, PurePosixPath

import pytest

from checks.__main__ import main
from checks.classroom import collecting
from checks.classroom.pairing import MOST_BYTES

NOTEBOOK = PurePosixPath("course/05_x.ipynb")
SECRET = "what nobody may see"

pytestmark = pytest.mark.skipif(os.name == "nt", reason="collecting needs Linux or macOS")


@pytest.fixture
def homes(tmp_path: Path) -> Path:
    """The homes of alice, who has answered, and of mallory, who has an empty folder."""
    homes = tmp_path / "home"
    for student in ("alice", "mallory"):
        (homes / student / "course").mkdir(parents=True)
    (homes / "alice" / NOTEBOOK).write_text(SECRET)
    os.utime(homes / "alice" / NOTEBOOK, (1_700_000_000, 1_700_000_000))
    return homes


def collect(homes: Path, *notebooks: PurePosixPath) -> collecting.Collected:
    return collecting.collect(homes, notebooks or (NOTEBOOK,), homes.parent / "submitted")


def test_a_notebook_is_copied_under_the_students_name(homes: Path) -> None:
    # Marks under the wrong name; another age, so that a late one is taken for one in time.
    done = collect(homes)
    copy = homes.parent / "submitted/alice" / NOTEBOOK
    assert done.written == [copy]
    assert copy.read_text() == SECRET
    assert copy.stat().st_mtime == 1_700_000_000
    assert done.missing == {NOTEBOOK: ["mallory"]}
    assert not done.refused


def test_nobody_else_can_read_what_was_collected(homes: Path) -> None:
    # On the machine that all students share.
    collect(homes)
    for path in (homes.parent / "submitted").rglob("*"):
        assert not path.stat().st_mode & 0o077, path
    assert not (homes.parent / "submitted").stat().st_mode & 0o077


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give files away")
def test_what_root_writes_belongs_to_the_teacher(homes: Path) -> None:
    # The teacher marks without being root, and could not read it.
    os.chown(homes.parent, 1234, 1235)
    (copy,) = collect(homes).written
    for path in (copy, *copy.relative_to(homes.parent).parents):
        about = (homes.parent / path).stat()
        assert (about.st_uid, about.st_gid) == (1234, 1235), path


def test_collecting_again_replaces_and_takes_nothing_away(homes: Path) -> None:
    # The run after the deadline loses what a student has deleted since.
    (homes / "mallory" / NOTEBOOK).write_text("mine")
    collect(homes)
    (homes / "mallory" / NOTEBOOK).unlink()
    (homes / "alice" / NOTEBOOK).write_text("newer")
    collect(homes)
    there = {path.parts[-3]: path.read_text() for path in homes.parent.glob("submitted/*/*/*")}
    assert there == {"alice": "newer", "mallory": "mine"}


def link_the_file(home: Path) -> None:
    (home / NOTEBOOK).symlink_to("../../alice" / NOTEBOOK)


def link_the_folder(home: Path) -> None:
    (home / "course").rmdir()
    (home / "course").symlink_to("../alice/course")


def link_to_nothing(home: Path) -> None:
    (home / NOTEBOOK).symlink_to("nowhere")


def pipe(home: Path) -> None:
    os.mkfifo(home / NOTEBOOK)


def folder(home: Path) -> None:
    (home / NOTEBOOK).mkdir()


def file_for_a_folder(home: Path) -> None:
    (home / "course").rmdir()
    (home / "course").write_text("")


def larger_than_the_disk(home: Path) -> None:
    with (home / NOTEBOOK).open("wb") as file:
        file.truncate(1 << 40)  # a hole: it takes no room here, and would in a copy


@pytest.mark.parametrize(
    ("lay", "why"),
    [
        (link_the_file, "05_x.ipynb is a link, and links are not followed."),
        (link_the_folder, "course is a link, and links are not followed."),
        (link_to_nothing, "05_x.ipynb is a link, and links are not followed."),
        (pipe, "It is not a file."),
        (folder, "It is not a file."),
        (file_for_a_folder, "Not a directory."),
        (larger_than_the_disk, f"It is larger than {MOST_BYTES >> 20} MB."),
    ],
)
def test_a_trap_costs_only_the_one_who_laid_it(homes: Path, lay: object, why: str) -> None:
    # Root copies what the student may not read, waits for ever, or fills the disk.
    assert callable(lay)
    lay(homes / "mallory")
    done = collect(homes)
    assert [path.parts[-3] for path in done.written] == ["alice"]
    assert done.refused == [f"mallory: {NOTEBOOK} was not collected. {why}"]
    assert not (homes.parent / "submitted/mallory").exists()


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="takes two users")
def test_a_second_name_for_anothers_file_is_not_taken(homes: Path) -> None:
    # On a system where everybody may give a second name to a file that is not theirs.
    for folder in (homes / "mallory", homes / "mallory/course"):
        os.chown(folder, 1234, 1234)
    os.link(homes / "alice" / NOTEBOOK, homes / "mallory" / NOTEBOOK)
    done = collect(homes)
    assert [path.parts[-3] for path in done.written] == ["alice"]
    (why,) = done.refused
    assert why.endswith("It belongs to somebody else than the folder it lies in.")


def test_swapping_the_folder_for_a_link_meanwhile_gains_nothing(homes: Path) -> None:
    # It is a folder when it is looked at, and a link when the file in it is opened.
    mallory = homes / "mallory"
    (mallory / NOTEBOOK).write_text("mine")
    (homes / "alice").rename(homes.parent / "alice")  # whose notebook would be opened first
    swapped = []

    def swap(event: str, arguments: tuple[object, ...]) -> None:
        if event == "open" and not swapped and str(arguments[0]).endswith(NOTEBOOK.name):
            swapped.append((mallory / "course").rename(mallory / "aside"))
            (mallory / "course").symlink_to(homes.parent / "alice/course")

    sys.addaudithook(swap)  # it stays, and does nothing more
    collect(homes)
    assert swapped
    assert (homes.parent / "submitted/mallory" / NOTEBOOK).read_text() == "mine"


def test_a_link_in_the_place_of_a_home_is_the_administrators(homes: Path) -> None:
    # Homes on another disk; only root can lay links in the folder of homes.
    shutil.move(homes / "alice", homes.parent / "elsewhere")
    (homes / "alice").symlink_to(homes.parent / "elsewhere")
    assert [path.parts[-3] for path in collect(homes).written] == ["alice"]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["nowhere", "course/05_x.ipynb"], "nowhere is not a folder. Give the folder that holds"),
        (["home", "../alice/05_x.ipynb"], "../alice/05_x.ipynb is no notebook in a student's home"),
        (["home", "/etc/05_x.ipynb"], "/etc/05_x.ipynb is no notebook in a student's home"),
        (["home", "course"], "course is no notebook in a student's home"),
        (["home", "course/06_y.ipynb"], "Nothing was collected."),
    ],
)
def test_what_the_teacher_gets_wrong_is_said(
    homes: Path,
    arguments: list[str],
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    # A traceback, or success with nothing in the folder.
    monkeypatch.chdir(homes.parent)
    monkeypatch.setattr("sys.argv", ["checks", "collect", *arguments, "--to", "submitted"])
    assert main() == 1
    complaint = capsys.readouterr().err
    assert complaint.startswith(said)
    assert complaint.count("\n") == 1
    assert not (homes.parent / "submitted").exists()
