"""What `make test` must not let through: each of these spoils the comparison in a copy."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

# What stands in checks/, what is put in its place (a learner would meet it), and who must notice.
SPOILT = {
    "ten times too loose": ("comparison.py", "digits / 2", "digits * 5", "comparison"),
    "scaled by the largest": ("comparison.py", "_SHARE = 1e-6", "_SHARE = 0.1", "comparison"),
    "one right entry is enough": ("judging.py", ").all())", ").any())", "gradient"),
    "any shape will do": ("answers.py", "if came == expected:", "if True:", "answers"),
}


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("copy")
    shutil.copytree(ROOT / "checks", folder / "checks")
    shutil.copytree(ROOT / "tests", folder / "tests", ignore=shutil.ignore_patterns("node_modules"))
    shutil.copy(ROOT / "pyproject.toml", folder)
    return folder


@pytest.mark.parametrize("name", SPOILT)
def test_a_spoilt_comparison_is_found(copy: Path, name: str) -> None:
    # Mistake caught: the tests of the comparison would pass whatever it says.
    file, sound, spoilt, noticing = SPOILT[name]
    path = copy / "checks" / file
    before = path.read_text(encoding="utf-8")
    assert sound in before, f"{file} has changed: say here anew how to spoil it"
    path.write_text(before.replace(sound, spoilt), encoding="utf-8")
    try:
        run = subprocess.run(
            [sys.executable, "-m", "pytest", "-q", "-x", f"tests/test_{noticing}.py"],
            cwd=copy,
            env={**os.environ, "PYTHONPATH": str(copy)},
            capture_output=True,
            text=True,
        )
    finally:
        path.write_text(before, encoding="utf-8")
    assert run.returncode == 1, run.stdout[-2000:]
    assert f"FAILED tests/test_{noticing}.py::" in run.stdout
