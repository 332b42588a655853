"""A lesson's one source, read into cells with roles, and the two notebooks that come of it.

A source is a MyST Markdown notebook. Everything here is a pure function of it: nothing is
executed, nothing is written. What is wrong with a source is a `LessonError`, which names the
file, the line and the cell.
"""

import re
import unicodedata
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from enum import StrEnum
from hashlib import sha256
from itertools import pairwise
from pathlib import Path
from typing import Any, NoReturn

import jupytext
import nbformat
from markdown_it import MarkdownIt

from checks.classroom import variants
from checks.classroom.cell import Cell, Role, answer_names, blank_names, check_label, prove

# Tags that may stand beside a role. `nbval-skip` is not among them: what never runs proves nothing.
OTHER_TAGS = frozenset({"nbval-ignore-output"})
DEMO_TAGS = OTHER_TAGS | {variants.TAG}

# The same in every notebook: what a kernel adds, such as Python's version, depends on the machine.
METADATA: dict[str, Any] = {
    "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
    "language_info": {
        "file_extension": ".py",
        "mimetype": "text/x-python",
        "name": "python",
        "pygments_lexer": "ipython3",
    },
}


class LessonError(ValueError):
    """A source that is no lesson; the message names the file, the line and the cell."""


class Version(StrEnum):
    """The two notebooks of a lesson, by the names that teachers know."""

    LEARNER = "learner's notebook"
    SOLUTION = "solution notebook"


@dataclass(frozen=True)
class Lesson:
    """All cells of one source, in order. `name` is the file's stem, "05_backpropagation"."""

    name: str
    cells: tuple[Cell, ...]


def read(path: Path) -> Lesson:
    """Read a lesson from its file. Raises LessonError."""
    if path.suffix == ".ipynb":
        source = f"notebooks/source/{path.stem}.md"
        raise LessonError(f"{path} is a notebook. Give the source of the lesson: {source}.")
    if not path.is_file():
        raise LessonError(
            f"There is no lesson at {path}. Expected: notebooks/source/05_backpropagation.md, say."
        )
    try:
        text = path.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise LessonError(f"{path.name}: this file is not UTF-8 ({error.reason}).") from error
    return parse(text, path.stem)


def parse(text: str, name: str) -> Lesson:
    """Read a lesson from the text of its source. Raises LessonError."""
    try:
        raw_cells = jupytext.reads(text, fmt="md:myst").cells
    except Exception as error:  # jupytext lets YAML's, markdown-it's and nbformat's errors through
        raise LessonError(f"{name}.md cannot be read as a MyST notebook: {error}") from error
    cells, end = [], 0
    for raw in raw_cells:
        source = raw.source.strip("\n")
        start = max(end, text.find(source, end))
        end = start + len(source)
        cells.append(_cell(raw, text.count("\n", 0, start) + 1, name))
    cells = list(_with_ids(_with_labels(cells, name), name))
    _prove_blanks(cells, name)
    return Lesson(name, tuple(cells))


def notebook(lesson: Lesson, version: Version) -> nbformat.NotebookNode:
    """Return one version of the lesson as a notebook that was never run: no outputs, no counts.

    With the nbgrader metadata (schema 3) that makes the solution notebook an nbgrader source and
    the learner's notebook an nbgrader release.
    """
    learner = version is Version.LEARNER
    root = "../" if learner else "../../"
    cells: list[dict[str, Any]] = []
    for cell in lesson.cells:
        shown: dict[str, Any]
        if cell.role is Role.TEXT:
            shown = {"source": _links(cell.source, root), "metadata": {}}
        else:
            shown = {
                "source": cell.blank if learner else cell.source,
                "metadata": _metadata(cell, learner),
                "outputs": [],
                "execution_count": None,
            }
        cells.append({"id": cell.id, "cell_type": cell.kind, **shown})
    built = {"nbformat": 4, "nbformat_minor": 5, "metadata": METADATA, "cells": cells}
    node: nbformat.NotebookNode = nbformat.from_dict(built)  # type: ignore[no-untyped-call]
    return node


def _fail(name: str, cell: Cell, problem: object) -> NoReturn:
    first = next(iter(cell.source.strip().splitlines()), "")
    raise LessonError(f"{name}.md, line {cell.line}, cell `{first}`: {problem}.")


