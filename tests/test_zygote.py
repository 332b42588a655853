"""The process from which submissions are forked: how it begins, and what it tidies up."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytest.importorskip("resource", reason="marking needs Linux or macOS")

from checks.classroom import zygote


def test_what_runs_submissions_leaves_them_undrawn() -> None:
    # The mistake: a class that plots takes ten times as long to mark.
    code = (
        "import io; from checks.classroom import zygote; zygote.warm(); "
        "from matplotlib import pyplot; written = io.BytesIO(); pyplot.savefig(written); "
        "print(len(written.getvalue()))"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "0\n"


def test_what_is_printed_is_not_among_the_messages() -> None:
    # The mistake: a library that prints when it is imported makes the first submission unreadable.
    code = (
        "import os; from checks.classroom import zygote; left = [1, 2, 3]; "
        "zygote.warm = lambda: os.write(1, b'noise'); "
        "zygote.serve = lambda out: os.write(out, b'%d' % left.pop()) and left; "
        "zygote.main(); print('more')"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert (done.stdout, "noise" in done.stderr, "more" in done.stderr) == ("321", True, True)


def test_no_folder_of_a_submission_is_left(tmp_path: Path) -> None:
    # The mistakes: a thousand folders after a class; one that was locked stays.
    plain, locked = tmp_path / "plain", tmp_path / "locked"
    plain.mkdir()
    (locked / "inside").mkdir(parents=True)
    (locked / "inside" / "file").touch()
    for folder in (locked / "inside", locked):
        folder.chmod(0)
    for folder in (plain, locked, tmp_path / "never was there"):
        zygote._remove(folder)
    assert [*tmp_path.iterdir()] == []


def test_an_empty_folder_costs_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistake: two programs are started for each submission, which is most of its time.
    def start(*_: object, **__: object) -> None:
        raise AssertionError("a program was started")

    monkeypatch.setattr(zygote.subprocess, "run", start)
    folder = tmp_path / "new"
    folder.mkdir()
    zygote._remove(folder)
    assert not folder.exists()
