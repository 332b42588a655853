"""The proof that of all a check is given, only its second argument comes from an answer cell.

This is what lets a submission be marked without running in the marker's process: `of`, `wrt`, `v`
and what an answer is compared with can be computed from the teacher's cells alone.

Read from the syntax of the solution notebook, statement by statement. A name bound in an answer
cell is *tainted*. A demo's statement that reads a tainted name taints what it binds or changes;
one that reads none makes the name that it binds clean again. A function that reads a tainted name
is tainted, whenever that name becomes so. A compound statement (`if`, `for`, `with` …) counts as
one: what it binds may depend on everything it reads.

An answer cell that changes what it did not itself bind (`w += 1`, `w.grad.zero_()`, `data[0] = 1`,
`loss.backward()`) is a problem at once, for such a change has no name to follow. Inside a function
that the answer defines it is allowed: a check calls that on its own inputs.

What this cannot see, and the run of the blank notebook only in part: a change through another name
(`alias = w; alias.zero_()`), inside a function that is called (`torch.nn.init.zeros_(w)`), or in a
gradient (a backward pass from the answer's own tensor to a leaf of a demo); global settings
such as the random seed; and names made at run time (`globals()`, `exec`, `_`).
"""

import ast
import symtable
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field

from checks.classroom.cell import Cell, Role, check_call, tree

# Methods that change their object and whose names, unlike `zero_`, do not say so.
_CHANGES = {"append", "clear", "extend", "insert", "pop", "remove", "reverse", "update"}
_CHANGES |= {"backward", "step", "zero_grad"}

_BINDS_FOR_SURE = (
    ast.Assign,
    ast.AnnAssign,
    ast.Import,
    ast.ImportFrom,
    ast.FunctionDef,
    ast.ClassDef,
)


def leaks(cells: Iterable[Cell]) -> list[str]:
    """Return a sentence for each place where a check may depend on more than its answer."""
    state = _State()
    problems: list[str] = []
    for cell in cells:
        if cell.role is Role.ANSWER:
            problems += state.answer(cell)
        elif cell.role is Role.CHECK:
            problems += state.check(cell)
        elif cell.role is not Role.TEXT:
            for statement in tree(cell).body:
                state.demo(statement, sure=cell.role is Role.DEMO)
    return problems


@dataclass
class _State:
    """What is known of the notebook's names after some cells."""

    # name → the answer cell it comes from
    tainted: dict[str, str] = field(default_factory=dict)
    # function, or what holds one → the names that it reads when it is called
    later: dict[str, set[str]] = field(default_factory=dict)
    modules: set[str] = field(default_factory=set)

    def answer(self, cell: Cell) -> Iterator[str]:
        module = tree(cell)
        own = _Names.of(_NotAugmented().visit(tree(cell))).binds
        for name in sorted(_changed(module) - own - self.modules):
            yield (
                f"cell {cell.id} changes `{name}`, which it did not make; "
                "an answer may change only what it makes itself"
            )
        for name in _Names.of(module).binds:
            self.tainted[name] = cell.id

    def check(self, cell: Cell) -> Iterator[str]:
        call = check_call(cell)
        others = [("verb", call.func), *((f"argument {i}", a) for i, a in enumerate(call.args, 1))]
        others[2:3] = []  # the second argument, the learner's own
        others += [(f"argument `{k.arg}`", k.value) for k in call.keywords]
        for argument, value in others:
            for name, origin in self.origins(_Names.of(ast.Expr(value))):
                yield (
                    f"cell {cell.id}: its {argument} reads `{name}`, which comes from "
                    f"the answer cell {origin}"
                )

    def demo(self, statement: ast.stmt, sure: bool) -> None:
        names = _Names.of(statement)
        origin = next((origin for _, origin in self.origins(names)), None)
        for name in names.binds | (_changed(statement) - self.modules):
            if origin:
                self.tainted[name] = origin
            elif name in names.binds and sure and isinstance(statement, _BINDS_FOR_SURE):
                self.tainted.pop(name, None)
        later = names.later.union(*(self.later.get(name, ()) for name in names.now))
        self.later.update(dict.fromkeys(names.binds, later))
        if isinstance(statement, ast.Import | ast.ImportFrom):
            self.modules |= names.binds

    def origins(self, names: "_Names") -> list[tuple[str, str]]:
        """Return the tainted names that are read, now or by a function, with their answer cell."""
        waiting, seen = sorted(names.now | names.later), set[str]()
        while waiting:
            name = waiting.pop()
            if name not in seen:
                seen.add(name)
                waiting.extend(self.later.get(name, ()))
        return [(name, self.tainted[name]) for name in sorted(seen) if name in self.tainted]


