"""The table of what this learner has solved: lesson by lesson, with a bar, and as text."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks import launch, marks
from checks.verdict import inline

ELSEWHERE = (
    f"Progress is kept for notebooks in {launch.FOLDER}, the folder that `make lab` opens. "
    "This notebook is not there."
)
BAR = 10
LESSON = re.compile(r"(\d\d)_.*\.ipynb")
TITLE = re.compile(r"^# +(?:\d+ *· *)?(.+)$", re.MULTILINE)
LABEL = re.compile(r"""^\s*checks\.\w+\(\s*(["'])([A-Za-z0-9.]+)\1\s*,""", re.MULTILINE)


@dataclass
class Lesson:
    """What the notebooks of one lesson ask for, all versions and copies of it together."""

    number: str
    title: str = ""
    exercises: dict[str, None] = field(default_factory=dict)  # labels, in the order of the lesson


@dataclass(frozen=True)
class Row:
    """One lesson: the labels of its exercises, and which of them are solved."""

    lesson: str
    title: str
    exercises: tuple[str, ...]
    solved: frozenset[str]

    @property
    def count(self) -> str:
        """How many exercises are solved, such as "3 of 11"."""
        return f"{len(self.solved)} of {len(self.exercises)}"

    @property
    def left(self) -> str:
        """What is left to do, in words."""
        if not self.solved:
            return "not begun"
        left = [label for label in self.exercises if label not in self.solved]
        return f"open: {', '.join(left)}" if left else "all solved"

    @property
    def filled(self) -> int:
        """How much of the bar is filled: the end only when all is solved, none only at nothing."""
        return max(1, BAR * len(self.solved) // len(self.exercises)) if self.solved else 0


@dataclass(frozen=True)
class Progress:
    """What `checks.progress()` shows: a row for each lesson, and notes, with code in backticks."""

    rows: tuple[Row, ...]
    notes: tuple[str, ...] = ()

    @property
    def headline(self) -> str:
        """How many exercises of all are solved."""
        solved = sum(len(row.solved) for row in self.rows)
        total = sum(len(row.exercises) for row in self.rows)
        return f"Your progress: {solved} of {total} exercises solved"

    def __str__(self) -> str:
        lines = []
        if self.rows:
            title = max(len(row.title) for row in self.rows)
            count = max(len(row.count) for row in self.rows)
            lines = [
                self.headline,
                *(
                    f"  {row.lesson}  {row.title:{title}}  {_signs(row.filled)}  "
                    f"{row.count:>{count}}  {row.left}"
                    for row in self.rows
                ),
            ]
        return "\n".join([*lines, *self.notes])

    __repr__ = __str__

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._html()}

    def _html(self) -> str:
        table = ""
        if self.rows:
            heads = "".join(
                f'<th scope="col" style="{_LEFT}">{head}</th>'
                for head in ("Lesson", "Solved", "Still to do")
            )
            table = (
                f'<table style="margin: 4px 0"><caption style="{_LEFT}; font-weight: bold; '
                f'color: inherit">{self.headline}</caption><thead><tr>{heads}</tr></thead>'
                f"<tbody>{''.join(map(_html_row, self.rows))}</tbody></table>"
            )
        notes = "".join(f"<div>{inline(note)}</div>" for note in self.notes)
        return f'<div style="{_PLAIN}">{table}{notes}</div>'


def progress(*, start_over: str | int | None = None) -> Progress:
    """Show which exercises have been solved, lesson by lesson.

    Args:
        start_over: the number of a lesson, such as "05", whose exercises are to count as not solved
            again. What is written in the notebook stays as it is.
    """
    kept = marks.here()
    if kept is None:
        return Progress((), (ELSEWHERE,))
    lessons, notes = _lessons(kept.folder)
    if start_over is not None:
        notes.append(_start_over(kept, lessons, start_over))
    solved = kept.solved()
    rows = [
        Row(one.number, one.title, tuple(one.exercises), solved.intersection(one.exercises))
        for one in lessons
    ]
    if not rows:
        notes.append(f"There are no lessons in {launch.FOLDER}: `make lab` copies them there.")
    return Progress(tuple(rows), (*notes, *kept.news()))


def _start_over(kept: marks.Marks, lessons: list[Lesson], asked: object) -> str:
    """Forget what was solved in one lesson, and say so."""
    try:
        number = re.fullmatch(r"(\d{1,9})(_.*)?", str(asked).strip())
    except Exception:  # it cannot be written, as a number of thousands of digits
        number = None
    found = [one for one in lessons if number and int(one.number) == int(number[1])]
    if not found:
        there = ", ".join(f'"{one.number}"' for one in lessons) or "none"
        return f"No lesson was started over: choose one of {there}."
    labels = kept.solved().intersection(found[0].exercises)
    if not kept.remove(labels):
        return f"Lesson {found[0].number} could not be started over."
    return f"Lesson {found[0].number} starts over. Solved before, and to be solved again: " + (
        f"{', '.join(label for label in found[0].exercises if label in labels) or 'nothing'}."
    )


def _lessons(folder: Path) -> tuple[list[Lesson], list[str]]:
    """The lessons in the learner's folder that have exercises, and what could not be read."""
    lessons: dict[str, Lesson] = {}
    notes = []
    for path in sorted(folder.glob("*.ipynb")):
        named = LESSON.fullmatch(path.name)
        if not named:
            continue
        lesson = lessons.setdefault(named[1], Lesson(named[1]))
        try:
            cells = json.loads(path.read_bytes())["cells"]
            lesson.title = lesson.title or _title(cells)
            lesson.exercises.update(dict.fromkeys(_labels(cells)))
        except (OSError, ValueError, LookupError, TypeError, AttributeError, RecursionError):
            notes.append(f"`{path.name}` cannot be read, so its exercises are not counted.")
    return [one for one in lessons.values() if one.exercises], notes


def _title(cells: list[dict[str, Any]]) -> str:
    """The first heading, without the lesson's number."""
    for cell in cells:
        if cell["cell_type"] == "markdown" and (found := TITLE.search("".join(cell["source"]))):
            return found[1].strip()
    return ""


def _labels(cells: list[dict[str, Any]]) -> Iterator[str]:
    """The labels of all checks, read from the cells that the lesson marks as checks.

    Where the marks were lost, every code cell may be one.
    """
    code = [cell for cell in cells if cell["cell_type"] == "code"]
    for cell in [cell for cell in code if _is_check(cell.get("metadata", {}))] or code:
        yield from (found[2] for found in LABEL.finditer("".join(cell["source"])))


def _is_check(metadata: dict[str, Any]) -> bool:
    return "check" in metadata.get("tags", []) or metadata.get("nbgrader", {}).get("grade") is True


def _signs(filled: int) -> str:
    return "█" * filled + "░" * (BAR - filled)


_LEFT = "text-align: left"
_PLAIN = "color: var(--jp-content-font-color1, inherit); line-height: 1.5"
_TRACK = (
    "display: inline-block; vertical-align: middle; width: 100px; height: 10px; "
    "margin-right: 8px; border: 1px solid currentColor"
)
_FILL = "display: block; height: 100%; background: var(--jp-success-color1, #2e7d32)"


def _html_row(row: Row) -> str:
    # The count stands beside the bar: nobody has to see the bar or its colour.
    bar = (
        f'<span aria-hidden="true" style="{_TRACK}">'
        f'<span style="{_FILL}; width: {100 * row.filled // BAR}%"></span></span>'
    )
    return (
        f'<tr><th scope="row" style="{_LEFT}">{row.lesson} · {html.escape(row.title)}</th>'
        f'<td style="{_LEFT}; white-space: nowrap">{bar}{row.count}</td>'
        f'<td style="{_LEFT}">{html.escape(row.left)}</td></tr>'
    )
