"""The fences that can be put up here are found out, and told as they are."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from tempfile import gettempdir

import pytest

from checks.classroom import fence, kernel


def test_what_is_missing_is_told() -> None:
    # The mistake: a fence that does not stand counts as one that does.
    none = fence.Isolation(limits=True, files=False, network=False, processes=True)
    assert not none.full
    assert [line.startswith("NO") for line in none.sentences()] == [False, True, True, False]


def test_a_fence_that_fails_is_not_available(monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(*_: object) -> None:
        raise OSError

    monkeypatch.setattr(kernel, "unshare", refuse)
    found = fence.available()
    assert not found.network and not found.processes and not found.full
    monkeypatch.setattr(fence, "_files", refuse)
    assert not fence.available().files


def test_a_machine_without_a_known_filter_has_no_network_fence(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # Without the filter a submission reaches sockets that are files.
    monkeypatch.setattr(kernel.platform, "machine", lambda: "pdp11")
    assert not fence.available().network


def test_trying_the_fences_changes_nothing_here(tmp_path: Path) -> None:
    before = os.getresuid() if hasattr(os, "getresuid") else ()
    fence.available()
    (tmp_path / "file").write_text("x")
    assert (os.getresuid() if hasattr(os, "getresuid") else ()) == before
    assert subprocess.run([sys.executable, "-c", "import socket; socket.socket()"]).returncode == 0


def test_a_submission_cannot_read_where_marks_may_lie() -> None:
    # The home folder, the temporary folder and the course lie outside of what can be read.
    course = Path(__file__).resolve().parent.parent
    for place in (course / "notebooks", course / "tests", Path(gettempdir()), Path.home()):
        assert not any(place.is_relative_to(folder) for folder in fence.readable())
