"""What a student handed in, paired with the exercises of the teacher's source.

Only the code of answer cells is taken from a submission; everything else comes from the source. A
notebook may come back with cells copied, deleted, moved or renamed, and with its metadata lost.
"""

from __future__ import annotations

import json
import re
import stat
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from checks.classroom.cell import Cell, Role, blank_names

MOST_BYTES = 20 << 20
NONE_FOUND = "No answer cell of this lesson is in it. Is it the notebook of another lesson?"
_NO_NOTEBOOK = "This is not a Jupyter notebook (version 4)."


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


def load(path: Path) -> bytes:
    """Read the file of a submitted notebook.

    Raises:
        SubmissionError: it is no file, too large, or cannot be read.
    """
    try:
        if not stat.S_ISREG(path.lstat().st_mode):  # nor a link: it may lead anywhere
            raise SubmissionError("This is not a file.")
        if path.lstat().st_size > MOST_BYTES:
            raise SubmissionError(f"The file is larger than {MOST_BYTES >> 20} MB.")
        return path.read_bytes()
    except OSError as error:
        raise SubmissionError("The file cannot be read.") from error


def cells_of(submitted: bytes) -> list[dict[str, Any]]:
    """Return the cells of a notebook, without any library that could stumble over it.

    Raises:
        SubmissionError: it is not a notebook.
    """
    try:
        cells = json.loads(submitted)["cells"]
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise SubmissionError(_NO_NOTEBOOK) from error
    if not isinstance(cells, list):
        raise SubmissionError(_NO_NOTEBOOK)
    return [cell for cell in cells if isinstance(cell, dict)]


def pair(cells: Sequence[Mapping[str, Any]], source: Sequence[Cell]) -> Handed:
    """Find the learner's code for each answer cell of the source."""
    typed = [_Typed(tuple(ids(cell)), _code(cell)) for cell in cells if _is_code(cell)]
    by_id: dict[str, list[str]] = {}
    for cell in typed:
        for name in dict.fromkeys(cell.ids):
            by_id.setdefault(name, []).append(cell.code)
    answers = [cell for cell in source if cell.role is Role.ANSWER]
    found, notes, missing = {}, [], []
    for answer in answers:
        copies = by_id.get(answer.id, [])
        code = _best(copies, answer)
        if code is None:
            code = _before_check(typed, answer) or _by_names(typed, answer)
            if code is not None:
                notes.append(f"{answer.label}: the answer cell was found by its names alone.")
        if len(set(copies)) > 1:
            notes.append(f"{answer.label}: there are copies of the answer cell; one was taken.")
        if code is None:
            missing.append(f"{answer.label}: the answer cell is not there.")
        found[answer.id] = answer.blank if code is None else code
        notes += _elsewhere(found[answer.id], answer, typed, {cell.id for cell in source})
    notes += [NONE_FOUND] if len(missing) == len(answers) > 1 else missing
    flags = {id_: list(_autograd(code)) for id_, code in found.items()}
    return Handed(found, notes, {id_: told for id_, told in flags.items() if told})


def _elsewhere(code: str, answer: Cell, typed: Sequence[_Typed], known: set[str]) -> Iterator[str]:
    """A sentence for each name that is blank in an answer, and set in a cell of their own."""
    own = [cell.code for cell in typed if known.isdisjoint(cell.ids) and cell.code != code]
    for name in blank_names(answer):
        blank = rf"^{re.escape(name)}[ \t]*=[ \t]*\.\.\."
        if code.strip() != answer.blank.strip() and not re.search(blank, code, re.MULTILINE):
            continue
        sets = rf"^(?:def[ \t]+{re.escape(name)}\b|{re.escape(name)}[ \t]*=(?!=|[ \t]*\.\.\.))"
        if any(re.search(sets, other, re.MULTILINE) for other in own):
            yield f"{answer.label}: `{name}` is set in a cell of their own, which was not run."


def _best(copies: Sequence[str], answer: Cell) -> str | None:
    """Of several copies the first that is not blank."""
    filled = [code for code in copies if code.strip() != answer.blank.strip()]
    return next(iter([*filled, *copies]), None)


def _before_check(typed: Sequence[_Typed], answer: Cell) -> str | None:
    """The nearest cell above the check of an exercise that binds a name of the answer."""
    check = re.compile(rf"checks\.\w+\(\s*[\"']{re.escape(answer.label)}[\"']")
    binds = _binds(answer)
    for number, cell in enumerate(typed):
        if check.search(cell.code):
            return next((c.code for c in reversed(typed[:number]) if binds.search(c.code)), None)
    return None


def _by_names(typed: Sequence[_Typed], answer: Cell) -> str | None:
    """The one cell that binds a name of the answer, where the check is lost, too."""
    binds = _binds(answer)
    found = {cell.code for cell in typed if binds.search(cell.code)}
    return found.pop() if len(found) == 1 else None


def _binds(answer: Cell) -> re.Pattern[str]:
    """What a cell looks like that binds a name of an answer."""
    names = [re.escape(name) for name in blank_names(answer)]
    return re.compile(rf"^(?:(?:def|class)\s+)?(?:{'|'.join(names) or '$'})\b", re.MULTILINE)


def ids(cell: Mapping[str, Any]) -> Iterator[str]:
    """The names that a cell goes by: its own id, and the one that nbgrader knows."""
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
    # Half of a character in two parts can be written as JSON, but not as text.
    return source.encode("utf-8", "replace").decode() if isinstance(source, str) else ""


_MOST_READ = 100_000  # characters of a cell in which it is looked for what asks autograd
_ASKING = r"(backward|grad|vjp|jvp|jacobian|jacrev|jacfwd|hessian)\b"
_ASKED = re.compile(rf"\.[ \t]{{,9}}{_ASKING}|\b(autograd)\b")
_IMPORTED = re.compile(rf"\b{_ASKING}")
_IMPORT = re.compile(r"\bimport\b")


def _autograd(code: str) -> Iterator[str]:
    """Where an answer asks autograd: for the teacher to look at, not a fault by itself.

    The code is read as text: to parse what a stranger wrote can end the process. No pattern here
    looks at a character more than a few times, whatever was typed.
    """
    used: set[str] = set()
    for whole in code[:_MOST_READ].splitlines():
        line = whole.partition("#")[0]
        used.update(name for match in _ASKED.findall(line) for name in match)
        if imported := _IMPORT.search(line):
            used.update(_IMPORTED.findall(line, imported.end()))
    for name in sorted(used - {""}):
        yield f"uses `{name}`, which asks autograd"
