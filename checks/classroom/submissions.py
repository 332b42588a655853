"""Find what was handed in: a folder for each student, a flat folder, or a zip from an LMS."""

from __future__ import annotations

import contextlib
import os
import re
import shutil
import stat
import zipfile
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path, PurePosixPath

from checks.classroom.lesson import Lesson
from checks.classroom.pairing import SubmissionError, cells_of, ids, load

_MOST_UNPACKED = 2 << 30


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
    for path in sorted(submitted.rglob("*.ipynb")):
        parts = path.relative_to(submitted).parts
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
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
    return submissions, notes


def _newness(path: Path) -> tuple[bool, float, str]:
    """Files before anything else, then by age."""
    about = path.lstat()
    return stat.S_ISREG(about.st_mode), about.st_mtime, str(path)


def _readable(name: str) -> str:
    """A file's name as text, also where it is none."""
    return os.fsencode(name).decode("utf-8", "backslashreplace")


def unpack(archive: Path, folder: Path) -> None:
    """Unpack the notebooks of a zip, and nothing that would land outside the folder.

    Raises:
        CollectError: it is no zip, or too large.
    """
    try:
        with zipfile.ZipFile(archive) as packed:
            entries = list(_notebooks(packed))
            if sum(entry.file_size for entry in entries) > _MOST_UNPACKED:
                raise CollectError(f"{archive.name} holds more than 2 GB of notebooks.")
            for entry in entries:
                target = folder.joinpath(*PurePosixPath(entry.filename).parts)
                target.parent.mkdir(parents=True, exist_ok=True)
                with packed.open(entry) as inside, target.open("wb") as outside:
                    shutil.copyfileobj(inside, outside)
                with contextlib.suppress(ValueError, OverflowError):
                    when = datetime(*entry.date_time).timestamp()
                    os.utime(target, (when, when))
    except (zipfile.BadZipFile, OSError, RuntimeError, zlib.error, EOFError) as error:
        raise CollectError(f"{archive.name} cannot be unpacked: {error}.") from error


def _notebooks(packed: zipfile.ZipFile) -> Iterator[zipfile.ZipInfo]:
    for entry in packed.infolist():
        name = PurePosixPath(entry.filename.replace("\\", "/"))
        link = stat.S_ISLNK(entry.external_attr >> 16)
        if (
            name.suffix == ".ipynb"
            and not link
            and not name.is_absolute()
            and ".." not in name.parts
        ):
            yield entry


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
