"""What is said of a wrong answer, of none, and of an unusable one gives no true gradient away."""

import html
import re

import pytest
import torch
from graphs import GRAPHS, Graph, number

_NUMBER = re.compile(r"[-−]?\d+(?:\.\d+)?(?:e[-−+]?\d+)?")


def words(verdict):
    """All that a reader sees, as text and in the notebook, without the picture's coordinates."""
    page = verdict._repr_mimebundle_()[0]["text/html"]
    return f"{verdict}\n{html.unescape(re.sub('<[^>]*>', ' ', page))}"


def told(verdict, secrets):
    """The secrets that are written down in four digits or more, with any sign."""
    written = []
    for text in _NUMBER.findall(words(verdict)):
        digits = re.sub(r"e.*|\D", "", text).lstrip("0")
        if len(digits) >= 4:
            written.append((abs(float(text.replace("−", "-"))), 0.5 * 10.0 ** (1 - len(digits))))
    return [
        secret
        for secret in secrets
        for value, unit in written
        if abs(abs(secret) - value) <= unit * abs(secret)
    ]


def secrets(graph, *names):
    """The true gradients that are asked for; a round number could be any number."""
    flat = [float(x) for name in names for x in graph.true(name).flatten()]
    return [x for x in flat if abs(x - float(f"{x:.4g}")) > 1e-6 * abs(x)]


def wrong_answers(graph, name):
    """Numbers of mal-rules, and some that are none."""
    true = graph.true(name).double()
    yield from (c.gradient.double() for c in list(graph.search(name).candidates())[::7])
    yield torch.full_like(true, 0.7)
    yield true + 0.037
    yield true[..., None]


@pytest.mark.parametrize("label", GRAPHS)
def test_no_wrong_answer_is_told_the_right_one(label):
    # Mistake caught: the true value or a bare ratio in a sentence, a picture or an error.
    graph = GRAPHS[label]()
    for name in graph.wrt:
        for answer in wrong_answers(graph, name):
            verdict = graph.check(answer, name)
            if not verdict:
                assert told(verdict, secrets(graph, name)) == [], verdict


UNUSABLE = [..., None, "0.5", [1.0, ...], float("nan"), lambda: 1, [[1], 2]]


@pytest.mark.parametrize("answer", UNUSABLE)
def test_neither_empty_nor_unusable_answers_are_told_it(answer):
    # Mistake caught: what is expected is shown in place of its shape.
    for build in GRAPHS.values():
        graph = build()
        for name in graph.wrt:
            assert told(graph.check(answer, name), secrets(graph, name)) == []


def network():
    graph = GRAPHS["network_with_tanh"]()
    return graph, {name: graph.true(name).double() for name in graph.wrt}


def test_no_entry_tells_another():
    # Mistake caught: one wrong entry's explanation, or the picture beside it, shows another's.
    graph, true = network()
    for name in graph.wrt:
        for answer in list(wrong_answers(graph, name))[::3]:
            for others in (..., 0 * true["b1"]):
                verdict = graph.check(dict.fromkeys(graph.wrt, others) | {name: answer})
                assert told(verdict, secrets(graph, *graph.wrt)) == [], verdict


def test_no_bare_ratio_is_told():
    # Mistake caught: "3.7 times too large". Of a single number every wrong answer has a ratio, and
    # it gives the right one away.
    x, w = torch.tensor(4.12345), number(3.1)
    loss = (w * x - 17.3) ** 2
    graph = Graph(loss, {"w": w}, {"x": x, "w": w, "loss": loss})
    true = float(graph.true("w"))
    for ratio in (3.7213, -1.8329, 0.21437, 29.317):
        verdict = graph.check(ratio * true, "w")
        assert told(verdict, [ratio, 1 / ratio]) == []
        assert not re.search("factor|times", words(verdict))


def test_a_gradient_taken_for_another_is_not_named():
    # Mistake caught: "the chain rule stops here", said of a number that is the right answer to
    # another entry, which is still blank.
    x, w = torch.tensor(4.12345), number(3.1)
    y_hat = w * x
    loss = (y_hat - 17.3) ** 2
    graph = Graph(loss, {"y_hat": y_hat, "w": w}, {"x": x, "w": w, "y_hat": y_hat})
    taken = float(graph.true("y_hat"))
    silent = graph.check({"y_hat": ..., "w": taken}).entries["w"]
    assert not silent.mistakes
    assert "left out" not in str(silent)
    # Where the other one is found, it is no secret any more.
    assert graph.check({"y_hat": taken, "w": taken}).entries["w"].mistakes


def test_a_constant_that_is_the_gradient_is_not_written_out():
    # Mistake caught: the step is written with its constant, and the constant is the answer.
    w = number(3.1)
    loss = w * 2.71828
    graph = Graph(loss, {"w": w}, {"w": w, "loss": loss})
    assert told(graph.check(1.0, "w"), [2.71828]) == []
    x = torch.tensor([1.41421, 2.71828, 3.14159])
    v = torch.tensor([0.57722, 1.61803, 0.91597], requires_grad=True)
    graph = Graph((v * x).sum(), {"v": v}, {"v": v, "x": x})
    assert told(graph.check(torch.ones(3), "v"), x.tolist()) == []
