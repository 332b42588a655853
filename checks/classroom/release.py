"""`checks release`: the learner's version of a lesson, in one file that needs no other.

Without outputs, or *predict first* would be spoilt; with its figures inside, and with the points
written above each exercise. With a roster each learner gets other numbers (see `variants`), which
costs the marking nothing: what is right is computed.
"""

import base64
import csv
import re
import unicodedata
from collections import Counter
from collections.abc import Collection, Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path

import nbformat

from checks.classroom import variants
from checks.classroom.cell import Cell, Role
from checks.classroom.lesson import Lesson, LessonError, Version, notebook, read
from checks.classroom.names import safe_name
from checks.classroom.taint import leaks

STUDENT_COLUMNS = ("student", "student_id")
MEDIA = {
    ".gif": "image/gif",
    ".jpeg": "image/jpeg",
    ".jpg": "image/jpeg",
    ".png": "image/png",
    ".svg": "image/svg+xml",
    ".webp": "image/webp",
}

# A target without a scheme, and not a place in the same cell: a file beside the source.
_LOCAL = r"(?![a-zA-Z][a-zA-Z0-9+.-]*:|#|//)"
_TARGET = rf"\(\s*<?{_LOCAL}(?P<target>[^)\s<>]+)>?\s*(?:[\"'](?P<title>[^\"']*)[\"']\s*)?\)"
_IMAGE = re.compile(rf"!\[(?P<alt>(?:[^\]\\]|\\.)*)\]{_TARGET}")
_LINK = re.compile(rf"(?<!!)\[(?P<text>(?:[^\[\]\\]|\\.)*)\]{_TARGET}")
_DEFINITION = re.compile(rf"(?P<before>^ *\[[^\]]+\]:\s*){_LOCAL}(?P<target>\S+)", re.MULTILINE)
_HTML_IMAGE = re.compile(rf"(?P<before><img\b[^>]*?\bsrc\s*=\s*[\"']){_LOCAL}(?P<target>[^\"']+)")
# Code and formulas, in which brackets are no links.
_VERBATIM = re.compile(r"(```.*?```|`[^`\n]*`|\$\$.*?\$\$|\$[^$\n]+\$)", re.DOTALL)


class RosterError(ValueError):
    """A roster that cannot be used; the message says why."""


@dataclass(frozen=True)
class Released:
    """A notebook that was written."""

    path: Path
    exercises: int
    points: float


def release(sources: Sequence[Path], to: Path, students: Sequence[str] = ()) -> list[Released]:
    """Write the learner's version of each source; with students, one for each of them.

    `to/NN_name.ipynb`, or `to/student/NN_name.ipynb`. Nothing is written unless all sources are
    sound.

    Raises:
        LessonError: a source is no lesson, lacks a figure, or has nothing that varies.
        OSError: a file cannot be read or written.
    """
    from checks.classroom.build import serialise, write

    lessons = {source: _sound(source, vary=bool(students)) for source in sources}
    names = {lesson.name for lesson in lessons.values()}
    done = []
    for source, lesson in lessons.items():
        for student in students or [""]:
            one = varied(lesson, student) if student else lesson
            built = learners_notebook(one, source.parent, names)
            if student:
                built.metadata["checks"] = {"variant": student}
            target = to / safe_name(student) if student else to
            target.mkdir(parents=True, exist_ok=True)
            write(target / f"{lesson.name}.ipynb", serialise(built))
            checks = [cell for cell in one.cells if cell.role is Role.CHECK]
            points = sum(cell.points for cell in checks)
            done.append(Released(target / f"{lesson.name}.ipynb", len(checks), points))
    return done


def varied(lesson: Lesson, student: str) -> Lesson:
    """Return the lesson with the numbers of one student: the same ones each time.

    They are made from the student's id and the lesson's name, so that the marking can make them
    again and need not believe what the notebook says.
    """
    seed = normal(student)
    cells = (
        replace(cell, source=variants.vary(cell.source, f"{seed}\n{lesson.name}\n{cell.id}"))
        if variants.TAG in cell.tags
        else cell
        for cell in lesson.cells
    )
    return Lesson(lesson.name, tuple(cells))


def varies(lesson: Lesson) -> bool:
    """Whether there is something in a lesson that can be other for each student."""
    return any(variants.TAG in cell.tags for cell in lesson.cells)


def normal(student: str) -> str:
    """A name that may be written in several ways, in one."""
    return unicodedata.normalize("NFC", student.strip())


def by_name(students: Sequence[str]) -> dict[str, str]:
    """The students of a roster by all their names: their own, and that of the released folder."""
    return {name: student for student in students for name in (normal(student), safe_name(student))}


