"""`checks collect`: the students' notebooks out of their own folders, on a machine they share.

Root reads here what students have written, and they can change it at any moment. So a path is
walked one folder at a time, each opened inside the one before, and no link is followed: what is
read lies in the student's folder, whatever is swapped meanwhile.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath

from checks.classroom.pairing import MOST_BYTES

_FOLDER = getattr(os, "O_DIRECTORY", 0)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_AT_ONCE = getattr(os, "O_NONBLOCK", 0)  # a named pipe would wait for a writer


class CollectingError(ValueError):
    """Why nothing can be collected, in words for the teacher."""


class _Refused(Exception):
    """Why one notebook was not taken."""


@dataclass
class Collected:
    """How it went: the notebooks written, who has which not, and what was refused and why."""

    written: list[Path] = field(default_factory=list)
    missing: dict[PurePosixPath, list[str]] = field(default_factory=dict)
    refused: list[str] = field(default_factory=list)


def collect(homes: Path, notebooks: Sequence[PurePosixPath], to: Path) -> Collected:
    """Copy `homes/STUDENT/notebook` to `to/STUDENT/notebook`, for every student.

    What is written belongs to whoever owns `to` and can be read by nobody else. What was collected
    before is replaced, and stays where there is nothing new.

    Raises:
        CollectingError: this system cannot, there are no such homes, or a path leads elsewhere.
        OSError: `to` cannot be written.
    """
    if not (_FOLDER and _NO_LINK and os.open in os.supports_dir_fd):
        raise CollectingError("Collecting needs Linux or macOS.")
    if not homes.is_dir():
        raise CollectingError(f"{homes} is not a folder. Give the folder that holds all homes.")
    for notebook in notebooks:
        if notebook.is_absolute() or ".." in notebook.parts or notebook.suffix != ".ipynb":
            raise CollectingError(
                f"{notebook} is no notebook in a student's home: give it as course/05_name.ipynb."
            )
    done = Collected(missing={notebook: [] for notebook in notebooks})
    for home in sorted(homes.iterdir()):
        if home.name.startswith(".") or not home.is_dir():
            continue
        for notebook in notebooks:
            try:
                data, when = _read(home, notebook)
            except FileNotFoundError:
                done.missing[notebook].append(home.name)
            except (_Refused, OSError) as problem:
                why = _why(problem)
                done.refused.append(f"{home.name}: {notebook} was not collected. {why}")
            else:
                done.written.append(_write(to, PurePosixPath(home.name, notebook), data, when))
    return done


def _read(home: Path, notebook: PurePosixPath) -> tuple[bytes, float]:
    """Return what the file holds, and when it was changed."""
    with _open(home, notebook) as (folder, opened):
        about = os.fstat(opened)
        if not stat.S_ISREG(about.st_mode):
            raise _Refused("It is not a file.")
        if about.st_uid != os.fstat(folder).st_uid:  # a second name for another student's file
            raise _Refused("It belongs to somebody else than the folder it lies in.")
        with os.fdopen(opened, "rb", closefd=False) as file:
            data = file.read(MOST_BYTES + 1)  # it may grow while it is read
    if len(data) > MOST_BYTES:
        raise _Refused(f"It is larger than {MOST_BYTES >> 20} MB.")
    return data, about.st_mtime


@contextmanager
def _open(home: Path, notebook: PurePosixPath) -> Iterator[tuple[int, int]]:
    """Open a file below a home, without a link on the way: the folder it lies in, and the file."""
    with ExitStack() as opened:
        inner = os.open(home, os.O_RDONLY | _FOLDER)
        opened.callback(os.close, inner)
        last = len(notebook.parts) - 1
        for number, part in enumerate(notebook.parts):
            folder, wanted = inner, _AT_ONCE if number == last else _FOLDER
            try:
                inner = os.open(part, os.O_RDONLY | _NO_LINK | wanted, dir_fd=folder)
            except OSError as problem:
                if _is_link(part, folder):
                    raise _Refused(f"{part} is a link, and links are not followed.") from problem
                raise
            opened.callback(os.close, inner)
        yield folder, inner


def _why(problem: _Refused | OSError) -> str:
    if isinstance(problem, PermissionError):
        return "You may not read it: collecting is for root (sudo)."
    return str(problem) if isinstance(problem, _Refused) else f"{problem.strerror}."


def _is_link(name: str, folder: int) -> bool:
    try:
        return stat.S_ISLNK(os.lstat(name, dir_fd=folder).st_mode)
    except OSError:
        return False


def _write(to: Path, path: PurePosixPath, data: bytes, when: float) -> Path:
    """Write the file whole or not at all, for the owner of `to` alone."""
    _make(to)
    folder = to
    for part in path.parts[:-1]:
        folder = folder / part
        _make(folder)
    half = folder / f".{path.name}.half"
    half.unlink(missing_ok=True)
    number = os.open(half, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    with os.fdopen(number, "wb") as file:
        file.write(data)
    os.utime(half, (when, when))
    _give(half, folder)
    half.replace(folder / path.name)
    return folder / path.name


def _make(folder: Path) -> None:
    if not folder.exists():
        folder.mkdir(mode=0o700)
        _give(folder, folder.parent)


def _give(path: Path, like: Path) -> None:
    """Let root's new file belong to whoever owns the folder it lies in."""
    if os.geteuid() == 0:
        owner = like.stat()
        os.chown(path, owner.st_uid, owner.st_gid)
