"""Judge answers with the teacher's own checks.

Started as `python -m checks.classroom.judge SOURCE`. The teacher's cells run here, with every
answer blank: nothing in a check but its second argument comes from an answer, which the build
proves. At each check the process forks a *moment*: a child that keeps the state of the notebook at
that check, and judges answers there, one after another. No line of a submission ever runs here;
answers come as plain data.
"""

from __future__ import annotations

import ast
import json
import os
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from checks.classroom.cell import Cell, Role, check_call, tree
from checks.classroom.lesson import read
from checks.classroom.plain import NotPlainError, Plain, decode, encode
from checks.verdict import Verdict

_ANSWER = "__answer__"


def main() -> None:
    """Run the source, then judge until the input ends."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    for name in ("CHECKS_STRICT", "NBGRADER_EXECUTION"):
        os.environ.pop(name, None)
    _warm()
    moments = run(read(Path(sys.argv[1])).cells)
    _say(out, {"ready": sorted(moments)})
    for line in sys.stdin.buffer:
        ask, reply = moments[json.loads(line)["label"]]
        ask.write(line)
        while True:
            message = reply.readline()
            out.write(message)
            if b'"call"' not in message[:10]:
                break
            ask.write(sys.stdin.buffer.readline())  # what the function gave back


def _warm() -> None:
    import matplotlib as mpl

    mpl.use("Agg")
    import torch

    torch.set_num_threads(1)


def run(cells: tuple[Cell, ...]) -> dict[str, tuple[BinaryIO, BinaryIO]]:
    """Run the cells, and keep the moment of each check."""
    namespace: dict[str, Any] = {"__name__": "__main__"}
    moments = {}
    for cell in cells:
        if cell.role is Role.TEXT:
            continue
        if cell.role is Role.CHECK:
            moments[cell.label] = _moment(cell, namespace)
            continue
        try:
            exec(compile(tree(cell, blank=True), "<cell>", "exec"), namespace)
        except Exception:
            if cell.role is not Role.RAISES:
                raise
    return moments


def _moment(cell: Cell, namespace: dict[str, Any]) -> tuple[BinaryIO, BinaryIO]:
    """Fork a child that stays at this check; return where it is asked and where it replies."""
    asked, ask = os.pipe()
    reply, replied = os.pipe()
    if os.fork() == 0:
        os.close(ask)
        os.close(reply)
        _live(cell, namespace, os.fdopen(asked, "rb"), os.fdopen(replied, "wb", buffering=0))
    os.close(asked)
    os.close(replied)
    return os.fdopen(ask, "wb", buffering=0), os.fdopen(reply, "rb")


def _live(cell: Cell, namespace: dict[str, Any], asked: BinaryIO, replied: BinaryIO) -> None:
    """Judge until nobody asks any more. Never returns."""
    try:
        code = _with_answer(cell)
        for line in asked:
            request = json.loads(line)

            def call(*arguments: object, label: str = request["label"]) -> object:
                _say(replied, {"call": label, "args": [encode(a) for a in arguments]})
                return _result(json.loads(asked.readline()), arguments)

            _say(replied, _judged(code, namespace, request["answer"], call))
    finally:
        os._exit(0)


def _with_answer(cell: Cell) -> Any:
    """The teacher's check, with another name in place of its second argument."""
    call = check_call(cell)
    call.args[1] = ast.copy_location(ast.Name(_ANSWER, ast.Load()), call.args[1])
    return compile(ast.fix_missing_locations(ast.Expression(call)), "<check>", "eval")


def _judged(
    code: Any, namespace: dict[str, Any], plain: Plain, call: Callable[..., object]
) -> dict[str, Any]:
    try:
        answer = decode(plain, call=call)
    except NotPlainError as error:
        answer, note = ..., str(error)
    else:
        note = ""
    if isinstance(plain, dict) and plain.get("is_grad"):
        note = "this is a `.grad` that autograd has filled in"
    try:
        verdict = eval(code, {**namespace, _ANSWER: answer})
    except Exception as error:  # fails closed: no points for what cannot be judged
        return {"outcome": "invalid", "credit": 0.0, "text": str(error), "html": "", "note": note}
    return {**summary(verdict), "note": note}


def summary(verdict: Verdict) -> dict[str, Any]:
    """A verdict as plain data."""
    data, metadata = verdict._repr_mimebundle_()
    return {
        **metadata["checks"],
        "credit": verdict.credit,
        "mistakes": list(verdict.mistakes),
        "text": data["text/plain"],
        "html": data["text/html"],
    }


def _result(reply: dict[str, Any], arguments: tuple[object, ...]) -> object:
    """What the learner's function gave back; an exception of its own, where it raised one."""
    if "result" not in reply:
        raise RuntimeError(str(reply.get("raised", "the function gave nothing back"))[:300])
    return decode(reply["result"])


def _say(where: BinaryIO, message: dict[str, Any]) -> None:
    where.write(json.dumps(message).encode() + b"\n")


if __name__ == "__main__":
    main()
