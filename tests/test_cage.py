"""The process that runs a submission: what it runs, what it says, what it puts back."""

from __future__ import annotations

import json
import signal
import sys
from collections.abc import Iterator
from typing import Any

import pytest
import torch

pytest.importorskip("resource", reason="marking needs Linux or macOS")

from checks import comparison
from checks.classroom import cage
from checks.classroom.plain import decode, encode

ALARMS = (signal.SIGALRM, signal.SIGVTALRM, signal.SIGPROF)


def said(*cells: dict[str, Any], blanked: tuple[int, ...] = ()) -> list[dict[str, Any]]:
    """What is said when these cells run, but for which of them begins."""
    messages: list[dict[str, Any]] = []
    asked = cage.run({"cells": list(cells), "blanked": [*blanked]}, messages.append)
    messages.append({"asked": asked})
    return [message for message in messages if "begin" not in message]


def code(text: str, role: str = "code") -> dict[str, Any]:
    return {"role": role, "code": text, "typed": ""}


def answer(typed: str) -> dict[str, Any]:
    return {"role": "answer", "code": "", "typed": typed}


def check(asked: str = "x", call: str = "", wrt: str = "None") -> dict[str, Any]:
    return {"role": "check", "code": "", "label": "1", "asked": asked, "call": call, "wrt": wrt}


def notes(*cells: dict[str, Any]) -> list[tuple[str, int]]:
    return [(one["note"], one["cell"]) for one in said(*cells) if "note" in one]


def answered(*cells: dict[str, Any], blanked: tuple[int, ...] = ()) -> Any:
    """What the check is asked about, as the judge reads it."""
    (one,) = [m for m in said(*cells, blanked=blanked) if "label" in m]
    return decode(json.loads(one["answer"])["value"])


def test_cells_run_in_order_and_answers_are_said() -> None:
    # The mistakes: the teacher's blank counts, and not what was typed; a cell is passed over.
    cells = (code("y = 1"), {**answer("x = y + 1"), "code": "x = ..."}, code("y = 7"), check())
    assert answered(*cells) == 2
    assert answered(*cells, blanked=(1,)) is ...
    assert answered(code("del y\nx = 1"), check("[x, z]")) is ...
    messages: list[dict[str, Any]] = []
    cage.run({"cells": [*cells], "blanked": []}, messages.append)
    assert [m["begin"] for m in messages if "begin" in m] == [0, 1, 2, 3]


@pytest.mark.parametrize(
    "typed, x",
    [
        ("%time x = 5", 5),
        ("%%time\nx = 5", 5),
        ("%%capture out\nx = 5", 5),
        ("!ls\n%matplotlib inline\nx = 5", 5),
        ("files = !ls\ndisplay(3)\nget_ipython().magic('x')\nx = 5", 5),
        ("import asyncio\nawait asyncio.sleep(0)\nx = 5", 5),
        ("x = 5\nx?", 5),
        ("%%bash\nx = 5", ...),
    ],
)
def test_what_is_written_for_a_notebook_runs(typed: str, x: object) -> None:
    # The mistake: what works in Jupyter is a SyntaxError where it is marked.
    assert answered(code("x = ..."), answer(typed), check()) == x


def test_what_a_cell_raised_is_told() -> None:
    # The mistakes: no points, and no word why; what is meant to raise is told; an address, which
    # is another one each time.
    boom = "raise ValueError('no ' + str(object()))"
    told = "The cell raised ValueError: no <object object>"
    assert notes(code("x = 1"), answer(boom)) == [(told, 1)]
    assert notes(code(boom), code("x = 1")) == [(told, 0)]
    assert notes(code(boom, "raises-exception"), code("x = 1")) == []
    assert notes(answer("raise SystemExit"), answer("x = = 1")) == [
        ("The cell raised SystemExit: ", 0),
        ("The cell raised SyntaxError: invalid syntax (<cell>, line 1)", 1),
    ]
    ((crooked, _),) = notes(answer("\tx = 1\n  y = 2"))  # IPython itself cannot read it
    assert crooked.startswith("The cell raised IndentationError")
    (long,) = notes(answer("raise ValueError('n' * 10**6)"))
    assert 100 < len(long[0]) < 400
    (odd,) = notes(answer("class E(Exception):\n    __str__ = None\nraise E"))
    assert odd[0].endswith("an exception that cannot be shown")


