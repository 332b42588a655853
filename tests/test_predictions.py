"""Predict first, then let PyTorch confirm: `value` and `error`."""

import math
import warnings

import numpy as np
import pytest
import torch
from junk import JUNK
from labels import label

import checks

x = torch.tensor([1.0, 2.0, 3.0], requires_grad=True)


def outcome(predicted, actual):
    return str(checks.value("4.1", predicted, actual).outcome)


# Predictions that are right for what really came out.
RIGHT = [
    (True, True),
    (False, x.requires_grad is False),
    (np.bool_(True), True),
    (torch.tensor(True), True),
    ("MulBackward0", (x * 2).grad_fn.name()),
    ("  mulbackward0 ", "MulBackward0"),
    ("torch.float32", torch.float32),
    ("float32", torch.float32),
    ("float", torch.float32),
    ("long", torch.int64),
    (torch.float, torch.float32),
    ("cpu", torch.device("cpu")),
    (torch.device("cpu"), torch.device("cpu")),
    ("Tensor", type(x)),
    (torch.Tensor, torch.Tensor),
    ("torch.strided", torch.strided),
    (None, None),
    ("None", None),
    (None, x.grad),
    ((), torch.tensor(1.0).shape),
    ((3,), x.shape),
    ([3], x.shape),
    (torch.Size([2, 4]), torch.ones(2, 4).shape),
    (torch.tensor([2, 4]), (2, 4)),
    (3, 3),
    (3.0, 3),
    (2**53 + 1, 2**53 + 1),
    (2**53 + 1, torch.tensor(2**53 + 1)),
    (10**400, 10**400),
    (0.333, 1 / 3),
    (14, (x * x).sum()),
    ([1, 2, 3], x),
    (np.array([1.0, 2.0, 3.0]), x),
    ((1.0, 2.0, 3.0), np.array([1.0, 2.0, 3.0])),
    (2.5, np.float32(2.5)),
    ([True, False], torch.tensor([True, False])),
    (True, torch.tensor(True)),
    (1 + 2j, 1 + 2j),
    (float("nan"), math.nan),
    ([1.0, math.inf], torch.tensor([1.0, math.inf])),
    ([math.nan, 0.0], torch.tensor([math.nan, 0.0])),
    ((None, True), (None, True)),
    (["a", (1, 2)], ["a", (1, 2)]),
    ({"x": None, "y": [1, 2, 3]}, {"x": None, "y": x}),
]


@pytest.mark.parametrize("predicted, actual", RIGHT, ids=label)
def test_right_predictions(predicted, actual):
    # Mistake caught: a right prediction is refused for the way it is written.
    assert outcome(predicted, actual) == "correct"


WRONG = [
    (True, False),
    ("AddBackward0", "MulBackward0"),
    ("float64", torch.float32),
    ("export", torch.float32),
    ("int", type(x)),
    (None, True),
    (None, 0.0),
    (0.0, None),
    (False, None),
    ((3, 1), (3,)),
    ((), (3,)),
    ((4,), (3,)),
    (4, 3),
    (2**53, 2**53 + 1),
    (2**53, torch.tensor(2**53 + 1)),
    (torch.tensor(2**53), 2**53 + 1),
    (1, 10**400),
    (3.001, 3),
    (torch.tensor(3.5), 3),
    (0.33, 1 / 3),
    ([1, 2, 4], x),
    ([True, True], torch.tensor([True, False])),
    (0.0, math.nan),
    (math.nan, 0.0),
    (-math.inf, math.inf),
    (1e300, math.inf),
    (torch.int32, torch.int64),
    (torch.strided, torch.int64),
    ((None, False), (None, True)),
    ((None,), (True,)),
]


@pytest.mark.parametrize("predicted, actual", WRONG, ids=label)
def test_wrong_predictions(predicted, actual):
    # Mistake caught: a wrong prediction is called right, or not a prediction at all.
    assert outcome(predicted, actual) == "wrong"


INVALID = [
    ("True", True, "`True` or `False`"),
    (1, True, "`True` or `False`"),
    (torch.tensor([True]), True, "`True` or `False`"),
    (1.0, torch.float32, "a name, in quotes"),
    (torch.float32, "float32", "a name, in quotes"),
    (3, (3,), "a tuple, such as"),
    ("(3,)", (3,), "a tuple or a list"),
    ("14", 14, "Text"),
    ("None", 3, "Text"),
    (True, 1, "truth value"),
    ([True, 1], torch.tensor([True, True]), "`True` or `False`"),
    (1.0, x, "single number"),
    ([[1, 2, 3]], x, "shape `(1, 3)`"),
    (1j, 1.0, "Complex"),
    (3, {"x": 3}, "a dict with the keys `x`"),
    ({"y": 3}, {"x": 3}, "Nothing was asked about `y`"),
]


@pytest.mark.parametrize("predicted, actual, part", INVALID, ids=label)
def test_what_is_no_prediction_of_this_kind(predicted, actual, part):
    # Mistake caught: 1 is taken for True, or a number for a shape.
    verdict = checks.value("4.1", predicted, actual)
    assert verdict.outcome == "invalid"
    assert part in str(verdict)


@pytest.mark.parametrize("predicted", [..., [...], (1, ...), {"x": ..., "y": ...}])
def test_blank_predictions(predicted):
    # Mistake caught: a blank is a wrong prediction, or a right one.
    assert outcome(predicted, {"x": 1, "y": 2} if type(predicted) is dict else (1, 2)) == (
        "unanswered"
    )


