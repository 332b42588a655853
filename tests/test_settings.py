"""How much is said: everything for self-study, the step as a hint, the outcome in an exam."""

import json
import sys

import numpy as np
import pytest
import torch
from graphs import GRAPHS, number

import checks
from checks import settings
from checks.settings import SettingsError

FEEDBACK = ("full", "hint", "verdict")


@pytest.fixture(autouse=True)
def defaults():
    settings(feedback="full", follow_through=1.0)
    yield
    settings(feedback="full", follow_through=1.0)


def network():
    graph = GRAPHS["network_with_tanh"]()
    right = {name: graph.true(name) for name in graph.wrt}
    return graph, right


def wrong(name):
    graph, right = network()
    return graph.check(right[name] * 7, name)  # the mean over the samples is left out


def bundle(verdict):
    return json.dumps(verdict._repr_mimebundle_())


def test_full_feedback_names_the_mistake_and_the_step():
    verdict = wrong("logits")
    assert verdict.mistakes == ("nll-count",)
    assert "the mean over the samples is differentiated like a sum" in str(verdict)
    assert "loss = nll_loss(" in str(verdict)
    assert verdict.picture


def test_a_hint_names_the_step_and_not_the_mistake():
    # Mistake caught: the mistake is left out of the text, and stands in what the notebook stores.
    settings(feedback="hint")
    verdict = wrong("logits")
    assert "Look again at the step `loss = nll_loss(" in str(verdict)
    assert "entries are wrong" in str(verdict)
    assert "differentiated" not in bundle(verdict)
    assert "nll-count" not in bundle(verdict)
    assert not verdict.mistakes


def not_summed():
    """A gradient of a bias for each row, where their sum is asked for: another shape."""
    x, b = torch.arange(12.0).reshape(4, 3) + 0.5, torch.tensor([1.5, -2.0, 0.7])
    b.requires_grad_()
    return checks.gradient("6.1", (2 * (x + b)).detach(), of=((x + b) ** 2).sum(), wrt=b)


def test_a_hint_names_no_mistake_of_another_shape_either():
    # Mistake caught: what is left out of a wrong answer is told of one of another shape.
    assert not_summed().mistakes
    settings(feedback="hint")
    assert not_summed().outcome == "invalid"
    assert not not_summed().mistakes
    assert "Your numbers are what comes out" not in bundle(not_summed())


ONE_LINE = {
    "one gradient": lambda: wrong("logits"),
    "a right one": lambda: network()[0].check(network()[1]["W2"], "W2"),
    "a prediction": lambda: checks.value("4.1", [1, 2], [1, 3]),
    "a right prediction": lambda: checks.value("4.1", [1, 3], [1, 3]),
    "an error": lambda: checks.error("4.2", "no error", lambda: torch.ones(2).backward()),
    "a Jacobian": lambda: checks.jacobian("2.1", [[2.0]], of=lambda x: 3 * x, wrt=number(1)[None]),
}


@pytest.mark.parametrize("kind", ONE_LINE)
def test_an_exam_tells_the_outcome_alone(kind):
    # Mistake caught: a sentence, a picture or a name of a mistake that helps in an exam.
    settings(feedback="verdict")
    verdict = ONE_LINE[kind]()
    assert verdict.outcome in ("correct", "wrong")
    assert str(verdict) == verdict.headline
    assert set(verdict._repr_mimebundle_()[1]["checks"]) == {"exercise", "outcome"}
    assert not verdict.mistakes
    assert verdict.picture is None


def test_an_exam_tells_the_outcome_of_each_entry_alone():
    settings(feedback="verdict")
    graph, right = network()
    typed = {**right, "logits": right["logits"] * 7, "W2": right["W2"] * 7, "H": ...}
    verdict = graph.check(typed)
    said = str(verdict).splitlines()
    assert said[0] == verdict.headline
    assert "nll" not in bundle(verdict)
    assert "Begin with" not in bundle(verdict)
    assert verdict.entries["logits"].sentences == ()
    assert verdict.entries["W2"].follows


def test_an_exam_says_what_cannot_be_read():
    # Mistake caught: points are lost for a typing mistake that nobody was told of. How the shapes
    # are related is a hint, and is not told.
    settings(feedback="verdict")
    graph, right = network()
    assert "Text (something between quotes) came" in str(graph.check("0.5", "W2"))
    verdict = graph.check(right["W2"].T, "W2")
    assert verdict.outcome == "invalid"
    assert "(3, 5)" in str(verdict)
    assert "transpose" not in str(verdict)
    settings(feedback="full")
    assert "transpose" in str(graph.check(right["W2"].T, "W2"))


def test_the_outcome_is_the_same_whatever_is_said():
    graph, right = network()
    answers = [right["W2"], 2 * right["W2"], ..., "text", right["W2"].T]
    outcomes = []
    for feedback in FEEDBACK:
        settings(feedback=feedback)
        outcomes.append([str(graph.check(answer, "W2").outcome) for answer in answers])
    assert outcomes[0] == outcomes[1] == outcomes[2]
    assert outcomes[0] == ["correct", "wrong", "unanswered", "invalid", "invalid"]


# -- setting them ----------------------------------------------------------------------------------


def test_what_is_left_out_stays():
    settings(feedback="hint", follow_through=0.5)
    assert settings(feedback="full").follow_through == 0.5
    assert settings(follow_through=0.25).feedback == "full"


@pytest.mark.parametrize("value", ["loud", "", None.__class__, 3])
def test_an_unknown_feedback_is_refused(value):
    with pytest.raises(SettingsError, match='"full", "hint" or "verdict"'):
        settings(feedback=value)


@pytest.mark.parametrize("value", [-0.1, 1.5, float("nan"), "half", [0.5]])
def test_a_worth_outside_0_to_1_is_refused(value):
    with pytest.raises(SettingsError, match="a number from 0 to 1"):
        settings(follow_through=value)


def test_the_environment_sets_a_whole_run(monkeypatch):
    monkeypatch.setattr(sys.modules["checks.settings"], "_current", None)
    monkeypatch.setenv("CHECKS_FEEDBACK", "verdict")
    monkeypatch.setenv("CHECKS_FOLLOW_THROUGH", "0.5")
    assert str(wrong("logits")) == "✗ 1.1: wrong"
    assert checks.settings(follow_through=0.75).feedback == "verdict"


def test_a_misspelt_environment_says_so_and_tells_nothing(monkeypatch):
    # Mistake caught: an exam whose setting has a typing mistake tells everything.
    monkeypatch.setattr(sys.modules["checks.settings"], "_current", None)
    monkeypatch.setenv("CHECKS_FEEDBACK", "verdit")
    verdict = wrong("logits")
    assert verdict.outcome == "invalid"
    assert verdict.about == "notebook"
    assert 'feedback is \'verdit\', but it must be "full", "hint" or "verdict"' in str(verdict)


@pytest.mark.parametrize(
    "wrong",
    [
        {"feedback": np.array(["full", "hint"])},
        {"follow_through": 10**400},
        {"follow_through": "9" * 5000},
        {"follow_through": -(10**5000)},
    ],
    ids=range(4),
)
def test_a_setting_that_is_no_setting_at_all(wrong):
    # Mistake caught: comparing it, or writing it in the message, is a traceback of its own.
    with pytest.raises(SettingsError) as caught:
        settings(**wrong)
    assert len(str(caught.value)) < 200
