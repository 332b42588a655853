"""What a search tries, and where: each step it breaks is a right one first."""

import pytest
import torch
import torch.nn.functional as F
from graphs import GRAPHS, Graph, numbers

from checks.breaking import Breaker
from checks.diagnosis import explain
from checks.graph import kind
from checks.malrules.general import BROADCAST_RULES, Broadcast
from checks.matching import Given
from checks.replay import _cost
from checks.undisturbed import undisturbed

DOUBLE = torch.float64


def vector(*values):
    return torch.tensor(values, dtype=DOUBLE, requires_grad=True)


def of_one(function, *values):
    """A graph of one tensor x, whose result may have any shape."""
    x = vector(*(values or (0.3, 1.7, -0.4)))
    y = function(x)
    return Graph(y, {"x": x}, {"x": x, "y": y}, None if y.ndim == 0 else numbers(*y.shape).double())


FORMS = {
    "x * x": lambda x: x * x,
    "log(softmax)": lambda x: torch.log(torch.softmax(x, 0)),
    "x - logsumexp": lambda x: x - x.logsumexp(0, keepdim=True),
    "of another": lambda x: x - (2 * x).logsumexp(0, keepdim=True),
    "x - mean": lambda x: x - x.mean(0, keepdim=True),
    "sigmoid": lambda x: 1 / (1 + torch.exp(-x)),
    "a function of a function": lambda x: torch.sin(x**3),
    "a product of two functions": lambda x: torch.sin(x) * torch.exp(x),
    "of sums": lambda x: x.sum() * (x**2).sum(),
}
EVERY = {**{name: lambda f=f: of_one(f) for name, f in FORMS.items()}, **GRAPHS}


def sites(search):
    breaker = Breaker(search.replay, search.values)
    for node in search.steps:
        for site in breaker._sites[node]:
            yield breaker, site


@pytest.mark.parametrize("name", EVERY)
def test_a_step_that_is_not_broken_gives_the_right_gradient(name):
    # Mistakes caught: steps are taken for one function that they are not; its derivative is wrong;
    # with one input broken, another one is forgotten.
    graph = EVERY[name]()
    for wanted in graph.wrt:
        search = graph.search(wanted)
        with undisturbed():
            for _, site in sites(search):
                given = [p for p in zip(site.inputs, site.raw, strict=False) if p[1] is not None]
                if site.is_span:
                    outcome = search.replay.outcome({site.node: lambda _, sent=given: sent})
                    assert torch.allclose(outcome, search.right, atol=1e-6)
                for slot, gradient in enumerate(site.raw):
                    same = site.put(slot, gradient)
                    assert len(same) == len(site.raw)
                    assert all(a is b for a, b in zip(same, site.raw, strict=True))


@pytest.mark.parametrize("name", EVERY)
def test_two_mistakes_are_two(name):
    # Mistake caught: "the square is not applied fully, and the square is not applied fully".
    graph = EVERY[name]()
    for wanted in graph.wrt:
        with undisturbed():
            found = {c.mistake.name for c in graph.search(wanted).candidates()}
        assert found
        assert not [one for one in found if len(set(one.split("+"))) < len(one.split("+"))]


def test_two_mistakes_at_one_step():
    # Mistakes caught: two mistakes at different steps are found together, and two at one are not;
    # their step is told twice.
    x = vector(0.3, 1.7, -0.4)
    target = numbers(3, seed=3).double()
    losses = F.mse_loss(x, target), torch.sin(x).sum()
    graph = Graph(losses[0] * 3 + losses[1], {"x": x}, {"x": x})
    # Neither the 2 nor the 1/N of the first; there is a second path, so no factor of all will do.
    answer = 3 * (x - target) + torch.cos(x)
    verdict = graph.check(answer.detach(), "x")
    assert set(verdict.mistakes[0].split("+")) == {"mse-factor", "mse-count"}
    assert str(verdict).count(", at the step") == 1


def of_two(search):
    with undisturbed():
        breaker = Breaker(search.replay, search.values)
        (node,) = [n for n in search.steps if breaker._is_of_two(n)]
        return list(breaker._at_two(node))


@pytest.mark.parametrize("name", ["a product of two functions", "of sums"])
def test_of_a_product_of_two_functions_only_its_own_rules_are_tried(name):
    # Mistake caught: "the local gradient is taken as 1", of a step that is no step of the graph.
    search = EVERY[name]().search("x")
    found = of_two(search)
    assert [b.rule.name for b in found if not b.rule.kinds] == []
    assert "product-of-derivatives" in {b.rule.name for b in found}


