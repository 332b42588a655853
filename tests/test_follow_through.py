"""Several gradients of one backward pass: each mistake counts once, where it was made."""

from itertools import permutations

import pytest
import torch
from graphs import GRAPHS, EngineOnly, Graph, number, numbers

import checks
from checks import backward, settings
from checks.undisturbed import undisturbed

DOUBLE = torch.float64


@pytest.fixture(autouse=True)
def defaults():
    yield
    settings(feedback="full", follow_through=1.0)


def outcomes(verdict):
    """For each entry what became of it."""
    return {
        name: "follows" if entry.follows else str(entry.outcome)
        for name, entry in verdict.entries.items()
    }


def line():
    """loss = (w x - y)², in numbers: dS = -10, dy_hat = -10, dw = -40."""
    x, w = torch.tensor(4.0), number(3)
    y_hat = w * x
    S = y_hat - 17
    loss = S**2
    wrt = {"S": S, "y_hat": y_hat, "w": w}
    return Graph(loss, wrt, {**wrt, "x": x, "loss": loss})


# -- chains ----------------------------------------------------------------------------------------


def test_what_follows_from_a_wrong_step_is_not_blamed():
    # Mistake caught: one slip costs every gradient behind it.
    verdict = line().check({"S": -5, "y_hat": -5, "w": -20})
    assert outcomes(verdict) == {"S": "wrong", "y_hat": "follows", "w": "follows"}
    assert verdict.outcome == "wrong"
    assert verdict.sentences == (
        "Begin with `S`: on the way back it is the first that is not right.",
    )
    assert verdict.entries["S"].mistakes == ("power-factor",)
    assert verdict.mistakes == ("power-factor",)
    assert "follows from your own upstream gradient" in str(verdict.entries["y_hat"])


def test_nothing_is_earned_by_zeros():
    # Mistake caught: who types zeros everywhere is wrong once, and paid for all that "follows".
    verdict = line().check({"S": 0, "y_hat": 0, "w": 0})
    assert verdict.credit == 0
    assert verdict.sentences[0].startswith("Begin with `S`")
    assert "your own upstream gradient is zero" in str(verdict.entries["w"])


def test_two_gradients_that_are_exchanged_are_told_why():
    # Mistake caught: the very mistake of the exercise is passed over in silence, lest it tell the
    # other answer, which the learner has typed already.
    a, b = number(3), number(-5)
    graph = Graph((a * b) ** 2, {"a": a, "b": b}, {"a": a, "b": b})
    right = {"a": float(graph.true("a")), "b": float(graph.true("b"))}
    exchanged = graph.check({"a": right["b"], "b": right["a"]})
    assert exchanged.mistakes == ("product-swapped", "product-swapped")
    assert graph.check({"a": right["b"], "b": 1.2345}).mistakes == ()


def test_that_it_follows_is_said_once():
    # Mistake caught: after one early mistake the same sentence stands there a dozen times.
    text = str(line().check({"S": -5, "y_hat": -5, "w": -20}))
    assert text.count("follows from your own upstream gradient") == 1


def test_a_chain_that_is_right_is_explained_once():
    # Mistake caught: each entry tells a part of what the last one tells as a whole.
    verdict = line().check({"S": -10, "y_hat": -10, "w": -40})
    assert [bool(entry.sentences) for entry in verdict.entries.values()] == [False, False, True]


def test_two_mistakes_are_two():
    # Mistake caught: the second is blamed on the first, or is compared with the truth.
    verdict = line().check({"S": -5, "y_hat": 5, "w": 20})
    assert outcomes(verdict) == {"S": "wrong", "y_hat": "wrong", "w": "follows"}
    assert verdict.entries["S"].mistakes == ("power-factor",)
    assert verdict.entries["y_hat"].mistakes == ("difference-turned",)


def test_a_right_gradient_after_a_wrong_one_is_right():
    verdict = line().check({"S": -5, "y_hat": -10, "w": -40})
    assert outcomes(verdict) == {"S": "wrong", "y_hat": "correct", "w": "correct"}
    assert not verdict.sentences  # there is one thing to mend, and it says so itself


def test_the_order_of_the_dict_does_not_matter():
    # Mistake caught: the first key is taken for the first step.
    answers = {"S": -5, "y_hat": -5, "w": -20}
    expected = line().check(answers)
    for order in permutations(answers):
        verdict = line().check({name: answers[name] for name in order})
        assert outcomes(verdict) == outcomes(expected)
        assert verdict.sentences == expected.sentences


