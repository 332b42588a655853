"""`checks lab`: the learner's own copies of the lessons, and JupyterLab opened on them.

A lesson is copied without its outputs, or *predict first* would be spoilt. What is in the learner's
folder already is never written to: a newer version of a lesson is laid beside the learner's own.
"""

import hashlib
import json
import os
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from checks import whole

FOLDER = "my-notebooks"
LESSONS = "notebooks/[0-9][0-9]_*.ipynb"

# JupyterLab asks at the first start whether it may fetch news, over a corner of the notebook.
# These are defaults: what the learner has set in JupyterLab's own settings is stronger.
SETTINGS = {
    "@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}
}


class LaunchError(Exception):
    """Why the course cannot be opened, in words for the learner."""


@dataclass(frozen=True)
class Copied:
    """What was written to the learner's folder."""

    new: list[Path]
    beside: list[Path]


def find_course(start: Path) -> Path:
    """The course's folder: at or above `start`, or around this package if it runs from there."""
    for folder in (start, *start.parents, Path(__file__).resolve().parent.parent):
        if (folder / "checks/launch.py").is_file() and (folder / "notebooks").is_dir():
            return folder
    raise LaunchError(
        f"The course was not found in {start} or above it. "
        "Go to the folder that holds README.md and notebooks, and try again."
    )


def copy_lessons(course: Path) -> Copied:
    """Copy to the learner's folder every lesson, or version of a lesson, that is not there yet."""
    done = Copied([], [])
    mine = course / FOLDER
    try:
        mine.mkdir(exist_ok=True)
        for lesson in sorted(course.glob(LESSONS)):
            blank = without_outputs(json.loads(lesson.read_text(encoding="utf-8")))
            version = fingerprint(blank)
            there = sorted(mine.glob(f"{lesson.stem}.ipynb")) + sorted(
                mine.glob(f"{lesson.stem}.new*.ipynb")
            )
            if any(version_of(copy) == version for copy in there):
                continue
            target = free_name(mine, lesson.stem)
            write(target, blank, version)
            (done.beside if there else done.new).append(target)
    except (OSError, ValueError) as problem:
        raise LaunchError(f"The lessons could not be copied to {mine}: {problem}") from problem
    return done


def without_outputs(notebook: dict[str, Any]) -> dict[str, Any]:
    """The notebook as if it had never been run."""
    for cell in notebook["cells"]:
        if cell["cell_type"] == "code":
            cell["outputs"] = []
            cell["execution_count"] = None
    return notebook


def fingerprint(notebook: dict[str, Any]) -> str:
    """What tells one version of a lesson from another."""
    text = json.dumps(notebook, sort_keys=True, ensure_ascii=False)
    return hashlib.sha256(text.encode()).hexdigest()


def version_of(copy: Path) -> str | None:
    """The version of the lesson that a copy was made from; None where that cannot be told."""
    try:
        version = json.loads(copy.read_text(encoding="utf-8"))["metadata"]["checks"]["lesson"]
    except (OSError, ValueError, KeyError, TypeError):
        return None
    return version if isinstance(version, str) else None


def free_name(folder: Path, stem: str) -> Path:
    """A name under which nothing lies yet: the lesson's own, or one that says *new*."""
    names = (f"{stem}.ipynb", f"{stem}.new.ipynb")
    for name in names:
        if not (folder / name).exists():
            return folder / name
    number = 2
    while (folder / f"{stem}.new{number}.ipynb").exists():
        number += 1
    return folder / f"{stem}.new{number}.ipynb"


def write(target: Path, notebook: dict[str, Any], version: str) -> None:
    """Write a copy, and note in it which version of the lesson it is."""
    notebook["metadata"].setdefault("checks", {})["lesson"] = version
    whole.write(target, json.dumps(notebook, indent=1, ensure_ascii=False) + "\n")


def tell(done: Copied) -> None:
    """Say on the terminal what was copied."""
    if done.new:
        print(f"Copied to {FOLDER}: {', '.join(path.stem for path in done.new)}.")
    for path in done.beside:
        lesson = path.name.split(".")[0]
        print(f"There is a newer {lesson}: it lies beside yours, which is as you left it,")
        print(f"as {FOLDER}/{path.name}.")


def open_lab(course: Path, *, browser: bool, port: int | None, extra: list[str]) -> None:
    """Run JupyterLab on the learner's folder until it is stopped.

    The server's root is the course, not the learner's folder, or no lesson could show its images.
    """
    arguments = [
        f"--ServerApp.root_dir={course}",
        f"--LabApp.default_url=/lab/tree/{FOLDER}",
        "--log-level=WARN",  # or the server's greeting would hide what was just said
        *([] if browser else ["--no-browser"]),
        *([] if port is None else [f"--port={port}"]),
        *(["--allow-root"] if is_root() else []),
        *extra,
    ]
    # What a notebook starts with `!` is to come from this environment, activated or not.
    os.environ["PATH"] = os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]])
    os.chdir(course)
    with tempfile.TemporaryDirectory() as config:
        use_settings(Path(config))
        from jupyterlab.labapp import LabApp

        LabApp.launch_instance(arguments)


def use_settings(config: Path) -> None:
    """Give JupyterLab our defaults through a folder of their own, and leave the learner's alone."""
    (config / "labconfig").mkdir()
    settings = config / "labconfig/default_setting_overrides.json"
    settings.write_text(json.dumps(SETTINGS), encoding="utf-8")
    before = os.environ.get("JUPYTER_CONFIG_PATH")
    os.environ["JUPYTER_CONFIG_PATH"] = os.pathsep.join(filter(None, [str(config), before]))


def is_root() -> bool:
    """Whether this is the superuser, whom Jupyter turns away unless told otherwise."""
    return sys.platform != "win32" and os.geteuid() == 0
