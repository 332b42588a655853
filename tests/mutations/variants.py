"""Broken variants of the functions in a module, made from its syntax tree.

One small thing of a function is changed at a time: a condition is turned round, a result is
spoilt, a step is left out. The rest of the file stays as it is, byte for byte.

Neither mutmut nor cosmic-ray serves here. mutmut changes no decorated function (every verb of
`checks` is one, and every cached property), nothing at the level of a module (the rows of the
mal-rules), and puts a frame of its own around each function (the verbs look at their caller's).
cosmic-ray starts a new interpreter for each mutation, and PyTorch takes seconds to import.
"""

from __future__ import annotations

import ast
import copy
import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Variant:
    """One change: in which function of which file, and what becomes of which piece of its text."""

    module: str  # the path from the package's folder: "classroom/plain.py"
    function: str  # with the classes around it; "row …" for a lambda in a table of a module
    kind: str
    begin: int  # bytes of the file
    end: int
    before: str
    after: str

    @property
    def name(self) -> str:
        """What does not change while this piece of the function does not."""
        return f"{self.module}:{self.function}: {_line(self.before)} -> {_line(self.after)}"

    def apply(self, text: str) -> str:
        """Put the change into the text of the file."""
        data = text.encode("utf-8")
        return (data[: self.begin] + self.after.encode() + data[self.end :]).decode("utf-8")


def _line(code: str) -> str:
    text = " ".join(code.split())
    return text if len(text) <= 100 else f"{text[:60]} … {text[-38:]}"


def functions(tree: ast.Module) -> Iterator[tuple[str, ast.AST]]:
    """Yield every function of a module with its name; and every lambda outside of functions."""
    waiting: list[tuple[str, ast.AST]] = [("", tree)]
    while waiting:
        prefix, node = waiting.pop(0)
        for child in ast.iter_child_nodes(node):
            if isinstance(child, (ast.FunctionDef, ast.AsyncFunctionDef)):
                yield f"{prefix}{child.name}", child
            elif isinstance(child, ast.ClassDef):
                waiting.append((f"{prefix}{child.name}.", child))
            elif isinstance(child, (ast.Assign, ast.AnnAssign)):
                yield from _rows(child)


def _rows(table: ast.Assign | ast.AnnAssign) -> Iterator[tuple[str, ast.AST]]:
    """The rows of a table of lambdas, each with its first text for a name."""
    for node in ast.walk(table):
        parts: list[tuple[ast.AST, ast.AST]] = []
        if isinstance(node, ast.Dict):
            parts = [(k, v) for k, v in zip(node.keys, node.values, strict=True) if k is not None]
        elif isinstance(node, ast.Call) and node.args:
            parts = [(node.args[0], node)]
        for title, row in parts:
            named = isinstance(title, ast.Constant) and isinstance(title.value, str)
            if named and any(isinstance(inner, ast.Lambda) for inner in ast.walk(row)):
                yield f"row {title.value!r}", row


def variants(path: Path, package: Path) -> dict[str, list[Variant]]:
    """Every variant of every function of a file, by function."""
    text = path.read_text(encoding="utf-8")
    lines = [0]
    for line in text.encode("utf-8").splitlines(keepends=True):
        lines.append(lines[-1] + len(line))
    data, module = text.encode("utf-8"), path.relative_to(package).as_posix()
    made: dict[str, list[Variant]] = {}
    for name, function in functions(ast.parse(text)):
        found = made.setdefault(name, [])
        for node, kind, after in _changes(function):
            begin = lines[node.lineno - 1] + node.col_offset
            end = lines[node.end_lineno - 1] + node.end_col_offset
            before = data[begin:end].decode("utf-8")
            if " ".join(before.split()) != " ".join(after.split()):
                found.append(Variant(module, name, kind, begin, end, before, after))
    return made


def chosen(found: list[Variant], count: int) -> list[Variant]:
    """Some variants of one function: always the same, also when another of its lines changes.

    First comes what surely matters (a condition, a result, a step), then anything.
    """
    ordered = sorted(found, key=lambda v: hashlib.sha256(v.name.encode()).digest())
    strong = [v for v in ordered if v.kind in STRONG]
    picked = strong[:1] or ordered[:1]
    rest = [v for v in ordered if v not in picked]
    return picked + rest[: count - len(picked)]


# -- what is changed -------------------------------------------------------------------------------