@pytest.mark.parametrize("between", [..., None, "a text", float("nan"), [1.0, 2.0]])
def test_a_gap_on_the_way_is_passed(between):
    # Mistake caught: the chain ends at a blank, or at what cannot be read.
    verdict = line().check({"S": -5, "y_hat": between, "w": -20})
    assert outcomes(verdict)["S"] == "wrong"
    assert outcomes(verdict)["w"] == "follows"
    missing = line().check({"S": -5, "w": -20})
    assert outcomes(missing) == {"S": "wrong", "y_hat": "unanswered", "w": "follows"}


def test_rounding_is_not_a_mistake():
    # Mistake caught: what follows from a right gradient in three digits is held to be wrong.
    # w's two contributions nearly cancel, so that the third digit of each counts.
    w = number(1)
    S = w * torch.tensor([3.0, -2.9])
    loss = (S * (2 / 3)).sum()
    graph = Graph(loss, {"S": S, "w": w}, {"S": S, "w": w})
    typed = {"S": [0.667, 0.6663], "w": 0.667 * 3 - 0.6663 * 2.9}
    verdict = graph.check(typed)
    settings(follow_through=0.0)
    again = graph.check(typed)
    for one in (verdict, again):
        assert outcomes(one) == {"S": "correct", "w": "follows"}
        assert one.credit == 1.0
        assert "rounded" in str(one.entries["w"])


# -- branches, skips, names ------------------------------------------------------------------------


def test_branches_and_skips():
    # c = a + b, b = a x, a = sin(x): `a` is reached on two ways, `x` on two.
    graph = GRAPHS["branches_and_skips"]()
    x, a = graph.wrt["x"].detach(), graph.wrt["a"].detach()
    dc = graph.wrt["c"].detach()  # the 2 of the square forgotten
    db = dc
    da = dc + db * x
    dx = db * a + da * torch.cos(x)
    verdict = graph.check({"c": dc, "b": db, "a": da, "x": dx})
    assert outcomes(verdict) == {"c": "wrong", "b": "follows", "a": "follows", "x": "follows"}
    # One path dropped on the way: that is a mistake of its own.
    verdict = graph.check({"c": dc, "b": db, "a": dc, "x": db * a + dc * torch.cos(x)})
    assert outcomes(verdict) == {"c": "wrong", "b": "follows", "a": "wrong", "x": "follows"}


def test_a_contribution_is_counted_once():
    # Mistake caught: a tensor on the path of another is cut, and yet its own path is added, too.
    graph = GRAPHS["branches_and_skips"]()
    x = graph.wrt["x"].detach()
    da = torch.tensor([1.5, -2.5, 0.5, 3.0], dtype=DOUBLE)
    dx = graph.true("b") * graph.wrt["a"].detach() + da * torch.cos(x)
    verdict = graph.check({"c": graph.true("c"), "b": graph.true("b"), "a": da, "x": dx})
    assert outcomes(verdict) == {"c": "correct", "b": "correct", "a": "wrong", "x": "follows"}


def test_one_tensor_under_two_names():
    graph = line()
    graph = Graph(graph.of, {**graph.wrt, "again": graph.wrt["S"]}, graph.names)
    both = graph.check({"S": -5, "again": -5, "y_hat": -5, "w": -20})
    assert outcomes(both) == {"S": "wrong", "again": "wrong", "y_hat": "follows", "w": "follows"}
    # Of a right and a wrong one, it is the wrong one that something wrong follows from.
    for typed in ({"S": -10, "again": -5}, {"S": -5, "again": -10}):
        mixed = graph.check({**typed, "y_hat": -5, "w": -20})
        assert outcomes(mixed)["y_hat"] == outcomes(mixed)["w"] == "follows"
    right = graph.check({"S": -10, "again": -10, "y_hat": -10, "w": -40})
    assert right


def test_the_result_itself_may_be_asked_for():
    graph = line()
    wrt = {"loss": graph.of, **graph.wrt}
    graph = Graph(graph.of, wrt, graph.names)
    assert graph.check({"loss": 1, "S": -10, "y_hat": -10, "w": -40})
    verdict = graph.check({"loss": 25, "S": -250, "y_hat": -250, "w": -1000})
    expected = {"loss": "wrong", "S": "follows", "y_hat": "follows", "w": "follows"}
    assert outcomes(verdict) == expected


def test_shapes_are_told_and_what_follows_goes_on():
    # A bias that was not summed has a shape of its own, and is diagnosed as such.
    graph = GRAPHS["regression_on_matrices"]()
    P, X = graph.true("P"), graph.names["X"]
    wrong = 2 * P  # counted twice
    verdict = graph.check({"P": wrong, "W": X.T @ wrong, "b": wrong})
    assert outcomes(verdict) == {"P": "wrong", "W": "follows", "b": "invalid"}
    assert verdict.entries["b"].mistakes == ("broadcast-not-summed",)


