"""`make setup`, with a stand-in for Python: what it says, what it skips, what it recovers from."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]

pytestmark = pytest.mark.skipif(
    os.name == "nt" or not shutil.which("make"), reason="there is no make here"
)

# These tests are run by make themselves: what that make was told is not for this one.
ENVIRONMENT = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}

# Notes each call in a file, and never finds a wheel on its disk.
STAND_IN = """\
#!/bin/sh
echo "$*" >> "$CALLS"
case "$*" in
  "-m venv .venv") mkdir -p .venv/bin && cp "$0" .venv/bin/python ;;
  *--no-index*) echo "ERROR: no matching distribution" >&2; exit 1 ;;
  *--editable*) exit ${BROKEN:-0} ;;
esac
"""


class Machine:
    """A folder with the Makefile, and a Python that only makes notes."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.calls = folder / "calls"
        self.venv = folder / ".venv"
        self.python = folder / "stand-in"
        self.python.write_text(STAND_IN)
        self.python.chmod(0o755)
        for name in ("Makefile", "pyproject.toml"):
            shutil.copy(ROOT / name, folder / name)

    def set_up(self, **environment: str) -> tuple[int, str, list[str]]:
        """Run `make setup`: the exit code, what was said, and how Python was called."""
        self.calls.write_text("")
        done = subprocess.run(
            ["make", "setup", f"PYTHON={self.python}"],
            cwd=self.folder,
            env={**ENVIRONMENT, "CALLS": str(self.calls), **environment},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
        )
        return done.returncode, done.stdout, self.calls.read_text().splitlines()


@pytest.fixture
def machine(tmp_path: Path) -> Machine:
    return Machine(tmp_path)


def test_pytorch_comes_first_and_quietly(machine: Machine) -> None:
    # Installed with the rest, PyTorch would bring gigabytes of CUDA on Linux.
    code, said, calls = machine.set_up()
    assert code == 0
    assert "ERROR" not in said
    installs = [call for call in calls if " install " in call]
    assert [("torch==" in call, "download.pytorch.org/whl/cpu" in call) for call in installs] == [
        (True, False),
        (True, True),
        (False, False),
    ]


def test_nothing_is_done_twice(machine: Machine) -> None:
    # Every command of the Makefile goes through set-up first.
    machine.set_up()
    assert machine.set_up()[2] == []


def test_a_new_dependency_is_installed(machine: Machine) -> None:
    # After `git pull`, in the environment that is there, which is not made anew.
    machine.set_up()
    later = machine.venv.stat().st_mtime + 10
    os.utime(machine.folder / "pyproject.toml", (later, later))
    calls = machine.set_up()[2]
    assert any("--editable" in call for call in calls)
    assert "-m venv .venv" not in calls


def test_an_interrupted_set_up_is_begun_again(machine: Machine) -> None:
    # Packages that are there by half cannot be told from whole ones.
    code, said, _ = machine.set_up(BROKEN="1")
    assert code != 0
    assert "Set-up failed: README.md says what to do." in said
    (machine.venv / "left-over").touch()
    code, _, calls = machine.set_up()
    assert code == 0
    assert "-m venv .venv" in calls
    assert not (machine.venv / "left-over").exists()


@pytest.mark.parametrize(
    ("version", "why"),
    [((3, 9), "too old"), ((3, 15), "too new"), ((3, 13), "its venv is missing")],
)
def test_why_a_python_will_not_do(machine: Machine, version: tuple[int, int], why: str) -> None:
    # A sentence now, instead of "No module named tomllib" in some minutes.
    lie = f"import sys; sys.version_info = {(*version, 0)}; sys.modules['ensurepip'] = None"
    machine.python.write_text(
        f'#!/bin/sh\nexec "{sys.executable}" -c "{lie}; exec(sys.argv[1])" "$2"\n'
    )
    code, said, _ = machine.set_up()
    assert code != 0
    assert "The course needs Python 3.11, 3.12, 3.13 or 3.14, and did not find it." in said
    assert f" is Python {version[0]}.{version[1]}: {why}\n" in said
    assert not machine.venv.exists()


def test_help_names_every_command(machine: Machine) -> None:
    # A target without its line is a command that nobody finds.
    makefile = (ROOT / "Makefile").read_text()
    (phony,) = [line for line in makefile.splitlines() if line.startswith(".PHONY:")]
    done = subprocess.run(
        ["make"], cwd=machine.folder, env=ENVIRONMENT, capture_output=True, text=True
    )
    assert [line.split()[1] for line in done.stdout.splitlines()] == phony.split()[1:]
