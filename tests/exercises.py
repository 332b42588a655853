"""The exercises of all lessons that ask for a gradient, as they are when the solution is in."""

import ast
import contextlib
import io
import warnings
from dataclasses import dataclass
from functools import cache
from pathlib import Path

import matplotlib
from matplotlib import pyplot

import checks
from checks.classroom.cell import Role, check_call, tree
from checks.classroom.lesson import read

SOURCES = sorted((Path(__file__).parent.parent / "notebooks" / "source").glob("[0-9]*.md"))


@dataclass(frozen=True)
class Exercise:
    """What a check of a lesson is given, and the namespace it is called from."""

    label: str
    verb: str
    answer: object
    asked: dict  # of, wrt, v
    names: dict

    def check(self, answer):
        """Call the check as the lesson does, with another answer."""
        call = "check(label, answer, **asked)"
        inside = {"check": getattr(checks, self.verb), "label": self.label, "answer": answer}
        return eval(call, {**self.names, **inside, "asked": self.asked})


@cache
def exercises():
    """All checks of gradients and vector-Jacobian products, in the order of the lessons."""
    matplotlib.use("Agg")
    pyplot.show = lambda: pyplot.close("all")
    return [exercise for source in SOURCES for exercise in _of(source)]


def _of(source):
    names = {"__name__": source.stem}
    for cell in read(source).cells:
        if cell.role is Role.TEXT:
            continue
        if cell.role is Role.CHECK:
            call = check_call(cell)
            if call.func.attr in ("gradient", "vjp"):
                label, answer = (_value(argument, names) for argument in call.args)
                asked = {word.arg: _value(word.value, names) for word in call.keywords}
                yield Exercise(label, call.func.attr, answer, asked, dict(names))
            continue
        expected = contextlib.suppress(Exception) if cell.role is Role.RAISES else _nothing()
        with expected, contextlib.redirect_stdout(io.StringIO()), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            exec(compile(tree(cell), source.name, "exec"), names)


@contextlib.contextmanager
def _nothing():
    yield


def _value(expression, names):
    return eval(compile(ast.Expression(expression), "check", "eval"), names)