STRONG = {"condition", "comparison", "connective", "result", "error", "step", "outcome", "spoilt"}
_OPPOSITE: dict[type, type] = {
    ast.Eq: ast.NotEq, ast.NotEq: ast.Eq, ast.Lt: ast.GtE, ast.GtE: ast.Lt, ast.Gt: ast.LtE,
    ast.LtE: ast.Gt, ast.Is: ast.IsNot, ast.IsNot: ast.Is, ast.In: ast.NotIn, ast.NotIn: ast.In,
}  # fmt: skip
_BOUNDARY = {ast.Lt: ast.LtE, ast.LtE: ast.Lt, ast.Gt: ast.GtE, ast.GtE: ast.Gt}
_ARITHMETIC = {
    ast.Add: ast.Sub, ast.Sub: ast.Add, ast.Mult: ast.Div, ast.Div: ast.Mult,
    ast.FloorDiv: ast.Mult, ast.Mod: ast.FloorDiv, ast.Pow: ast.Mult,
    ast.BitAnd: ast.BitOr, ast.BitOr: ast.BitAnd,
}  # fmt: skip
_NAMES = {"any": "all", "all": "any", "min": "max", "max": "min"}
_OUTCOMES = {
    "CORRECT": "WRONG", "WRONG": "CORRECT", "INVALID": "WRONG", "UNANSWERED": "CORRECT",
    "STATE": "WRONG",
}  # fmt: skip
_SPOILT = {  # by the type that a function says it returns
    "bool": "not ({})", "Tensor": "2 * ({})", "str": '""', "int": "({}) + 1", "float": "2 * ({})",
    "list": "({})[:0]", "tuple": "({})[:0]", "dict": "{{}}", "None": "None",
}  # fmt: skip

Change = tuple[ast.AST, str, str]


def _changes(function: ast.AST) -> Iterator[Change]:
    """Every change of one function: the node, the kind, and the text in its place."""
    returns = getattr(function, "returns", None)
    typed = ast.unparse(returns) if returns else ""
    skipped = _unexecuted(function)
    inside = ast.walk(function)
    if not isinstance(function, (ast.FunctionDef, ast.AsyncFunctionDef)):
        # Of the row of a table only what is computed: not its title, its rank and the like.
        rules = [node for node in ast.walk(function) if isinstance(node, ast.Lambda)]
        inside = (node for rule in rules for node in ast.walk(rule))
    nodes = [node for node in inside if node not in skipped]
    found = [change for node in nodes for change in _of_node(node, typed)]
    yield from found or [change for node in nodes for change in _emptied(node)]


def _of_node(node: ast.AST, typed: str) -> Iterator[Change]:
    yield from _logic(node)
    yield from _statement(node, typed)
    yield from _detail(node)


def _emptied(node: ast.AST) -> Iterator[Change]:
    """For a function in which there is nothing else to change."""
    if isinstance(node, ast.Return) and node.value is not None:
        yield node.value, "result", "None"
    elif isinstance(node, ast.Lambda):
        yield node.body, "result", "None"
    elif isinstance(node, (ast.Assign, ast.AnnAssign)) and node.value is not None:
        yield node.value, "result", "None"
    elif isinstance(node, ast.Expr) and isinstance(node.value, ast.Yield):
        yield node, "step", "yield from ()"


def _unexecuted(function: ast.AST) -> set[ast.AST]:
    """Annotations, decorators, defaults, f-strings, the texts of errors, orders."""
    out: set[ast.AST] = set()
    for node in ast.walk(function):
        parts: list[ast.AST | None] = []
        if isinstance(node, (ast.FunctionDef, ast.AsyncFunctionDef)):
            parts = [node.returns, *node.decorator_list, *node.args.defaults]
            parts += node.args.kw_defaults
        elif isinstance(node, (ast.arg, ast.AnnAssign)):
            parts = [node.annotation]
        elif isinstance(node, ast.JoinedStr):
            parts = [node]
        elif isinstance(node, ast.Raise):
            parts = [node.exc]
        elif isinstance(node, ast.keyword) and node.arg == "key":
            parts = [node.value]  # an order: twice a rank is the same one
        elif isinstance(node, ast.Assert):
            parts = [node]
        out |= {inner for part in parts if part for inner in ast.walk(part)}
    return out