@dataclass(frozen=True)
class _Names:
    """The notebook's names in a piece of code: read now, read when a function is called, bound."""

    now: set[str]
    later: set[str]
    binds: set[str]

    @classmethod
    def of(cls, code: ast.stmt | ast.Module) -> "_Names":
        """Ask Python's own symbol table, which knows what is local to a function."""
        plain = _OneScopeEach().visit(ast.parse(ast.unparse(code)))
        names = cls(set(), set(), set())
        waiting = [(symtable.symtable(ast.unparse(plain), "cell", "exec"), True)]
        while waiting:
            table, now = waiting.pop()
            for symbol in table.get_symbols():
                if not symbol.is_global():
                    continue
                if symbol.is_referenced():
                    (names.now if now else names.later).add(symbol.get_name())
                if symbol.is_assigned() or symbol.is_imported():
                    names.binds.add(symbol.get_name())
            for child in table.get_children():
                waiting.append((child, now and "genexpr" in child.get_name()))
        return names


class _OneScopeEach(ast.NodeTransformer):
    """Makes each comprehension a generator, whose variables are its own in every Python.

    From 3.12 on, the symbol table counts the variables of the others among those around them.
    """

    def visit_ListComp(self, node: ast.ListComp) -> ast.AST:
        return self.generic_visit(ast.GeneratorExp(node.elt, node.generators))

    def visit_SetComp(self, node: ast.SetComp) -> ast.AST:
        return self.generic_visit(ast.GeneratorExp(node.elt, node.generators))

    def visit_DictComp(self, node: ast.DictComp) -> ast.AST:
        pair = ast.Tuple([node.key, node.value], ast.Load())
        return self.generic_visit(ast.GeneratorExp(pair, node.generators))


class _NotAugmented(ast.NodeTransformer):
    """Makes `w += 1` into `1`: it changes w, and is no binding of its own."""

    def visit_AugAssign(self, node: ast.AugAssign) -> ast.AST:
        return ast.Expr(node.value)


def _changed(code: ast.AST) -> set[str]:
    """Return the names whose objects are changed in place, outside function bodies."""
    names: set[str] = set()
    for node in _now(code):
        match node:
            case ast.AugAssign(target=ast.Name(name)):
                names.add(name)
            case (
                ast.Attribute(ctx=ast.Store() | ast.Del())
                | ast.Subscript(ctx=ast.Store() | ast.Del())
            ):
                names |= _roots(node)
            case ast.Call(func=ast.Attribute(value=value, attr=method)):
                if method in _CHANGES or (method.endswith("_") and not method.endswith("__")):
                    names |= _roots(value)
            case ast.keyword(arg="out", value=value):
                names |= _roots(value)
    return names


def _now(code: ast.AST) -> Iterator[ast.AST]:
    """Walk the code that runs at once: not the bodies of functions."""
    waiting = [code]
    while waiting:
        node = waiting.pop()
        yield node
        if not isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda):
            waiting.extend(ast.iter_child_nodes(node))


def _roots(node: ast.AST) -> set[str]:
    """Return the names that begin a chain: w of `w.grad[0].detach()`, a and b of `(a + b)[0]`."""
    while isinstance(node, ast.Attribute | ast.Subscript | ast.Call | ast.Starred):
        node = node.func if isinstance(node, ast.Call) else node.value
    return {name.id for name in ast.walk(node) if isinstance(name, ast.Name)}
