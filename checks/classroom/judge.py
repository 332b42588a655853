"""Judge answers with the teacher's own checks.

The teacher's cells run here, with every answer blank: nothing in a check but its second argument
comes from an answer, which the build proves. At each check the process forks a *moment*: a child
that keeps the state of the notebook at that check, and judges answers there, one after another. No
line of a submission ever runs here; answers come as plain data.
"""

from __future__ import annotations

import ast
import json
import os
import signal
import sys
from collections.abc import Callable, Sequence
from typing import Any, BinaryIO

import torch
from torch import Tensor

from checks.classroom import kernel
from checks.classroom.cage import seed
from checks.classroom.cell import Cell, Role, check_call, tree
from checks.classroom.plain import decode, encode
from checks.classroom.undrawn import leave_undrawn
from checks.verdict import Verdict

_ANSWER = "__answer__"


def main() -> None:
    """Run the cells that come first, then judge until the input ends."""
    out = os.fdopen(os.dup(1), "wb", buffering=0)
    os.dup2(2, 1)
    for name in ("CHECKS_STRICT", "NBGRADER_EXECUTION"):
        os.environ.pop(name, None)
    torch.set_num_threads(1)
    leave_undrawn()
    seed()
    cells = json.loads(sys.stdin.buffer.readline())["cells"]
    moments = run([Cell(**{**cell, "role": Role(cell["role"])}) for cell in cells])
    _say(out, {"ready": sorted(moments)})
    for line in sys.stdin.buffer:
        ask, reply = moments[json.loads(line)["label"]]
        ask.write(line)
        while True:
            message = reply.readline()
            if not message:
                return  # that moment is gone; whoever asked starts another judge
            out.write(message)
            if b'"call"' not in message[:10]:
                break
            ask.write(sys.stdin.buffer.readline())  # what the function gave back


def run(cells: Sequence[Cell]) -> dict[str, tuple[BinaryIO, BinaryIO]]:
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
        if sys.platform == "linux":
            kernel.die_with_parent(signal.SIGKILL)
        os.close(ask)
        os.close(reply)
        _live(cell, namespace, os.fdopen(asked, "rb"), os.fdopen(replied, "wb", buffering=0))
    os.close(asked)
    os.close(replied)
    return os.fdopen(ask, "wb", buffering=0), os.fdopen(reply, "rb")


def _live(cell: Cell, namespace: dict[str, Any], asked: BinaryIO, replied: BinaryIO) -> None:
    """Judge until nobody asks any more. Never returns."""
    try:
        check = _Check(cell, namespace)
        for line in asked:
            request = json.loads(line)

            def call(*arguments: object, label: str = request["label"]) -> object:
                _say(replied, {"call": label, "args": [encode(a) for a in arguments]})
                return _result(json.loads(asked.readline()), arguments)

            _say(replied, check.judge(request["answer"], call))
    finally:
        os._exit(0)


class _Check:
    """The teacher's check, with another answer in place of its second argument."""

    def __init__(self, cell: Cell, namespace: dict[str, Any]) -> None:
        call = check_call(cell)
        self.namespace = namespace
        self.wrt = next((ast.unparse(k.value) for k in call.keywords if k.arg == "wrt"), "None")
        call.args[1] = ast.copy_location(ast.Name(_ANSWER, ast.Load()), call.args[1])
        # How an answer is called is the cage's affair: what it sends is called as it is.
        call.keywords = [keyword for keyword in call.keywords if keyword.arg != "call"]
        self.code = compile(ast.fix_missing_locations(ast.Expression(call)), "<check>", "eval")

    def judge(self, text: str, call: Callable[..., object]) -> dict[str, Any]:
        """Judge an answer that came as plain data; what cannot be read is no answer."""
        note = ""
        with_grads: list[tuple[Tensor, Tensor | None]] = []
        try:
            plain = json.loads(text)
            answer, grads = decode(plain["value"], call=call), plain["grads"]
            _give_back(eval(self.wrt, self.namespace), answer, grads, with_grads)
        except Exception:
            answer = ...
            note = "what came of this exercise could not be read"
        try:
            return {**summary(eval(self.code, {**self.namespace, _ANSWER: answer})), "note": note}
        except Exception as error:  # fails closed: no points for what cannot be judged
            text = f"This could not be judged ({type(error).__name__})."
            return {"outcome": "invalid", "credit": 0.0, "text": text, "html": "", "note": note}
        finally:
            for tensor, before in with_grads:
                tensor.grad = before


def _give_back(
    wrt: Any, answer: Any, names: list[str], before: list[tuple[Tensor, Tensor | None]]
) -> None:
    """Let the answers that were a `.grad` be one here, too: the check then says so.

    Args:
        wrt: the tensors that the check asks about.
        answer: what was answered.
        names: the answers that were a `.grad`.
        before: is given each tensor whose gradient is replaced, and what it was, also where a later
            one cannot be: nothing stays for the next answer.
    """
    tensors = wrt if isinstance(wrt, dict) else {"": wrt}
    answers = answer if isinstance(answer, dict) else {"": answer}
    for name in names:
        tensor, given = tensors.get(name), answers.get(name)
        if isinstance(tensor, Tensor) and isinstance(given, Tensor):
            before.append((tensor, tensor.grad))
            tensor.grad = given


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
    """What the learner's function gave back; an exception, where it raised one.

    What the function did to its arguments is done to these, so that the check can see it.
    """
    if "result" not in reply:
        raise RuntimeError(str(reply.get("raised", "the function did not come to its end"))[:300])
    result, *after = json.loads(reply["result"])
    for own, plain in zip(arguments, after, strict=False):
        came = decode(plain)
        if (
            isinstance(own, Tensor)
            and isinstance(came, Tensor)
            and came.shape == own.shape
            and came.dtype == own.dtype
        ):
            own.copy_(came)
    return decode(result)


def _say(where: BinaryIO, message: dict[str, Any]) -> None:
    where.write(json.dumps(message).encode() + b"\n")