def _logic(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Compare) and len(node.ops) == 1:
        for table, kind in ((_OPPOSITE, "comparison"), (_BOUNDARY, "boundary")):
            other = table.get(type(node.ops[0]))
            if kind == "boundary" and _is_limit(node):
                continue
            if other is not None:
                yield _with(node, kind, ops=[other()])
    elif isinstance(node, ast.Compare):
        yield node, "comparison", f"not ({ast.unparse(node)})"
    elif isinstance(node, ast.BoolOp):
        other = ast.Or() if isinstance(node.op, ast.And) else ast.And()
        yield node, "connective", f"({ast.unparse(_changed(node, op=other))})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.Not):
        yield node, "condition", f"bool({ast.unparse(node.operand)})"
    tests: list[ast.expr] = []
    if isinstance(node, (ast.If, ast.While, ast.IfExp)):
        tests = [node.test]
    elif isinstance(node, ast.comprehension):
        tests = node.ifs
    for test in tests:
        simple = isinstance(test, ast.Compare) and len(test.ops) == 1
        if not simple and not isinstance(test, ast.UnaryOp):
            yield test, "condition", f"(not ({ast.unparse(test)}))"


def _is_limit(node: ast.Compare) -> bool:
    """Whether something is compared with a constant of the module: a limit of effort, mostly.

    Whether it is reached at 300 nodes or at 301 is nobody's concern.
    """
    sides = (node.left, *node.comparators)
    return any(isinstance(side, ast.Name) and side.id.isupper() for side in sides)


def _statement(node: ast.AST, typed: str) -> Iterator[Change]:
    if isinstance(node, ast.Return) and node.value is not None:
        yield from _result(node.value, typed)
    elif isinstance(node, ast.Raise):
        yield node, "error", "pass"
    elif isinstance(node, ast.Continue):
        yield node, "step", "pass"
    elif isinstance(node, ast.Expr) and isinstance(node.value, (ast.Call, ast.YieldFrom)):
        yield node, "step", "yield from ()" if isinstance(node.value, ast.YieldFrom) else "pass"
    elif isinstance(node, ast.AugAssign):
        yield node, "step", "pass"


def _result(value: ast.expr, typed: str) -> Iterator[Change]:
    """A spoilt result, of the type that the function promises."""
    if isinstance(value, (ast.Tuple, ast.List)) and not value.elts:
        return
    kinds = [part.strip().split("[")[0] for part in typed.split(" | ")]
    if "None" in kinds and len(kinds) > 1:
        if not (isinstance(value, ast.Constant) and value.value is None):
            yield value, "result", "None"
        return
    if len(kinds) == 1 and kinds[0] in _SPOILT and not isinstance(value, ast.Constant):
        yield value, "result", _SPOILT[kinds[0]].format(ast.unparse(value))


def _detail(node: ast.AST) -> Iterator[Change]:
    if isinstance(node, ast.Constant) and isinstance(node.value, bool):
        yield node, "result", str(not node.value)
    elif isinstance(node, ast.Constant) and type(node.value) is int:
        yield node, "constant", str(node.value + 1)
    elif isinstance(node, ast.Constant) and type(node.value) is float:
        yield node, "constant", repr(node.value * 10 or 0.1)
    elif isinstance(node, ast.BinOp) and type(node.op) in _ARITHMETIC:
        texts = (ast.Constant, ast.JoinedStr)
        sides = (node.left, node.right)
        if not any(isinstance(s, texts) and not _is_number(s) for s in sides):
            other = _ARITHMETIC[type(node.op)]()
            yield node, "arithmetic", f"({ast.unparse(_changed(node, op=other))})"
    elif isinstance(node, ast.UnaryOp) and isinstance(node.op, ast.USub):
        yield node, "arithmetic", f"({ast.unparse(node.operand)})"
    elif isinstance(node, ast.Name) and node.id in _NAMES:
        yield node, "quantifier", _NAMES[node.id]
    elif isinstance(node, ast.Attribute) and node.attr in {"any", "all"}:
        yield node, "quantifier", f"({ast.unparse(node.value)}).{_NAMES[node.attr]}"
    elif isinstance(node, ast.Attribute) and ast.unparse(node.value) == "Outcome":
        if node.attr in _OUTCOMES:
            yield node, "outcome", f"Outcome.{_OUTCOMES[node.attr]}"
    elif isinstance(node, ast.Lambda):
        value = node.body.body if isinstance(node.body, ast.IfExp) else node.body
        several = isinstance(value, (ast.List, ast.ListComp, ast.Tuple))
        text = "({})[:0]" if several else "2 * ({})"
        yield node.body, "spoilt", text.format(ast.unparse(node.body))


def _is_number(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, (int, float))


def _changed(node: ast.AST, **fields: object) -> ast.AST:
    other = copy.copy(node)
    for name, value in fields.items():
        setattr(other, name, value)
    return other


def _with(node: ast.Compare, kind: str, **fields: object) -> Change:
    return node, kind, f"({ast.unparse(_changed(node, **fields))})"
