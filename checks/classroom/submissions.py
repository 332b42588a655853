"""Find what was handed in: a folder for each student, a flat folder, or a zip from an LMS."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import os
import re
import shutil
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from checks.classroom.lesson import Lesson
from checks.classroom.pairing import SubmissionError, cells_of, ids, load

_MOST_UNPACKED = 2 << 30
_NOTEBOOK = ".ipynb"
_LONGEST_NAME = 200  # bytes; a file system lets pass 255
_DEEPEST = 12  # folders in one another


class CollectError(ValueError):
    """A folder or zip that cannot be taken in; the text says why."""


@dataclass(frozen=True)
class Submission:
    """A notebook of a student; `lesson` is the lesson's name, "" where it cannot be told."""

    student: str
    lesson: str
    path: Path


def find(submitted: Path, lessons: Sequence[Lesson]) -> tuple[list[Submission], list[str]]:
    """List the submissions in a folder, in order; and what should be known of them.

    The layouts are `<student>/<assignment>/<notebook>.ipynb`, `<student>/<notebook>.ipynb`, and
    flat: `<student>_<anything>.ipynb` or `<student>.ipynb`. Of several notebooks in a student's
    folder for one lesson, the newest is taken. Where several flat files begin with one name, they
    may be of several students (`maria_lopez_05`, `maria_rossi_05`): each is marked under its whole
    name.

    Raises:
        CollectError: there is no such folder.
    """
    if not submitted.is_dir():
        raise CollectError(f"{submitted} is not a folder. Give the folder (or the zip) of all.")
    found: dict[tuple[str, str], list[Path]] = {}
    for path in sorted(submitted.rglob("*")):
        parts = path.relative_to(submitted).parts
        if path.suffix.lower() != _NOTEBOOK or not _shown(parts):
            continue
        student = _readable(parts[0] if len(parts) > 1 else path.stem.split("_")[0])
        found.setdefault((student, _lesson(path, parts, lessons)), []).append(path)
    submissions, notes = [], []
    for (student, lesson), paths in found.items():
        flat = [path for path in paths if path.parent == submitted]
        if len(flat) > 1:
            notes.append(f"{len(flat)} files begin with {student}_: each is marked by itself.")
            submissions += [Submission(_readable(path.stem), lesson, path) for path in flat]
            paths = [path for path in paths if path not in flat]
        if paths:
            newest = max(paths, key=_newness)
            submissions.append(Submission(student, lesson, newest))
            if len(paths) > 1:
                notes.append(f"{student}: of {len(paths)} notebooks, {newest.name} was taken.")
    taken = {path.relative_to(submitted).parts[0] for paths in found.values() for path in paths}
    return submissions, [*notes, *_without(submitted, taken)]


def _shown(parts: Sequence[str]) -> bool:
    """Whether a path is none that a system has put there for itself."""
    return not any(part.startswith(".") or part == "__MACOSX" for part in parts)


def _without(submitted: Path, taken: set[str]) -> Iterator[str]:
    """A sentence for each student of whom there is something, but no notebook."""
    for path in sorted(submitted.iterdir()):
        if path.name in taken or not _shown([path.name]):
            continue
        name = _readable(path.name)
        if path.is_dir():
            yield f"{name}: there is no notebook (*.ipynb) in this folder."
        else:
            yield f"{name}: this is no notebook (*.ipynb). It was left out."


def _newness(path: Path) -> tuple[bool, float, str]:
    """Files before anything else, then by age."""
    about = path.lstat()
    return stat.S_ISREG(about.st_mode), about.st_mtime, str(path)


