"""Run one submission: the teacher's cells and the learner's answers, in order, in this process.

It is fenced in before it begins, knows no true value, and says what it finds as plain data.
Whatever the learner's code does to this process, it can only spoil its own answers.
"""

from __future__ import annotations

import ast
import asyncio
import inspect
import json
import os
import random
import re
from collections.abc import Callable, Mapping
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from IPython.core.inputtransformer2 import TransformerManager

from checks.answers import is_blank, shares_storage
from checks.classroom.intact import remember
from checks.classroom.plain import NotPlainError, Plain, decode, encode

Say = Callable[[Plain], None]

_SEED = 0  # the same as the judge's: a lesson that draws numbers draws the same in both
_LONGEST_NOTE = 300


def live(job: Mapping[str, Any], requests: int, replies: int) -> None:
    """Run a job, then call its functions until nobody asks any more."""
    first, getpid, write, dumps = os.getpid(), os.getpid, os.write, json.dumps

    def say(message: Plain) -> None:
        if getpid() != first:  # a cell that forks leaves a twin, which must not speak
            os._exit(0)
        data = dumps(message).encode() + b"\n"
        while data:
            data = data[write(replies, data) :]

    asked = run(job, say)
    say({"done": True})
    with os.fdopen(requests, "rb") as lines:
        for line in lines:
            say(answer_call(json.loads(line), asked))


def run(job: Mapping[str, Any], say: Say) -> dict[str, Any]:
    """Run the cells of a job, and say what each check is asked about.

    Args:
        job: "cells", each with "role", "code" (the teacher's), "typed" (the learner's, of an
            answer), and of a check "label", "asked" (the expression of its second argument),
            "call" (that of how a function is called, or "") and "wrt"; "blanked", the numbers of
            cells whose code is not run any more.
        say: sends a message: {"begin": number}, {"label": …, "answer": …}, {"note": …}.

    Returns:
        What the checks were asked about, by label: functions are called later.
    """
    shell = _Shell()
    namespace = shell.namespace
    seed()
    intact = remember()
    asked: dict[str, Any] = {}
    for number, cell in enumerate(job["cells"]):
        say({"begin": number})
        if cell["role"] == "check":
            value = _asked(cell, namespace)
            asked[cell["label"]] = value
            plain = {"value": encode(value), "grads": _autograds(value, cell, namespace)}
            say({"label": cell["label"], "answer": json.dumps(plain)})
            continue
        problem = executed(cell["code"], namespace)
        if cell["role"] == "answer" and number not in job["blanked"]:
            settings = intact.settings()
            problem = executed(_python(cell["typed"]), namespace)
            for magic in shell.left_out():
                say({"note": f"What stands below `%%{magic}` was not run.", "cell": number})
            if changed := intact.restore(settings):
                say({"note": f"The cell changed `{changed[0]}`; it was put back.", "cell": number})
        if problem and cell["role"] != "raises-exception":
            say({"note": f"The cell raised {problem}", "cell": number})
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
    return {"result": json.dumps([encode(result), *map(encode, arguments)])}


def seed() -> None:
    """Every process begins with the same random state: it is set on purpose."""
    random.seed(_SEED)
    np.random.seed(_SEED)
    torch.manual_seed(_SEED)


def executed(code: str, namespace: dict[str, Any]) -> str:
    """Run code; what went wrong, in one line, or nothing."""
    try:
        _execute(code, namespace)
    except BaseException as error:  # also exit(): it ends this cell and no more
        return _told(error)
    return ""


def _execute(code: str, namespace: dict[str, Any]) -> None:
    """Run code in which `await` may stand outside of a function, as it may in a notebook."""
    compiled = compile(code, "<cell>", "exec", flags=ast.PyCF_ALLOW_TOP_LEVEL_AWAIT)
    if compiled.co_flags & inspect.CO_COROUTINE:
        asyncio.run(eval(compiled, namespace))
    else:
        exec(compiled, namespace)


def _asked(cell: Mapping[str, Any], namespace: dict[str, Any]) -> Any:
    """What a check is asked about: an answer, or what is to be called."""
    try:
        value = eval(cell["asked"], namespace)
        if not cell["call"]:
            return value
        parts = dict.values(value) if type(value) is dict else [value]
        if any(is_blank(part) for part in parts):
            return ...
        return partial(eval(cell["call"], namespace), value)
    except BaseException:  # a name that was deleted: no answer
        return ...


def _told(error: BaseException) -> str:
    """An exception in one line, without what changes each time: addresses, the scratch folder."""
    try:
        text = f"{type(error).__name__}: {error}"
        text = re.sub(r" at 0x[0-9a-fA-F]+", "", text.replace(str(Path.cwd()), "."))
        return text[:_LONGEST_NOTE]
    except BaseException:
        return "an exception that cannot be shown"


def _python(typed: str) -> str:
    """The learner's code with IPython's own syntax made into calls of `_Shell`."""
    try:
        return str(TransformerManager().transform_cell(typed))  # type: ignore[no-untyped-call]
    except Exception:
        return typed


class _Shell:
    """What stands for IPython: it runs what a magic only measures or hides, and shows nothing."""

    def __init__(self) -> None:
        self.namespace: dict[str, Any] = {
            "__name__": "__main__",
            "get_ipython": lambda: self,
            "display": self.system,
        }
        self._left_out: list[str] = []

    def run_line_magic(self, name: str, line: str, *_: object, **__: object) -> None:
        if name == "time":
            _execute(_python(line), self.namespace)

    def run_cell_magic(self, name: str, line: str, body: str) -> None:
        if name in ("time", "capture"):
            _execute(_python(body), self.namespace)
        else:
            self._left_out.append(re.sub(r"\W", "", str(name))[:20])

    # They do nothing.
    system = getoutput = set_next_input = magic = staticmethod(lambda *_, **__: None)

    def left_out(self) -> list[str]:
        """The magics whose cells were not run since this was asked last."""
        names, self._left_out = list(dict.fromkeys(self._left_out)), []
        return names


def _autograds(value: Any, cell: Mapping[str, Any], namespace: dict[str, Any]) -> list[str]:
    """The names of the answers that are a `.grad`, filled in by autograd; "" where there is one."""
    try:
        wrt = eval(cell["wrt"], namespace)
        answers = value if type(value) is dict else {"": value}
        tensors = wrt if type(wrt) is dict else {"": wrt}
        return [
            name
            for name, tensor in tensors.items()
            if type(name) is str
            and (tensor.is_leaf or tensor.retains_grad)
            and shares_storage(answers.get(name), tensor.grad)
        ]
    except BaseException:
        return []