def roster(path: Path) -> list[str]:
    """Read the students' ids from a CSV file: column `student` or `student_id`, or the only one.

    Raises:
        RosterError: there is no such column, nobody in it, or somebody twice.
        OSError: the file cannot be read.
    """
    if not path.is_file():
        raise RosterError(f"There is no roster at {path}.")
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except UnicodeDecodeError as error:
        raise RosterError(f"{path.name} is not UTF-8. Save it as “CSV UTF-8”.") from error
    delimiter = max(",;\t", key=(lines or [""])[0].count)
    rows = [row for row in csv.reader(lines, delimiter=delimiter) if any(map(str.strip, row))]
    header = [name.strip().lower() for name in (rows or [[]])[0]]
    column = next((header.index(name) for name in STUDENT_COLUMNS if name in header), None)
    if column is None and any(len(row) > 1 for row in rows):
        raise RosterError(f"{path.name} has no column `student` or `student_id`.")
    if column is None and header[:1] and header[0] in ("name", "names", "id", "students"):
        raise RosterError(f"The column of {path.name} is called `{header[0]}`, and not `student`.")
    rows = rows if column is None else rows[1:]
    students = [row[column or 0].strip() for row in rows if len(row) > (column or 0)]
    students = [student for student in students if student]
    if not students:
        raise RosterError(f"There are no students in {path.name}.")
    student, times = Counter(students).most_common(1)[0]
    if times > 1:
        raise RosterError(f"{student} stands {times} times in {path.name}.")
    return students


def learners_notebook(
    lesson: Lesson, folder: Path, beside: Collection[str] = ()
) -> nbformat.NotebookNode:
    """Return the learner's notebook, with figures and points in it, never run.

    Args:
        lesson: the lesson.
        folder: where its source stands; figures are found from there.
        beside: the names of the lessons that are released with it; links to others lead nowhere,
            and become plain text.

    Raises:
        LessonError: a figure is not there.
    """
    built = notebook(lesson, Version.LEARNER)
    texts = _with_points(lesson.cells)
    for cell, shown in zip(lesson.cells, built.cells, strict=True):
        if cell.role is Role.TEXT:
            try:
                shown.source = _links(_figures(texts[cell.id], folder), beside)
            except OSError as error:
                problem = f"a figure cannot be read: {error}"
                raise LessonError(f"{lesson.name}.md, line {cell.line}: {problem}.") from error
    return built


def _sound(source: Path, *, vary: bool) -> Lesson:
    lesson = read(source)
    for problem in leaks(lesson.cells):
        raise LessonError(f"{source.name}, {problem}.")
    if vary and not varies(lesson):
        raise LessonError(
            f"{source.name} has no cell with the tag `{variants.TAG}`, so there is nothing in it "
            "that could be other for each learner. Release it without --variants."
        )
    learners_notebook(lesson, source.parent)  # a figure that is missing is told before all others
    return lesson


# -- points ----------------------------------------------------------------------------------------


def _with_points(cells: Sequence[Cell]) -> dict[str, str]:
    """Return the texts by id, with the points of each exercise below its heading, and their sum."""
    texts = {cell.id: cell.source for cell in cells if cell.role is Role.TEXT}
    checks = [cell for cell in cells if cell.role is Role.CHECK]
    for check in checks:
        above = [cell.id for cell in cells[: cells.index(check)] if cell.id in texts]
        heading = rf"^#+ .*(?<![\w.]){re.escape(check.label)}(?!\w|\.\w).*$"
        for id_ in reversed(above):
            if found := re.search(heading, texts[id_], re.MULTILINE):
                texts[id_] = _after(found, f"**Points:** {check.points:g}")
                break
        else:
            if above:
                texts[above[-1]] += f"\n\n**Points for {check.label}:** {check.points:g}"
    title = re.match(r"# .*|", next(iter(texts.values()), ""))
    if checks and title:
        total = sum(check.points for check in checks)
        texts[next(iter(texts))] = _after(title, f"**Points:** {total:g} in all")
    return texts


def _after(found: re.Match[str], line: str) -> str:
    """Return the text of a match with a paragraph put in after the match."""
    parts = (found.string[: found.end()], line, found.string[found.end() :])
    return "\n\n".join(part.strip("\n") for part in parts if part)


# -- figures and links -----------------------------------------------------------------------------


def _figures(text: str, folder: Path) -> str:
    """Put the figures themselves in the place of links to them.

    As data in an <img>: JupyterLab shows no SVG from a cell's attachments, and VS Code none from
    data in Markdown's own syntax.
    """

    def image(found: re.Match[str]) -> str:
        alt = _attribute(re.sub(r"\\([!-/:-@\[-`{-~])", r"\1", found["alt"]))
        title = f' title="{_attribute(found["title"])}"' if found["title"] else ""
        return f'<img alt="{alt}"{title} src="{_data(folder / found["target"])}">'

    def elsewhere(found: re.Match[str]) -> str:
        figure = folder / found["target"]
        return found["before"] + _data(figure) if figure.suffix.lower() in MEDIA else found[0]

    return _IMAGE.sub(image, _DEFINITION.sub(elsewhere, _HTML_IMAGE.sub(elsewhere, text)))


def _attribute(text: str) -> str:
    """Quote text for HTML; a dollar would begin a formula, also there."""
    return escape(text).replace("$", "&#36;")


def _data(figure: Path) -> str:
    kind = MEDIA.get(figure.suffix.lower())
    if kind is None:
        raise OSError(f"{figure.name} is none of {', '.join(MEDIA)}")
    return f"data:{kind};base64,{base64.b64encode(figure.read_bytes()).decode('ascii')}"


def _links(text: str, beside: Collection[str]) -> str:
    """Leave the text alone of a link to a file that is not handed out."""
    there = {f"{name}.ipynb" for name in beside}
    parts = _VERBATIM.split(text)
    parts[::2] = [
        _LINK.sub(lambda m: m[0] if m["target"] in there else m["text"], part)
        for part in parts[::2]
    ]
    return "".join(parts)
