"""One cell of a lesson's source: its role, and what its code must be to have that role.

    answer             the learner writes here; `### BEGIN SOLUTION` … `### END SOLUTION` is taken
                       out of the learner's notebook and stays in the solution notebook
    check              exactly one call of `checks`, on the answers of the cells before it
    raises-exception   meant to fail
    demo               any other code; with the tag `varies`, its numbers differ from one released
                       version to another (see `variants`)
    text               Markdown

Where a cell is not what its role asks for, the functions raise ValueError with a sentence that
says so; who reads a whole source adds where the cell stands.
"""

import ast
import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

from IPython.core.inputtransformer2 import TransformerManager

from checks.classroom import variants

BEGIN, END = "### BEGIN SOLUTION", "### END SOLUTION"


class Role(StrEnum):
    """What a cell is for."""

    TEXT = "text"
    DEMO = "demo"
    ANSWER = "answer"
    CHECK = "check"
    RAISES = "raises-exception"


@dataclass(frozen=True)
class Cell:
    """One cell as the source has it, from `line` on.

    `source` still has its solution regions; `blank` has not. `label` is the exercise ("5.3") of a
    check, and of the answers that belong to it; `points` is what a check is worth, 0 elsewhere.
    """

    role: Role
    source: str
    line: int
    id: str = ""
    tags: tuple[str, ...] = ()
    label: str = ""
    points: float = 0

    @property
    def kind(self) -> str:
        """The notebook format's word for it: "code" or "markdown"."""
        return "markdown" if self.role is Role.TEXT else "code"

    @property
    def blank(self) -> str:
        """The source as a learner gets it."""
        return without_solution(self.source) if self.role is Role.ANSWER else self.source


def without_solution(source: str) -> str:
    """Return the source without its solution regions and their markers."""
    kept, inside = [], False
    for line in source.splitlines():
        if line.strip() in (BEGIN, END):
            inside = line.strip() == BEGIN
        elif not inside:
            kept.append(line)
    return "\n".join(kept).strip("\n")


def tree(cell: Cell, *, blank: bool = False) -> ast.Module:
    """Return the syntax tree of a code cell; IPython's own syntax (`%matplotlib`) is allowed.

    A cell that is meant to fail may fail as a SyntaxError: then it does nothing, and so is empty.
    Raises SyntaxError for any other cell that is not Python.
    """
    try:
        python = TransformerManager()  # type: ignore[no-untyped-call]
        return ast.parse(python.transform_cell(cell.blank if blank else cell.source))
    except SyntaxError:
        if cell.role is Role.RAISES:
            return ast.Module(body=[], type_ignores=[])
        raise


def check_call(cell: Cell) -> ast.Call:
    """Return the one call of a check cell: `checks.…(a string, an answer, …)`."""
    match tree(cell).body:
        case [
            ast.Expr(
                ast.Call(
                    func=ast.Attribute(value=ast.Name("checks")),
                    args=[ast.Constant(str()), answer, *_],
                ) as call
            )
        ] if not isinstance(answer, ast.Starred):
            return call
    raise ValueError('a check is exactly one call, such as `checks.gradient("5.1", answer, …)`')


def check_label(cell: Cell) -> str:
    """Return the label of a check cell, the first argument of its call."""
    label: str = ast.literal_eval(check_call(cell).args[0])
    if not re.fullmatch(r"[A-Za-z0-9]+(\.[A-Za-z0-9]+)*", label) or len(label) > 30:
        raise ValueError(f'{label!r} is no label; a label is "lesson.number", such as "5.1"')
    return label


def answer_names(cell: Cell) -> list[str]:
    """Return the names that a check cell takes from answers: those of its second argument."""
    match check_call(cell).args[1]:
        case ast.Name(name):
            return [name]
        case ast.Dict(values=values) if values and all(isinstance(v, ast.Name) for v in values):
            return [v.id for v in values if isinstance(v, ast.Name)]
    raise ValueError("the second argument of a check is a name, or a dict whose values are names")


def blank_names(cell: Cell) -> Iterator[str]:
    """Yield the names that an answer cell leaves blank: bound to `...`, or a function to write."""
    for statement in tree(cell, blank=True).body:
        match statement:
            case ast.FunctionDef(name=name) | ast.ClassDef(name=name):
                yield name
            case ast.Assign(value=ast.Constant(value=value), targets=targets) if value is ...:
                yield from (target.id for target in targets if isinstance(target, ast.Name))
            case ast.AnnAssign(target=ast.Name(name), value=ast.Constant(value=value)):
                if value is ...:
                    yield name


def prove(cell: Cell) -> None:
    """Raise ValueError where the cell is not what its role asks for."""
    _prove_regions(cell)
    if cell.role is Role.TEXT:
        if re.search(r"^ *(`{3,}|:{3,}) *\{", cell.source, re.MULTILINE):
            raise ValueError("a MyST directive in the text; Jupyter would show it as it stands")
        return
    if not cell.source.strip() or cell.source.startswith("%%"):
        raise ValueError("a code cell is Python: not empty, no cell magic")
    for blank, version in ((False, "with"), (True, "without")):
        try:
            tree(cell, blank=blank)
        except SyntaxError as error:
            raise ValueError(f"{version} its solution it is not Python: {error.msg}") from error
    if variants.TAG in cell.tags:
        _prove_variants(cell)
    if cell.role is Role.CHECK:
        check_label(cell)
        answer_names(cell)
        points = cell.points
        if isinstance(points, bool) or not isinstance(points, int | float) or points < 0:
            raise ValueError(f"{points!r} is no number of points")


def _prove_variants(cell: Cell) -> None:
    """There are other numbers for a cell that varies, and it is plain Python."""
    try:
        variants.vary(cell.source, "")
    except SyntaxError as error:
        raise ValueError(f"a cell that varies has no `%` or `!` lines: {error.msg}") from error


def _prove_regions(cell: Cell) -> None:
    """Solution regions open and close one after the other, and every answer has one."""
    marks = []
    for line in cell.source.splitlines():
        if line.strip() in (BEGIN, END):
            marks.append(line.strip())
        elif cell.kind == "code" and re.search(r"(BEGIN|END)\W*SOLUTION", line, re.IGNORECASE):
            # Not quite a marker: it would leave the solution in the learner's notebook.
            raise ValueError(f"the markers are written exactly `{BEGIN}` and `{END}`")
    if cell.role is not Role.ANSWER and marks:
        raise ValueError(f"a solution stands in an answer cell; this is a {cell.role} cell")
    if cell.role is Role.ANSWER and not marks:
        raise ValueError(f"an answer cell has a solution, between `{BEGIN}` and `{END}`")
    if marks != [BEGIN, END] * (len(marks) // 2):
        raise ValueError(f"each `{BEGIN}` needs its `{END}` before the next one")