# -- the cut itself --------------------------------------------------------------------------------


@pytest.mark.parametrize("label", GRAPHS)
def test_a_cut_is_what_autograd_gives_for_the_graph_that_is_cut(label):
    # Mistake caught: a path around a cut is lost, or one through it is still there. The reference
    # leaves out what goes through each cut tensor, and adds what goes on from the learner's number.
    graph = GRAPHS[label]()
    question = graph.case().question
    cut = list(graph.wrt)
    given = {
        name: numbers(*tensor.shape, seed=k, dtype=tensor.dtype)
        for k, (name, tensor) in enumerate(graph.wrt.items())
    }
    with undisturbed():
        cuts = {question.edges[name]: given[name] for name in cut}
        seen = backward.run(question.root, question.v, question.nodes, cuts=cuts)
    for name in cut:
        expected = by_hand(graph, name, given)
        got = seen.arriving[question.edges[name]]
        scale = float(expected.abs().max())
        exact = 1e-12 if graph.of.dtype is DOUBLE else 2e-6
        assert torch.allclose(got, expected, rtol=0, atol=exact * scale), name


def by_hand(graph, name, given):
    """The gradient at a tensor, by calls of autograd that stop at the next named tensors.

    Autograd's own cut: a tensor hook that replaces the gradient by the learner's, on each tensor
    but the one that is asked for.
    """
    hooks = [
        tensor.register_hook(lambda _, own=given[other]: own)
        for other, tensor in graph.wrt.items()
        if other != name
    ]
    try:
        (found,) = torch.autograd.grad(graph.of, graph.wrt[name], graph.v, retain_graph=True)
    finally:
        for hook in hooks:
            hook.remove()
    return found


def test_a_cut_in_double_precision():
    # The same to 1e-12, with the two sides written out.
    x = numbers(5, dtype=DOUBLE).requires_grad_()
    a = torch.exp(x)
    b = a * x
    c = b + torch.sin(a)
    loss = (c**3).mean()
    graph = Graph(loss, {"c": c, "b": b, "a": a, "x": x})
    question = graph.case().question
    g = {name: numbers(5, seed=k, dtype=DOUBLE) for k, name in enumerate(("c", "b", "a"))}
    with undisturbed():
        cuts = {question.edges[name]: g[name] for name in g}
        arriving = backward.run(question.root, question.v, question.nodes, cuts=cuts).arriving
    expected = {
        "c": 3 * c**2 / 5,
        "b": g["c"],
        "a": g["c"] * torch.cos(a) + g["b"] * x,
        "x": g["b"] * a + g["a"] * a,
    }
    for name, by_formula in expected.items():
        distance = (arriving[question.edges[name]] - by_formula).abs().max()
        assert distance <= 1e-12 * by_formula.abs().max()


# -- what it is worth ------------------------------------------------------------------------------


@pytest.mark.parametrize("worth", [0.0, 0.5, 1.0])
def test_the_worth_is_a_setting(worth):
    settings(follow_through=worth)
    verdict = line().check({"S": -5, "y_hat": -5, "w": -20})
    assert verdict.credit == pytest.approx(2 * worth / 3)
    assert line().check({"S": -10, "y_hat": -10, "w": -40}).credit == 1.0
    assert line().check({"S": ..., "y_hat": ..., "w": ...}).credit == 0.0


def test_an_entry_that_cannot_be_read_costs_that_entry():
    verdict = line().check({"S": -10, "y_hat": "a text", "w": -40})
    assert verdict.outcome == "invalid"
    assert verdict.credit == pytest.approx(2 / 3)


def test_a_step_that_cannot_be_called_leaves_the_truth_alone():
    # Mistake caught: a stumble, or a guess, where our own pass cannot go.
    w = number(3)
    z = EngineOnly.apply(w)
    S = z - 17
    loss = S**2
    wrt = {"S": S, "z": z, "w": w}
    graph = Graph(loss, wrt, wrt)
    assert graph.check({"S": -22, "z": -22, "w": -44})
    verdict = graph.check({"S": -11, "z": -11, "w": -22})
    assert outcomes(verdict) == {"S": "wrong", "z": "wrong", "w": "wrong"}
    assert not verdict.mistakes
    assert checks.gradient("1.1", -1.0, of=loss, wrt=w).outcome == "wrong"
