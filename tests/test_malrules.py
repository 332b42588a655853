"""Every mal-rule gives the wrong answer that it stands for, and is named when that answer comes."""

import re

import pytest
import torch
import torch.nn.functional as F
from exercises import SOURCES
from graphs import Graph
from wrong import CASES

from checks.malrules import BROADCAST_RULES, MEETING_RULES, NODE_RULES, RESULT_RULES
from checks.malrules.functions import _DERIVATIVES
from checks.undisturbed import undisturbed

RULES = [*NODE_RULES, *BROADCAST_RULES, *MEETING_RULES, *RESULT_RULES]
IDS = [f"{name}: {build.__name__}" for name, _, build in CASES]


def close(one, other):
    return one.shape == other.shape and torch.allclose(
        one.double(), other.double(), rtol=2e-6, atol=1e-9
    )


@pytest.mark.parametrize("name, rows, build", CASES, ids=IDS)
def test_the_mistake_is_named(name, rows, build):
    # Mistake caught: a mal-rule whose formula is not what people do, or that is never reached.
    graph, wrt, numbers = build()
    answer = torch.as_tensor(numbers).detach()
    verdict = graph.check(answer, wrt)
    assert verdict.outcome in ("wrong", "invalid")
    with undisturbed():
        found = list(graph.search(wrt).candidates())
    same = {candidate.mistake.name for candidate in found if close(candidate.gradient, answer)}
    assert name in same, f"the mal-rule does not give these numbers; these do: {same}"
    assert verdict.mistakes, f"no mistake is named: {verdict}"
    assert verdict.mistakes[0] in same


def test_every_rule_has_a_case():
    # Mistake caught: a row that nobody has tried.
    tried = {name for name, _, _ in CASES}
    assert {rule.name for rule in RULES} - tried == set()


def test_every_row_is_well_formed():
    # Mistake caught: two rows of one name, of which a report could not tell which it was; a
    # sentence that cannot be read after "Your numbers are what comes out when"; a lesson that is
    # not there.
    lessons = {path.name[1] for path in SOURCES}
    for table in (NODE_RULES, BROADCAST_RULES, MEETING_RULES, RESULT_RULES):
        for rule in table:
            assert rule.says[0].islower() or rule.says.startswith(("ReLU", "J"))
            assert not rule.says.endswith(".")
            assert re.sub(r"{operation}", "", rule.says).isprintable()
            assert "{" not in rule.says.format(operation="square")
            assert rule.lesson in lessons
            assert 1 <= rule.rank <= 5
    names = [rule.name for rule in RULES]
    assert len(names) == len(set(names))
    assert not any("+" in name for name in names)  # joins two that came together


def test_every_documented_mistake_has_a_case():
    # 27, 29 and 32 are no wrong rules of a backward pass.
    rows = {row for _, rows, _ in CASES for row in rows}
    assert rows == {*range(1, 32)} - {27, 29}


@pytest.mark.parametrize("kind", _DERIVATIVES)
def test_the_derivatives_that_are_put_elsewhere_are_right(kind):
    # Mistake caught: "the derivative at the wrong point", of another function.
    x = torch.tensor([0.3, 1.7, 2.9], dtype=torch.float64, requires_grad=True)
    (true,) = torch.autograd.grad(getattr(torch, kind.lower())(x).sum(), x)
    assert torch.allclose(_DERIVATIVES[kind](x.detach()), true)


NEVER = {
    "a power of a number": (lambda x: (x**3).sum(), "exponential"),
    "a square of a sum": (lambda x: ((x[:2] + x[2:]) ** 2).sum(), "prediction-for-residual"),
    "a square of a sum of a constant": (
        lambda x: ((x + 1.5) ** 2).sum(),
        "prediction-for-residual",
    ),
    "a square of an input": (lambda x: (x**2).sum(), "prediction-for-residual"),
    "a squared error of each entry": (
        lambda x: F.mse_loss(x, torch.ones(4), reduction="none").sum(),
        "mse-averaged",
    ),
    "a loss that is a mean": (
        lambda x: F.nll_loss(x.reshape(2, 2), torch.tensor([0, 1])),
        "nll-averaged",
    ),
    "a loss of each sample": (
        lambda x: F.nll_loss(x.reshape(2, 2), torch.tensor([0, 1]), reduction="none").sum(),
        "nll-averaged",
    ),
    "a variance that divides by something else": (lambda x: x.var(correction=2), "variance-count"),
}


@pytest.mark.parametrize("case", NEVER)
def test_a_rule_is_not_tried_where_it_says_nothing(case):
    # Mistake caught: a mistake is named that nobody can have made in this step.
    function, name = NEVER[case]
    x = torch.tensor([0.3, 1.7, 2.9, -0.4], requires_grad=True)
    graph = Graph(function(x), {"x": x}, {"x": x})
    with undisturbed():
        found = {candidate.mistake.name for candidate in graph.search("x").candidates()}
    assert found
    assert not {one for one in found if one.startswith(name)}