def test_a_function_is_called_over_the_border() -> None:
    # The mistakes: it is called with its own tensors, its error is lost, or a blank is called.
    def reply(typed: str, label: str = "1", call: str = "") -> dict[str, Any]:
        asked = said(answer(typed), check("f", call))[-1]["asked"]
        request = {"label": label, "args": [encode(torch.tensor([1.0, 2.0])), encode(3)]}
        return dict(cage.answer_call(request, asked))

    came = [decode(part) for part in json.loads(reply("f = lambda x, n: x * n")["result"])]
    assert came[0].tolist() == [3, 6] and came[1].tolist() == [1, 2] and came[2] == 3
    changed = reply("def f(x, n):\n    x += n")["result"]
    assert [decode(part) for part in json.loads(changed)][1].tolist() == [4, 5]
    assert reply("f = lambda x, n: 1 / 0") == {"raised": "ZeroDivisionError: division by zero"}
    assert reply("f = lambda x, n: x", label="2") == {"raised": "the function is gone"}
    through = reply("f = {'a': lambda x: x}", call="lambda f, x, n: f['a'](n)")
    assert decode(json.loads(through["result"])[0]) == 3
    call = "lambda f, x, n: f['a'](n)"
    assert answered(answer("f = {'a': ...}"), check("f", call)) is ...
    assert answered(answer("f = ..."), check("f", call)) is ...


@pytest.mark.parametrize(
    "typed, found",
    [
        ("(w * w).sum().backward()\ng = w.grad", [""]),
        ("(w * w).sum().backward()\ng = w.grad.clone()", []),
        ("(w * w).sum().backward()\ng = {'w': w.grad, 'v': 2}", ["w"]),
        ("g = 2", []),
        ("g = ...", []),
    ],
)
def test_what_autograd_has_filled_in_is_said(typed: str, found: list[str]) -> None:
    # The mistake: `w.grad` is handed in for a gradient by hand, and nobody is told.
    start = code("import torch\nw = torch.ones(2, requires_grad=True)\nv = torch.ones(2)")
    wrt = "{'w': w, 'v': v}" if "{" in typed else "w"
    (one,) = [m for m in said(start, answer(typed), check("g", wrt=wrt)) if "label" in m]
    assert json.loads(one["answer"])["grads"] == found


def test_what_an_answer_draws_changes_nothing_after_it() -> None:
    # The mistake: who draws numbers in one exercise loses a later one, whose demo draws some, too.
    draw = "import random, numpy\ndrawn = torch.rand(2), random.random(), numpy.random.rand()"
    asked = {
        "label": "1",
        "call": "",
        "wrt": "None",
        "code": "",
        "asked": "[float(drawn[0][0]), *drawn[1:]]",
    }

    def drawn(typed: str) -> object:
        said: list[dict[str, Any]] = []
        answer = {"role": "answer", "code": "", "typed": typed}
        cells = [{"role": "code", "code": "import torch"}, answer, {"role": "code", "code": draw}]
        cage.run({"cells": [*cells, {"role": "check", **asked}], "blanked": []}, said.append)
        return said[-1]

    assert drawn("") == drawn(draw) == drawn("torch.manual_seed(7)\nimport random\nrandom.seed(3)")


def test_a_magic_whose_cell_is_not_run_is_told() -> None:
    # The mistake: an answer below `%%script` is lost, and nobody knows why.
    said: list[dict[str, Any]] = []
    answer = {"role": "answer", "code": "", "typed": "%%bash\nrm -rf /"}
    cage.run({"cells": [answer], "blanked": []}, said.append)
    assert said[-1] == {"note": "What stands below `%%bash` was not run.", "cell": 0}


@pytest.mark.parametrize(
    "typed, named",
    [
        ("torch.allclose = len", "torch.allclose"),
        ("torch.Tensor.sum = None", "Tensor.sum"),
        ("import sys\nsys.modules['json'] = 3", "json"),
        ("import checks.comparison as c\nc.len = max", "checks.comparison.len"),
        ("import builtins\nbuiltins.len = max", "builtins.len"),
        ("torch.set_default_dtype(torch.float64)\ntorch.set_grad_enabled(False)", ""),
        ("own = torch.ones(2)", ""),
    ],
)
def test_what_a_cell_changes_is_put_back_and_told(typed: str, named: str) -> None:
    # The mistake: the exercises after it suffer, and nobody knows why.
    def state() -> tuple[object, ...]:
        own = (
            vars(comparison).get("len"),
            torch.allclose,
            torch.Tensor.sum,
            len,
            sys.modules["json"],
        )
        return *own, torch.get_default_dtype(), torch.is_grad_enabled()

    before = state()
    said: list[dict[str, Any]] = []
    cells = [
        {"role": "code", "code": "import torch", "typed": ""},
        {"role": "answer", "code": "", "typed": typed},
    ]
    cage.run({"cells": cells, "blanked": []}, said.append)
    told = [message["note"] for message in said if "note" in message]
    assert told == ([f"The cell changed `{named}`; it was put back."] if named else [])
    assert state() == before


@pytest.fixture(autouse=True)
def alarms() -> Iterator[None]:
    """What a cell has done with the alarms of this process is put back."""
    before = {number: signal.getsignal(number) for number in ALARMS}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


def test_an_alarm_that_a_cell_has_set_does_not_ring_in_another() -> None:
    # The mistake: a cell that measures itself ends the one after it.
    rings = "import signal\ndef late(*_): raise TimeoutError\nsignal.signal(signal.SIGALRM, late)"
    said(answer(rings))
    assert [signal.getsignal(number) for number in ALARMS] == [signal.SIG_IGN] * len(ALARMS)