def _cell(raw: Any, line: int, name: str) -> Cell:
    """Return one cell, proved to be what its role asks for, still without an id."""
    tags = tuple(raw.metadata.get("tags", ()))
    roles = [role for role in (Role.ANSWER, Role.CHECK, Role.RAISES) if role in tags]
    role = (roles or [Role.DEMO])[0] if raw.cell_type == "code" else Role.TEXT
    cell = Cell(role, raw.source.strip("\n"), line, tags=tags)
    if raw.cell_type == "raw":
        _fail(name, cell, "a lesson has code and text cells; this is a raw cell")
    if len(roles) > 1:
        _fail(name, cell, f"one role in a cell, not {' and '.join(roles)}")
    fields = {Role.TEXT: (), Role.CHECK: ("tags", "points")}.get(role, ("tags",))
    known = {Role.TEXT: frozenset[str](), Role.DEMO: DEMO_TAGS}.get(role, OTHER_TAGS | {*roles})
    unknown = [f for f in raw.metadata if f not in fields] or [t for t in tags if t not in known]
    if unknown:
        _fail(name, cell, f"`{unknown[0]}` means nothing on a {role} cell")
    if role is Role.CHECK:
        cell = replace(cell, points=raw.metadata.get("points", 1))
    try:
        prove(cell)
        return replace(cell, label=check_label(cell)) if role is Role.CHECK else cell
    except ValueError as error:
        _fail(name, cell, error)


def _with_labels(cells: list[Cell], name: str) -> list[Cell]:
    """Give each answer the label of the next check. No two checks have the same label."""
    labelled: list[Cell] = []
    seen: list[str] = []
    for cell in reversed(cells):
        if cell.role is Role.CHECK:
            if cell.label in seen:
                _fail(name, cell, f"a later check has the same label, {cell.label!r}")
            seen.append(cell.label)
        elif cell.role is Role.ANSWER:
            if not seen:
                _fail(name, cell, "no check follows this answer")
            cell = replace(cell, label=seen[-1])
        labelled.append(cell)
    return labelled[::-1]


def _prove_blanks(cells: list[Cell], name: str) -> None:
    """Prove that a check of a blank notebook meets `...`, or a function to be written."""
    blanks: set[str] = set()
    for cell in cells:
        if cell.role is Role.ANSWER:
            blanks.update(blank_names(cell))
        elif cell.role is Role.CHECK:
            for missing in (n for n in answer_names(cell) if n not in blanks):
                _fail(
                    name,
                    cell,
                    f"no answer cell before this check binds `{missing}` to `...`, outside its "
                    "solution",
                )


def _with_ids(cells: list[Cell], name: str) -> Iterator[Cell]:
    """Give each cell an id that does not change when a cell is put in under another heading.

    Answers and checks are called after their label, everything else after the nearest heading and
    its place below it. Headings are therefore unique within a lesson.
    """
    used: Counter[str] = Counter()
    headings: list[str] = []
    ids: set[str] = set()
    for cell in cells:
        own = _headings(cell.source) if cell.role is Role.TEXT else []
        headings.extend(own)
        for repeated in (heading for heading in own if headings.count(heading) > 1):
            _fail(name, cell, f"a second heading {repeated!r}; cell ids are made from headings")
        if cell.label:
            base = f"{cell.role}-{slug(cell.label)}"
        else:
            base = (own or headings[-1:] or ["start"])[0]
        used[base] += 1
        cell_id = base if cell.label and used[base] == 1 else f"{base}-{used[base]}"
        if cell_id in ids:
            _fail(name, cell, f"a second cell with the id {cell_id!r}; word the heading otherwise")
        ids.add(cell_id)
        yield replace(cell, id=cell_id)


def _headings(text: str) -> list[str]:
    tokens = MarkdownIt("commonmark").parse(text)
    return [slug(text.content) for token, text in pairwise(tokens) if token.type == "heading_open"]


def slug(text: str) -> str:
    """Return the text in letters, digits and hyphens, 58 at most: "∂loss/∂ŷ" is "loss-y"."""
    letters = unicodedata.normalize("NFKD", text).encode("ascii", "ignore").decode().lower()
    plain = re.sub(r"[^a-z0-9]+", "-", letters).strip("-")[:58]
    return plain or "h-" + sha256(text.encode()).hexdigest()[:8]


def _metadata(cell: Cell, learner: bool) -> dict[str, Any]:
    """Return the metadata of a code cell; in the learner's notebook a check cannot be edited."""
    check, answer = cell.role is Role.CHECK, cell.role is Role.ANSWER
    grader: dict[str, Any] = {
        "schema_version": 3,
        "grade_id": cell.id,
        "grade": check,
        "solution": answer,
        "locked": not answer,
        "task": False,
    }
    metadata: dict[str, Any] = {"nbgrader": grader}
    if check:
        grader["points"] = cell.points
    if learner and (check or answer):
        metadata["deletable"] = False
    if learner and check:
        metadata["editable"] = False
    if cell.tags:
        metadata["tags"] = list(cell.tags)
    return metadata


def _links(text: str, root: str) -> str:
    """Return the text with `../../`, the course's folder as a source sees it, as `root` in links.

    In Markdown (links, images, definitions) and in the `src` and `href` of raw HTML.
    """
    link = r"""(\]\(\s*<?|^ *\[[^\]]+\]:\s*<?|\b(?:src|href)\s*=\s*["']?)\.\./\.\./"""
    return re.sub(link, lambda found: found[1] + root, text, flags=re.MULTILINE)