def _readable(name: str) -> str:
    """A file's name as text, also where it is none."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def unpack(archive: Path, folder: Path) -> list[str]:
    """Unpack the notebooks of a zip, and nothing that would land outside the folder.

    One that cannot be unpacked is left empty, so that its student is not lost. Of a student who has
    handed in no notebook there is an empty folder.

    Returns:
        A sentence for each notebook that cannot be unpacked.

    Raises:
        CollectError: it is no zip, or too large, or there is no room.
    """
    problems = []
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = list(_notebooks(packed))
            if sum(entry.file_size for entry in entries) > _MOST_UNPACKED:
                raise CollectError(f"{archive.name} holds more than 2 GB of notebooks.")
            for entry in entries:
                target = _target(entry, folder)
                try:
                    with packed.open(entry) as inside, target.open("wb") as outside:
                        shutil.copyfileobj(inside, outside)
                except Exception as error:  # one that is broken may raise anything
                    if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                        raise
                    target.write_bytes(b"")
                    why = str(error) or type(error).__name__
                    problems.append(f"{entry.filename[:200]} cannot be unpacked: {why[:200]}.")
                with contextlib.suppress(ValueError, OverflowError):
                    when = datetime(*entry.date_time).timestamp()
                    os.utime(target, (when, when))
            for name in {entry.filename.partition("/")[0] for entry in _others(packed)}:
                with contextlib.suppress(OSError):  # there may be a file of that name
                    (folder / _short(name)).mkdir(exist_ok=True)
    except (zipfile.BadZipFile, OSError, RuntimeError, ValueError) as error:
        if isinstance(error, CollectError):
            raise
        raise CollectError(f"{archive.name} cannot be unpacked: {error}.") from error
    return problems


def _target(entry: zipfile.ZipInfo, folder: Path) -> Path:
    """Where a notebook of a zip is written: by its name, or one like it where that cannot be."""
    parts = PurePosixPath(entry.filename).parts
    mark = hashlib.sha256(entry.filename.encode("utf-8", "replace")).hexdigest()[:8]
    if len(parts) > _DEEPEST:
        parts = parts[0], mark, parts[-1]
    target = folder.joinpath(*map(_short, parts))
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        if not target.is_dir():
            return target
    except OSError:  # what is to be a folder is a file already
        pass
    target = folder / _short(f"{PurePosixPath(parts[0]).stem}-{mark}") / _short(parts[-1])
    target.parent.mkdir(exist_ok=True)
    return target


def _short(name: str) -> str:
    """A name that a file can have, and that ends as before."""
    data = os.fsencode(name)
    if len(data) <= _LONGEST_NAME:
        return name
    end = _NOTEBOOK if name.lower().endswith(_NOTEBOOK) else ""
    start = data[:_LONGEST_NAME].decode("utf-8", "ignore")
    return f"{start}-{hashlib.sha256(data).hexdigest()[:8]}{end}"


def _notebooks(packed: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    for entry in packed.infolist():
        name = PurePosixPath(entry.filename)
        if name.suffix.lower() == _NOTEBOOK and not entry.is_dir() and _is_inside(entry):
            yield entry


def _others(packed: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    """What else lies in folders."""
    for entry in packed.infolist():
        if "/" in entry.filename and _is_inside(entry):
            yield entry


def _is_inside(entry: zipfile.ZipInfo) -> bool:
    """Whether an entry is no link, and leads nowhere else."""
    name = PurePosixPath(entry.filename.replace("\\", "/"))
    link = stat.S_ISLNK(entry.external_attr >> 16)
    return not link and not name.is_absolute() and ".." not in name.parts


def _lesson(path: Path, parts: Sequence[str], lessons: Sequence[Lesson]) -> str:
    """The lesson that a path names: by its whole name, else by its number, else by its cells."""
    for part in reversed(parts):
        for lesson in lessons:
            if lesson.name in part:
                return lesson.name
    if len(lessons) == 1:
        return lessons[0].name
    for part in reversed(parts):
        for lesson in lessons:
            number = lesson.name.split("_")[0]
            if re.search(rf"(?<!\d){re.escape(number)}(?!\d)", part):
                return lesson.name
    try:
        inside = {name for cell in cells_of(load(path)) for name in ids(cell)}
    except SubmissionError:
        return ""
    known = {lesson.name: len(inside & {cell.id for cell in lesson.cells}) for lesson in lessons}
    best = max(known, key=lambda name: known[name], default="")
    return best if known.get(best) else ""
