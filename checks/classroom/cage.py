"""Run one submission: the teacher's cells and the learner's answers, in order, in this process.

It is fenced in before it begins, knows no true value, and says what it finds as plain data.
Whatever the learner's code does to this process, it can only spoil its own answers.
"""

from __future__ import annotations

import os
import random
from collections.abc import Callable, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

import torch
from IPython.core.inputtransformer2 import TransformerManager

from checks.classroom.plain import NotPlainError, Plain, decode, encode

Speak = Callable[[Plain], None]


def run(job: Mapping[str, Any], speak: Speak) -> dict[str, Any]:
    """Run the cells of a job, and say what each check is asked about.

    Args:
        job: "cells", each with "role", "code" (the teacher's), "typed" (the learner's, of an
            answer), "label" and "asked" (of a check: the expression of its second argument);
            "blanked", the numbers of cells whose code is not run any more; "seed".
        speak: sends a message: {"begin": number}, {"label": …, "answer": …}, {"note": …}.

    Returns:
        What the checks were asked about, by label: functions are called later.
    """
    first = os.getpid()
    namespace: dict[str, Any] = {"__name__": "__main__", "get_ipython": _shell}
    _seed(job["seed"])
    asked: dict[str, Any] = {}

    def say(message: Plain) -> None:
        if os.getpid() == first:  # a cell that forks leaves a twin, which must not speak
            speak(message)

    for number, cell in enumerate(job["cells"]):
        say({"begin": number})
        if cell["role"] == "check":
            value = _evaluated(cell["asked"], namespace)
            asked[cell["label"]] = value
            say({"label": cell["label"], "answer": encode(value, grads=_gradients(namespace))})
            continue
        problem = _executed(cell["code"], namespace)
        if cell["role"] == "answer" and number not in job["blanked"]:
            problem = _executed(_python(cell["typed"]), namespace)
        if problem and cell["role"] != "raises-exception":
            say({"note": problem, "cell": number})
    return asked


def answer_call(request: Mapping[str, Any], asked: Mapping[str, Any]) -> Plain:
    """Call a function of the learner's on inputs that came over the border."""
    try:
        function = asked[request["label"]]
        arguments = [decode(argument) for argument in request["args"]]
    except (KeyError, NotPlainError):
        return {"raised": "the function is gone"}
    try:
        result = function(*arguments)
    except BaseException as error:
        return {"raised": _told(error)}
    return {"result": encode(result), "args": [encode(argument) for argument in arguments]}


def _executed(code: str, namespace: dict[str, Any]) -> str:
    """Run code; what went wrong, in one line, or nothing."""
    try:
        exec(compile(code, "<cell>", "exec"), namespace)
    except BaseException as error:  # also exit(): it ends this cell and no more
        return _told(error)
    return ""


def _evaluated(expression: str, namespace: dict[str, Any]) -> object:
    try:
        return eval(expression, namespace)
    except BaseException:  # a name that was deleted: no answer
        return ...


def _told(error: BaseException) -> str:
    try:
        return f"{type(error).__name__}: {error}"[:300]
    except BaseException:
        return "an exception that cannot be shown"


def _python(typed: str) -> str:
    """The learner's code with IPython's own syntax made into calls, which do nothing here."""
    try:
        return str(TransformerManager().transform_cell(typed))  # type: ignore[no-untyped-call]
    except Exception:
        return typed


def _shell() -> SimpleNamespace:
    def nothing(*_: object, **__: object) -> None:
        return None

    names = ("run_line_magic", "run_cell_magic", "system", "getoutput", "set_next_input")
    return SimpleNamespace(**dict.fromkeys(names, nothing))


def _seed(seed: int) -> None:
    """Every fork begins with the same random state: it is set on purpose."""
    random.seed(seed)
    torch.manual_seed(seed)


def _gradients(namespace: Mapping[str, Any]) -> tuple[torch.Tensor, ...]:
    """Every `.grad` among the variables: an answer that is one of them was not found by hand."""
    tensors: Sequence[Any] = [v for v in namespace.values() if type(v) is torch.Tensor]
    return tuple(t.grad for t in tensors if t.is_leaf and t.grad is not None)
