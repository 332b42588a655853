"""What reaches a check from an answer, other than by its second argument, is found."""

import pytest

from checks.classroom.lesson import parse
from checks.classroom.taint import leaks

DEMO = """
import torch
import checks
x = torch.tensor(3.0)
w = torch.tensor(0.5, requires_grad=True)
loss = (w * x) ** 2
"""
CHECK = 'checks.gradient("5.1", dw, of=loss, wrt=w)'


def found(*cells: tuple[str, str]) -> list[str]:
    """What is found in a lesson of these (tags, source) cells, and the demo above."""
    text = "".join(
        f"```{{code-cell}} ipython3\n:tags: [{tags}]\n\n{source}\n```\n\n"
        for tags, source in [("", DEMO), *cells]
    )
    return leaks(parse(text, "05_lesson").cells)


def answer(solution: str) -> tuple[str, str]:
    return "answer", f"dw = ...\n### BEGIN SOLUTION\n{solution}\n### END SOLUTION"


FINE = {
    "plain": [answer("dw = 2 * w * x * x"), ("check", CHECK)],
    "a demo shows the answer": [
        answer("dw = 1"),
        ("", "if dw is not ...:\n    shown = float(dw)\n    print(shown, w)"),
        ("check", CHECK),
    ],
    "an own local name": [answer("dw = 1"), ("", "of = lambda dw: dw * x"), ("check", CHECK)],
    "bound anew by a demo": [
        answer("loss = 1\ndw = 1"),
        ("", "loss = (w * x) ** 2"),
        ("check", CHECK),
    ],
    "changes what it made": [
        answer("dw = torch.ones(2).add_(1)\ndw += 1\ndw[0] = 3\ndw.zero_()"),
        ("check", CHECK),
    ],
    "a leaf of its own": [
        answer("v = torch.ones(2).requires_grad_()\nv.sum().backward()\ndw = v.grad"),
        ("check", CHECK),
    ],
    "a function that changes its argument": [
        answer("def dw(v):\n    v -= 1\n    v.grad.zero_()\n    return v"),
        ("check", CHECK),
    ],
    "a variable of a comprehension that the answer uses as well": [
        ("", "k = 2\nlosses = [i * k * w for i in range(3)]"),
        answer("for i in range(3):\n    k = i\ndw = k"),
        ("", "more = {i: {j for j in [i]} for i in range(3)}"),
        ("check", CHECK.replace("=loss", "=losses[len(more)]")),
    ],
    "what is made on the way": [
        ("", "losses = [w]"),
        answer("dw = 0\ndw += len(rows := [w])\nrows.append(2)"),
        ("check", CHECK.replace("=loss", "=losses[-1]")),
    ],
    "a loop variable that the answer uses as well": [
        ("", "losses = []\nfor i in range(3):\n    losses.append(i * w)"),
        answer("for i in range(3):\n    dw = i"),
        ("check", CHECK.replace("=loss", "=losses[-1]")),
    ],
}


@pytest.mark.parametrize("case", FINE)
def test_an_honest_lesson_is_accepted(case: str) -> None:
    # A proof that refuses everything proves nothing, and authors would turn it off.
    assert found(*FINE[case]) == []


FROM_ANSWER = {
    "directly": [answer("loss = 1\ndw = 1"), ("check", CHECK)],
    "as the name that is checked": [answer("dw = 1"), ("check", CHECK.replace("=loss", "=dw"))],
    "through a demo": [answer("dw = 1"), ("", "loss = dw * w"), ("check", CHECK)],
    "through two demos": [
        answer("dw = 1"),
        ("", "half = dw / 2\nfull = 2 * half"),
        ("", "loss, other = full * w, 1"),
        ("check", CHECK),
    ],
    "through a guard": [
        answer("dw = 1"),
        ("", "if dw is not ...:\n    loss = 2 * w"),
        ("check", CHECK),
    ],
    "through an augmented assignment": [answer("dw = 1"), ("", "loss += dw"), ("check", CHECK)],
    "through a for loop": [
        answer("dw = 1"),
        ("", "for loss in [dw]:\n    pass"),
        ("check", CHECK),
    ],
    "through a comprehension": [
        answer("dw = 1"),
        ("", "loss = {n: [m * dw for m in range(n)] for n in range(3)}"),
        ("check", CHECK),
    ],
    "through a set": [
        answer("dw = 1"),
        ("", "loss = max({m * dw for m in (1, 2)})"),
        ("check", CHECK),
    ],
    "through a with statement": [
        answer("dw = 1"),
        ("", "with torch.no_grad():\n    loss = w * dw"),
        ("check", CHECK),
    ],
    "through an item": [
        answer("dw = 1"),
        ("", "loss = [0]\nloss[0] = dw"),
        ("check", CHECK.replace("=loss", "=loss[0]")),
    ],
    "through a change in place": [answer("dw = 1"), ("", "loss.mul_(dw)"), ("check", CHECK)],
    "through a cell that is meant to fail": [
        answer("dw = 1"),
        ("raises-exception", "loss = dw\n1 / 0"),
        ("check", CHECK),
    ],
    "not made clean by a cell that fails": [
        answer("loss = 1\ndw = 1"),
        ("raises-exception", "1 / 0\nloss = 2"),
        ("check", CHECK),
    ],
    "not made clean by what may not run": [
        answer("loss = 1\ndw = 1"),
        ("", "if x > 3:\n    loss = 2 * w"),
        ("check", CHECK),
    ],
    "through a function": [
        answer("dw = 1"),
        ("", "def loss(w):\n    return w * dw"),
        ("check", CHECK),
    ],
    "through a function that is older than the answer": [
        ("", "def loss(w):\n    return w * factor"),
        answer("factor = 2\ndw = 1"),
        ("check", CHECK),
    ],
    "through a function of a function": [
        ("", "def inner(w):\n    return w * factor\nouter = lambda w: inner(w)\nloss = outer"),
        answer("factor = 2\ndw = 1"),
        ("check", CHECK),
    ],
    "in a lambda": [answer("dw = 1"), ("check", CHECK.replace("=loss", "=lambda w: w * dw"))],
    "as a global of a function": [
        answer("def helper():\n    global loss\n    loss = 1\ndw = 1"),
        ("check", CHECK),
    ],
    "in an argument by position": [
        answer("dw = 1"),
        ("check", 'checks.value("5.1", dw, dw)'),
    ],
}


@pytest.mark.parametrize("case", FROM_ANSWER)
def test_a_check_that_depends_on_an_answer_is_found(case: str) -> None:
    # Such an exercise cannot be marked without running the submission in the marker's process.
    (problem, *_) = found(*FROM_ANSWER[case])
    assert problem.startswith("cell check-5-1: its argument ")
    assert problem.endswith("comes from the answer cell answer-5-1")


CHANGES = {
    "w += 1": "w",
    "w.grad.zero_()": "w",
    "w.grad = None": "w",
    "w.data[0] = 1": "w",
    "del w.grad": "w",
    "loss.backward()": "loss",
    "(w * x).backward()": "w",
    "for _ in range(3):\n    w.sub_(1)": "w",
    "torch.add(x, 1, out=w)": "w",
}


@pytest.mark.parametrize("solution", CHANGES)
def test_an_answer_that_changes_what_it_did_not_make_is_found(solution: str) -> None:
    # The change has no name that could be followed to the check.
    problems = found(answer(f"{solution}\ndw = 1"), ("check", CHECK))
    assert any(p.startswith(f"cell answer-5-1 changes `{CHANGES[solution]}`") for p in problems)
