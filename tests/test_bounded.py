"""Very large and very odd graphs: bounded work, never an error, never a guess."""

import pytest
import torch
from graphs import GRAPHS, EngineOnly, Graph, leaf, number, numbers

from checks import backward
from checks.diagnosis import explain
from checks.matching import Given
from checks.undisturbed import undisturbed

DOUBLE = torch.float64
MOST_CALLS = 40_000  # of nodes, for one wrong answer: under a second


def long_chain():
    x = leaf(3, dtype=DOUBLE)
    y = x
    for _ in range(300):
        y = torch.sin(y) * 1.01 + 0.1
    return Graph((y**2).mean(), {"x": x}, {"x": x})


def doublings():
    # There are 2 to the power of 60 paths.
    x = leaf(3, dtype=DOUBLE)
    y = x
    for _ in range(60):
        y = y + y
    return Graph(y.sum(), {"x": x}, {"x": x})


def squares_and_skips():
    x = leaf(3, dtype=DOUBLE)
    y = x
    for _ in range(60):
        y = 0.1 * y * y + x
    return Graph(y.sum(), {"x": x}, {"x": x})


def many_leaves():
    ws = [number(0.37 * k + 1) for k in range(200)]
    return Graph(sum(w * w for w in ws) ** 2, {"x": ws[0]})


def one_leaf_used_often():
    x = leaf(3, dtype=DOUBLE)
    return Graph(sum((x * k).sum() for k in range(150)) ** 2, {"x": x})


LARGE = [long_chain, doublings, squares_and_skips, many_leaves, one_leaf_used_often]


@pytest.fixture
def calls(monkeypatch):
    """How many nodes were called."""
    count = [0]
    really = backward.call

    def counted(node, arriving):
        count[0] += 1
        return really(node, arriving)

    monkeypatch.setattr(backward, "call", counted)
    return count


@pytest.mark.parametrize("build", LARGE)
def test_the_work_is_bounded(build, calls):
    # Mistake caught: a search that tries every pair of mistakes at every step, or every path.
    graph = build()
    shape = graph.wrt["x"].shape
    for answer in (numbers(*shape, seed=4), 2 * graph.true("x")):
        calls[0] = 0
        assert graph.check(answer, "x").outcome == "wrong"
        assert calls[0] < MOST_CALLS


def test_a_likely_mistake_is_found_in_a_long_graph():
    # Mistake caught: only what is near the tensor is tried, and what is near the loss is not.
    graph = long_chain()
    verdict = graph.check(3 * graph.true("x"), "x")
    assert verdict.mistakes == ("mean-count",)
    assert graph.check(graph.true("x") / 2, "x").mistakes == ("power-factor",)


def test_large_tensors_are_not_tried_often(calls):
    X, W = numbers(300, 200), leaf(200, 250)
    graph = Graph(torch.tanh(X @ W).mean(), {"W": W}, {"W": W, "X": X})
    assert graph.check(75_000 * graph.true("W"), "W").mistakes == ("mean-count",)
    assert calls[0] < 500


def test_the_second_answer_is_told_as_much_as_the_first():
    # Mistake caught: the work that is granted is used up by the first answer.
    graph = squares_and_skips()
    wrong = -graph.true("x")
    assert graph.check(wrong, "x").mistakes == graph.check(wrong, "x").mistakes != ()


# -- where our pass cannot go ----------------------------------------------------------------------


def test_nothing_is_explained_where_a_node_cannot_be_called():
    # Mistake caught: an exception, or an explanation by a pass that is not autograd's.
    x = leaf(4, dtype=DOUBLE)
    y = EngineOnly.apply(torch.sin(x))
    graph = Graph((y**2).sum(), {"x": x}, {"x": x, "y": y})
    assert graph.check(graph.true("x"), "x")
    for factor in (0.5, -1.0, 3.0):
        verdict = graph.check(factor * graph.true("x"), "x")
        assert verdict.outcome == "wrong"
        assert not verdict.mistakes
        assert "comes out" not in str(verdict)


def test_nothing_is_explained_where_our_pass_gives_something_else():
    # Mistake caught: an explanation although the truth is another one than our pass finds.
    graph = GRAPHS["network_with_tanh"]()
    with undisturbed():
        search = graph.search("W1")
        given = Given(graph.true("W1").double() * 7)
        assert explain(search, given)
        partly = graph.true("W1").clone()
        partly[0] *= 1.5  # right in the other rows
        for other in (graph.true("W1") * 1.5, partly):
            vars(search.question)["gradients"] = {"W1": other}
            assert explain(search, given) == []


def test_nothing_is_made_of_nothing():
    # Mistake caught: a gradient of zeros, which many mistakes give, is explained by one of them.
    graph = GRAPHS["network_with_relu"]()
    verdict = graph.check(torch.zeros(4, 5), "W1")
    assert not verdict.mistakes
    assert "Your answer is all zeros." in str(verdict)


@pytest.mark.parametrize("shape", [(0,), (3, 0)])
def test_an_empty_tensor_has_a_right_gradient_only(shape):
    x = torch.zeros(shape, requires_grad=True)
    graph = Graph((x**2).sum(), {"x": x})
    assert graph.check(torch.zeros(shape), "x")
    assert graph.check(1.0, "x").outcome == "invalid"


def test_complex_numbers_are_compared_and_explained():
    z = torch.tensor([1.0 + 2.0j, -0.5 + 0.3j], requires_grad=True)
    graph = Graph((z * z.conj()).real.sum(), {"z": z}, {"z": z})
    assert graph.check(graph.true("z"), "z")
    assert graph.check(graph.true("z") * 0.37j, "z").outcome == "wrong"


# -- how an answer is written ----------------------------------------------------------------------

WRITTEN = {
    "float64": lambda t: t.double(),
    "float32": lambda t: t.float(),
    "float16": lambda t: t.to(torch.float16),
    "bfloat16": lambda t: t.to(torch.bfloat16),
    "a list": lambda t: t.tolist(),
    "an array": lambda t: t.double().numpy(),
    "a float16 array": lambda t: t.numpy().astype("float16"),
    "three digits": lambda t: [[float(f"{x:.3g}") for x in row] for row in t.tolist()],
    "four digits": lambda t: [[float(f"{x:.4g}") for x in row] for row in t.tolist()],
    "four decimals": lambda t: [[round(x, 4) for x in row] for row in t.tolist()],
}


@pytest.mark.parametrize("form", WRITTEN)
@pytest.mark.parametrize("factor, mistake", [(7, "nll-count"), (-1, "nll-sign")])
def test_a_mistake_is_recognised_however_it_is_written(form, factor, mistake):
    # Mistake caught: rounding, or a coarse format, hides the mistake.
    graph = GRAPHS["network_with_tanh"]()
    answer = WRITTEN[form](factor * graph.true("W2"))
    assert graph.check(answer, "W2").mistakes == (mistake,)


def test_numbers_that_are_near_are_not_those():
    # Mistake caught: six digits that differ in the fourth are taken for the mistake's.
    graph = GRAPHS["network_with_tanh"]()
    assert not graph.check(7.004 * graph.true("W2"), "W2").mistakes
