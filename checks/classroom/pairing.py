"""What a student handed in, paired with the exercises of the teacher's source.

Only the code of answer cells is taken from a submission; everything else comes from the source. A
notebook may come back with cells copied, deleted, moved or renamed, and with its metadata lost.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks.classroom.cell import Cell, Role

MOST_BYTES = 20 << 20


class SubmissionError(ValueError):
    """A file that cannot be marked; the text says why, for the teacher and the student."""


@dataclass(frozen=True)
class Handed:
    """The learner's code for each answer cell of the source (by id), and what was odd."""

    typed: Mapping[str, str]
    notes: Sequence[str]
    flags: Mapping[str, Sequence[str]] = field(default_factory=dict)


@dataclass(frozen=True)
class _Typed:
    """One code cell of a submission."""

    ids: tuple[str, ...]
    code: str


def load(path: Path) -> list[dict[str, Any]]:
    """Read the cells of a submitted notebook, without any library that could stumble over it.

    Raises:
        SubmissionError: it is too large, or not a notebook.
    """
    if not path.is_file() or path.is_symlink():
        raise SubmissionError("This is not a file.")
    if path.stat().st_size > MOST_BYTES:
        raise SubmissionError(f"The file is larger than {MOST_BYTES >> 20} MB.")
    try:
        notebook = json.loads(path.read_bytes())
        cells = notebook["cells"]
        assert isinstance(cells, list)
    except (ValueError, KeyError, TypeError, AssertionError, RecursionError) as error:
        raise SubmissionError("This is not a Jupyter notebook (version 4).") from error
    return [cell for cell in cells if isinstance(cell, dict)]


def pair(cells: Sequence[Mapping[str, Any]], source: Sequence[Cell]) -> Handed:
    """Find the learner's code for each answer cell of the source."""
    typed = [_Typed(tuple(_ids(cell)), _code(cell)) for cell in cells if _is_code(cell)]
    by_id: dict[str, list[str]] = {}
    for cell in typed:
        for name in dict.fromkeys(cell.ids):
            by_id.setdefault(name, []).append(cell.code)
    found, notes = {}, []
    for answer in (cell for cell in source if cell.role is Role.ANSWER):
        copies = by_id.get(answer.id, [])
        code = _best(copies, answer)
        if code is None:
            code = _before_check(typed, answer)
            if code is not None:
                notes.append(f"{answer.label}: the answer cell was found by its check alone.")
        if len(set(copies)) > 1:
            notes.append(f"{answer.label}: there are copies of the answer cell; one was taken.")
        if code is None:
            notes.append(f"{answer.label}: the answer cell is not there.")
        found[answer.id] = answer.blank if code is None else code
    flags = {id_: list(_autograd(code)) for id_, code in found.items()}
    return Handed(found, notes, {id_: told for id_, told in flags.items() if told})


def _best(copies: Sequence[str], answer: Cell) -> str | None:
    """Of several copies the first that is not blank."""
    filled = [code for code in copies if code.strip() != answer.blank.strip()]
    return next(iter([*filled, *copies]), None)


def _before_check(typed: Sequence[_Typed], answer: Cell) -> str | None:
    """The nearest cell above the check of an exercise that binds a name of the answer."""
    pattern = re.compile(rf"checks\.\w+\(\s*[\"']{re.escape(answer.label)}[\"']")
    names = [re.escape(name) for name in re.findall(r"^(?:def )?(\w+)", answer.blank, re.M)]
    binds = re.compile(rf"^(?:def\s+)?(?:{'|'.join(names) or '$'})\b", re.M)
    for number, cell in enumerate(typed):
        if pattern.search(cell.code):
            above = (c.code for c in reversed(typed[:number]) if binds.search(c.code))
            return next(above, None)
    return None


def _ids(cell: Mapping[str, Any]) -> Iterator[str]:
    if isinstance(cell.get("id"), str):
        yield cell["id"]
    metadata = cell.get("metadata")
    grader = metadata.get("nbgrader") if isinstance(metadata, dict) else None
    if isinstance(grader, dict) and isinstance(grader.get("grade_id"), str):
        yield grader["grade_id"]


def _is_code(cell: Mapping[str, Any]) -> bool:
    return cell.get("cell_type") == "code"


def _code(cell: Mapping[str, Any]) -> str:
    source = cell.get("source", "")
    if isinstance(source, list):
        source = "".join(line for line in source if isinstance(line, str))
    return source if isinstance(source, str) else ""


_ENGINE = {"backward", "grad", "vjp", "jvp", "jacobian", "jacrev", "jacfwd", "vjp_fn", "hessian"}


def _autograd(code: str) -> Iterator[str]:
    """Where an answer asks autograd: for the teacher to look at, not a fault by itself."""
    try:
        nodes = list(ast.walk(ast.parse(code)))
    except (SyntaxError, ValueError, RecursionError, MemoryError):
        return
    used = {node.attr for node in nodes if isinstance(node, ast.Attribute)}
    used |= {alias.name for n in nodes if isinstance(n, ast.ImportFrom) for alias in n.names}
    for name in sorted(used & _ENGINE):
        yield f"uses `{name}`, which asks autograd"