def test_entries_of_a_dict_are_judged_one_by_one():
    # Mistake caught: one right entry covers a wrong or a missing one.
    verdict = checks.value("4.1", {"a": 1, "b": 3}, {"a": 1, "b": 2, "c": 4})
    assert verdict.outcome == "wrong"
    assert {k: str(e.outcome) for k, e in verdict.entries.items()} == {
        "a": "correct",
        "b": "wrong",
        "c": "unanswered",
    }


@pytest.mark.parametrize("actual", [..., {}, {"a": ...}, object(), {1: 1, "1": 2}, {3}])
def test_what_cannot_be_compared_with(actual):
    # Mistake caught: a slip in the check cell is a traceback, or makes everything correct.
    verdict = checks.value("4.1", {"a": 1} if type(actual) is dict else 1, actual)
    assert verdict.outcome == "invalid" and verdict.about == "notebook"


def test_a_wrong_prediction_tells_where_but_not_what():
    # Mistake caught: the true value stands in the message.
    verdict = checks.value("4.1", [1.0, 2.0], torch.tensor([1.0, 2.71828]))
    assert "`[1]`" in str(verdict) and "71" not in str(verdict)


def freed():
    loss = (x * x).sum()
    loss.backward()
    loss.backward()


def saved_value_changed():
    y = x.exp()
    y.mul_(2)
    y.sum().backward()


def leaf_changed():
    x.mul_(2)


def inference():
    with torch.inference_mode():
        y = torch.ones(2)
    (y * torch.ones(2, requires_grad=True)).sum()


def fresh():
    return torch.tensor([1.0, 2.0], requires_grad=True)


ATTEMPTS = {
    "no error": lambda: 1 + 1,
    "not a scalar": lambda: (fresh() * 2).backward(),
    "graph freed": freed,
    "wrong shape": lambda: (fresh() * 2).backward(torch.ones(3)),
    "no graph": lambda: torch.ones(1).backward(),
    "leaf changed in place": leaf_changed,
    "saved value changed": saved_value_changed,
    "grad is None": lambda: fresh().grad.zero_(),
    "inference tensor": inference,
    "not floating point": lambda: torch.tensor([1, 2], requires_grad=True),
    "not a leaf": lambda: setattr(fresh() * 2, "requires_grad", False),
    "not connected": lambda: torch.autograd.grad(fresh().sum(), fresh()),
    "not iterable": lambda: torch.optim.SGD(fresh(), lr=0.1),
    "unknown name": lambda: undefined_name,  # noqa: F821
    "unknown argument": lambda: torch.tensor(1.0, require_grad=True),
    "unknown attribute": lambda: fresh().gradient,
}


def test_every_cause_is_tried():
    # Mistake caught: a cause is added to the list that no PyTorch error leads to.
    assert set(ATTEMPTS) == set(checks.CAUSES)


@pytest.mark.parametrize("cause", checks.CAUSES)
def test_every_cause_is_recognised_by_what_pytorch_says(cause):
    # Mistake caught: PyTorch's words have changed, or one cause hides another.
    before = x.grad
    assert checks.error("2.3", cause, ATTEMPTS[cause])
    assert checks.error("2.3", f"  {cause.upper()} ", ATTEMPTS[cause])
    other = "graph freed" if cause != "graph freed" else "no graph"
    verdict = checks.error("2.3", other, ATTEMPTS[cause])
    assert verdict.outcome == "wrong" and cause not in str(verdict)
    x.grad = before


def test_an_error_that_is_not_on_the_list():
    # Mistake caught: another error than foreseen is taken for "no error", or goes through.
    for attempt in (lambda: 1 / 0, lambda: exit(), lambda needs_one: None):
        verdict = checks.error("2.3", "no error", attempt)
        assert verdict.outcome == "invalid" and verdict.about == "notebook"


def test_the_attempt_runs_once_and_only_for_a_prediction():
    # Mistake caught: the attempt runs twice, or for a blank, and what it does is done twice.
    calls = []
    for predicted in (..., None, "nonsense", 3, [1]):
        checks.error("2.3", predicted, lambda: calls.append(1))
    assert calls == []
    checks.error("2.3", "no error", lambda: calls.append(1))
    assert calls == [1]


def test_the_attempt_runs_as_in_a_cell():
    # Mistake caught: inside a check nothing is tracked, so the wrong error comes.
    with torch.no_grad(), warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        assert checks.error("2.3", "grad is None", lambda: (fresh() * 2).grad.zero_())
        assert checks.error("2.3", "no error", lambda: (fresh() * 2).sum().backward())
    assert seen == []


@pytest.mark.parametrize("attempt", [None, ..., 3, torch.ones(1), "x.backward()"])
def test_an_attempt_that_is_no_function(attempt):
    # Mistake caught: `error(..., z.backward())` without the lambda is a traceback.
    verdict = checks.error("2.3", "no error", attempt)
    assert verdict.outcome == "invalid" and verdict.about == "notebook"


@pytest.mark.filterwarnings("ignore:.*(quantized tensor creation|nested tensors).*:UserWarning")
@pytest.mark.parametrize("name", JUNK)
def test_junk_is_never_right(name):
    # Mistake caught: junk raises, or is taken for a prediction that is right.
    actuals = [True, "MulBackward0", torch.int64, (5, 7), 2.5, torch.tensor([1.5, 2.5, 3.5]), None]
    for actual in actuals:
        junk = JUNK[name]()
        if junk is actual:
            continue
        verdict = checks.value("4.1", junk, actual)
        assert (verdict.outcome == "correct") is (name in {"True", "numpy flag"} and actual is True)
        assert verdict.about == "answer"
    assert checks.error("2.3", JUNK[name](), lambda: None).outcome == "invalid"
