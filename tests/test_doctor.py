"""What the teacher is told about the fences of a machine."""

import os

import pytest

from checks.classroom import doctor

fence = pytest.importorskip("checks.classroom.fence", reason="there are no fences on Windows")


@pytest.mark.parametrize(
    ("missing", "advice"),
    [
        ("limits", "ask who runs it"),
        ("files", "landlock"),
        ("network", "user namespaces"),
        ("processes", "user namespaces"),
    ],
)
def test_a_missing_fence_is_said_with_what_to_do(
    monkeypatch: pytest.MonkeyPatch, missing: str, advice: str
) -> None:
    # A teacher who believes that all is well, and marks what strangers have written.
    monkeypatch.setattr("sys.platform", "linux")
    stands = dict.fromkeys(("limits", "files", "network", "processes"), True)
    isolation = fence.Isolation(**{**stands, missing: False})
    monkeypatch.setattr(fence, "available", lambda: isolation)
    complete, lines = doctor.examine()
    assert not complete
    assert sum(line.strip().startswith("NO ") for line in lines) == 1
    assert any(advice in line for line in lines)
    assert "--unfenced" in lines[-1]


def test_all_fences(monkeypatch: pytest.MonkeyPatch) -> None:
    isolation = fence.Isolation(limits=True, files=True, network=True, processes=True)
    monkeypatch.setattr(fence, "available", lambda: isolation)
    complete, lines = doctor.examine()
    assert complete
    assert "--unfenced" not in " ".join(lines)


def test_where_nothing_can_be_marked(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delattr(os, "fork")
    complete, lines = doctor.examine()
    assert not complete
    assert "WSL" in lines[-1]
