"""Find what was handed in: a folder for each student, a flat folder, or a zip from an LMS."""

from __future__ import annotations

import re
import stat
import zipfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from checks.classroom.lesson import Lesson

_MOST_UNPACKED = 2 << 30


class CollectError(ValueError):
    """A folder or zip that cannot be taken in; the text says why."""


@dataclass(frozen=True)
class Submission:
    """A notebook of a student; `lesson` is the lesson's name, "" where it cannot be told."""

    student: str
    lesson: str
    path: Path


def find(submitted: Path, lessons: Sequence[Lesson]) -> list[Submission]:
    """List the submissions in a folder, in order.

    The layouts are `<student>/<assignment>/<notebook>.ipynb`, `<student>/<notebook>.ipynb`, and
    flat: `<student>_<anything>.ipynb` or `<student>.ipynb`. Of several notebooks of one student for
    one lesson, the newest is taken.

    Raises:
        CollectError: there is no such folder.
    """
    if not submitted.is_dir():
        raise CollectError(f"{submitted} is not a folder. Give the folder (or the zip) of all.")
    found: dict[tuple[str, str], Submission] = {}
    for path in sorted(submitted.rglob("*.ipynb")):
        parts = path.relative_to(submitted).parts
        if any(part.startswith(".") or part == "__MACOSX" for part in parts):
            continue
        student = parts[0] if len(parts) > 1 else re.split(r"[_.]", path.stem, maxsplit=1)[0]
        one = Submission(student, _lesson(parts, lessons), path)
        known = found.get((student, one.lesson))
        if known is None or path.lstat().st_mtime > known.path.lstat().st_mtime:
            found[student, one.lesson] = one
    return list(found.values())


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
                target.write_bytes(packed.read(entry))
    except (zipfile.BadZipFile, OSError, RuntimeError) as error:
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


def _lesson(parts: Sequence[str], lessons: Sequence[Lesson]) -> str:
    """The lesson that a path names: by its whole name, else by its number; the only one, if one."""
    for part in reversed(parts):
        for lesson in lessons:
            if lesson.name in part:
                return lesson.name
    for part in reversed(parts):
        for lesson in lessons:
            number = lesson.name.split("_")[0]
            if re.search(rf"(?<!\d){re.escape(number)}(?!\d)", part):
                return lesson.name
    return lessons[0].name if len(lessons) == 1 else ""