def test_of_a_product_of_another_shape_they_are_not():
    # Mistake caught: gradients of the shape of the product, for a tensor of another shape.
    x, m = vector(0.3, 1.7, -0.4), numbers(2, 3).double()
    y = torch.sin(x * m) * torch.exp(x * m)
    assert of_two(Graph(y.sum(), {"x": x}, {"x": x}).search("x")) == []


def test_which_path_goes_through_a_step_that_others_go_through():
    # Mistake caught: "only the path through the product" of x · exp(x): both go through it.
    search = of_one(lambda x: x * torch.exp(x)).search("x")
    with undisturbed():
        product, exponential = search.steps
        assert [kind(n) for n in search.steps] == ["Mul", "Exp"]
        assert search.replay.leads(product, [product, exponential])
        assert not search.replay.leads(exponential, [product, exponential])


@pytest.mark.parametrize(
    "function, lost", [(lambda x: x * torch.exp(x), True), (lambda x: x.sin() + x.cos(), False)]
)
def test_a_lost_path_is_said_once(function, lost):
    # Mistake caught: of two paths, "only one is counted" and "the other is forgotten".
    search = of_one(function).search("x")
    with undisturbed():
        found = {c.mistake.name for c in search.candidates()}
    assert "one-path" in found
    assert ("path-lost" in found) == lost


def test_the_wrong_axis_of_a_square():
    # Mistake caught: the sum over the wrong axis is found where its shape gives it away only.
    (rule,) = [rule for rule in BROADCAST_RULES if rule.name == "broadcast-wrong-axis"]
    square = torch.tensor([[1.0, 2.0], [3.0, 5.0]])
    found = rule.change(Broadcast(square.sum(0), square))
    assert [f.tolist() for f in found if f.shape == (2,)] == [[3.0, 8.0]]


def test_ones_for_the_gradient_of_a_single_number():
    # Mistake caught: the local gradient of a norm or a dot product, taken as 1, is not known.
    graph = of_one(lambda x: torch.linalg.vector_norm(x) ** 2)
    norm = graph.wrt["x"].norm().item()
    assert "local-one" in graph.check(torch.full((3,), 2 * norm, dtype=DOUBLE), "x").mistakes


def test_of_two_words_for_one_mistake_one_is_said():
    # Mistake caught: "either J is taken from the other side, or its transpose is left out": the
    # same; and "v is not multiplied in, or ones stand for it".
    x, v, matrix = vector(0.3, 1.7, -0.4), numbers(3).double(), numbers(3, 3, seed=1).double()
    for y, wrong in ((matrix @ x, matrix @ v), (x**2, 2 * x.detach())):
        search = Graph(y, {"x": x}, {"x": x, "y": y}, v).search("x")
        with undisturbed():
            assert len(explain(search, Given(wrong))) == 1


def test_what_a_product_of_matrices_costs():
    # Mistake caught: a thousand products of large matrices are tried as if they were sums.
    a, b = (torch.ones(300, 300, requires_grad=True) for _ in "ab")
    assert _cost((a @ b).grad_fn) > 2 * _cost((a + b).grad_fn)


def test_small_numbers_where_large_ones_are_right_are_no_chance():
    # Mistake caught: how many answers look alike is counted up to the answer's size only.
    graph = of_one(lambda x: (1000 * x**2).sum(), 0.5, 1.0)
    assert graph.check([1.0, 2.0], "x").mistakes


def test_a_broken_bias_leaves_the_matrices_as_they_are():
    # Mistake caught: with the gradient of the bias broken, the first matrix is handed that of the
    # second.
    x, w, times = vector(0.3, 1.7, -0.4), numbers(3, 3).double(), numbers(2, 1, seed=1).double()
    upstream = numbers(2, 3, seed=2).double()
    loss = (torch.addmm(x, x * times, w) * upstream).sum()
    answer = (upstream @ w.T * times).sum(0) + upstream.mean(0)
    verdict = Graph(loss, {"x": x}, {"x": x}).check(answer, "x")
    assert "broadcast-averaged" in verdict.mistakes


def test_a_sigmoid_by_hand_is_told_at_its_last_step():
    # Mistake caught: the step that is named has no name: 1 / x is computed as (1 / x) * 1.
    graph = of_one(FORMS["sigmoid"])
    answer = graph.v * torch.sigmoid(graph.wrt["x"].detach())
    verdict = graph.check(answer, "x")
    assert "sigmoid-one-factor" in verdict.mistakes
    assert ", at the step `y = " in str(verdict)
