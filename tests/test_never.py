"""A check never stumbles, never lies, never disturbs: ten thousand generated answers and states.

The reference that decides whether "correct" is allowed is written here on its own, in plain Python
and float64: derivatives in closed form, and the rule of three significant digits.
"""

import math

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from junk import BLANKS, JUNK
from snapshot import nothing_disturbed

import checks


def never(examples):
    """So many generated cases, the same in every run. Over all tests there are 10 000 and more."""
    return settings(
        max_examples=examples,
        derandomize=True,
        database=None,
        deadline=None,
        suppress_health_check=list(HealthCheck),
    )


# -- the reference ---------------------------------------------------------------------------------


def close(answer, true, slack, largest):
    """Half a unit in the third significant digit, plus 1e-6 of the largest entry, plus `slack`."""
    allowed = 1e-6 * largest if largest else 1e-12
    if true:
        allowed += 0.5 * 10.0 ** (math.floor(math.log10(abs(true))) - 2)
    return abs(answer - true) <= allowed * (1 + 1e-9) + slack * abs(true)


def right(answer, true, slack=0.0):
    """Whether plain nested lists are the true ones, entry by entry, and of the same shape."""

    def flat(value, shape=()):
        if isinstance(value, list):
            return [entry for k, item in enumerate(value) for entry in flat(item, (*shape, k))]
        return [(shape, value)]

    ours, theirs = flat(answer), flat(true)
    if [place for place, _ in ours] != [place for place, _ in theirs]:
        return False
    largest = max((abs(value) for _, value in theirs), default=0.0)
    return all(close(a, t, slack, largest) for (_, a), (_, t) in zip(ours, theirs, strict=True))


# A function of x, its derivative entry by entry, and where it is used: each in closed form.
FUNCTIONS = {
    "square": (lambda x: x**2, lambda x: 2 * x),
    "exp": (torch.exp, math.exp),
    "tanh": (torch.tanh, lambda x: 1 - math.tanh(x) ** 2),
    "sine": (torch.sin, math.cos),
    "cubic": (lambda x: x * x * x - 2 * x, lambda x: 3 * x * x - 2),
    "relu": (torch.relu, lambda x: float(x > 0)),
    "constant": (lambda x: x * 0, lambda x: 0.0),
    "reciprocal": (lambda x: 1 / (x + 10), lambda x: -1 / (x + 10) ** 2),
}
SHAPES = [(), (1,), (3,), (2, 2), (1, 3), (3, 1)]

numbers = st.floats(-4, 4, width=32).filter(lambda x: x == 0 or abs(x) > 1e-3)


@st.composite
def points(draw):
    """A point, as a flat list and a shape."""
    shape = draw(st.sampled_from(SHAPES))
    flat = [draw(numbers) for _ in range(math.prod(shape))]
    return flat, shape


def nested(flat, shape):
    """A flat list in the shape of a tensor."""
    if not shape:
        return flat[0]
    size = len(flat) // shape[0]
    return [nested(flat[k * size : (k + 1) * size], shape[1:]) for k in range(shape[0])]


def rounded(value, digits):
    return float(f"{value:.{digits}g}")


# What a learner may do to the right numbers, and half the spacing of the format that comes out.
WRITING = {
    "list": (lambda v: v, 0.0),
    "tensor": (lambda v: torch.tensor(v), 2.0**-24),
    "float64": (lambda v: torch.tensor(v, dtype=torch.float64), 0.0),
    "float16": (lambda v: torch.tensor(v, dtype=torch.float16), 2.0**-11),
    "bfloat16": (lambda v: torch.tensor(v, dtype=torch.bfloat16), 2.0**-8),
    "numpy": (np.array, 0.0),
    "tracked": (lambda v: torch.tensor(v, requires_grad=True) * 1, 2.0**-24),
    "parameter": (lambda v: torch.nn.Parameter(torch.tensor(v)), 2.0**-24),
    "objects": (lambda v: np.array(v, dtype=object) if isinstance(v, list) else v, 0.0),
}
CHANGES = {
    "none": lambda v: v,
    "two digits": lambda v: [rounded(x, 2) for x in v],
    "three digits": lambda v: [rounded(x, 3) for x in v],
    "four digits": lambda v: [rounded(x, 4) for x in v],
    "sign": lambda v: [-x for x in v],
    "double": lambda v: [2 * x for x in v],
    "a little": lambda v: [1.004 * x for x in v],
    "a hair": lambda v: [1.0004 * x for x in v],
    "last": lambda v: [*v[:-1], v[-1] + 0.1],
    "reversed": lambda v: v[::-1],
    "zeros": lambda v: [0.0] * len(v),
    "ones": lambda v: [1.0] * len(v),
    "offset": lambda v: [x + 1e-5 for x in v],
}

answers = st.tuples(
    st.sampled_from(list(CHANGES)), st.sampled_from(list(WRITING)), st.sampled_from([None, *SHAPES])
)

# Junk of any kind, nested in anything; nothing large, for the sake of time.
LEFT_OUT = {"ten million", "ten million in a list", "contains itself", "object array in itself"}
LEFT_OUT |= {"unnameable", "a class without a name"}  # Hypothesis itself stumbles over these
makers = [make for name, make in {**JUNK, **BLANKS}.items() if name not in LEFT_OUT]
junk = st.one_of(
    st.sampled_from(makers).map(lambda make: make()),
    st.recursive(
        st.one_of(
            st.none(),
            st.just(...),
            st.booleans(),
            st.integers(),
            st.floats(),
            st.complex_numbers(),
            st.text(max_size=5),
            st.binary(max_size=5),
            st.fractions(),
            st.decimals(),
            st.sampled_from([torch.tensor(1.0), torch.ones(3), np.float16(2), np.ones((1, 3))]),
        ),
        lambda inner: st.one_of(
            st.lists(inner, max_size=4),
            st.lists(inner, max_size=4).map(tuple),
            st.dictionaries(st.one_of(st.text(max_size=3), st.integers()), inner, max_size=3),
        ),
        max_leaves=8,
    ),
)


def is_a_verdict(verdict):
    assert type(verdict) is checks.Verdict
    assert type(verdict.exercise) is str
    data, metadata = verdict._repr_mimebundle_()
    assert data["text/plain"] == str(verdict) and data["text/html"]
    assert metadata["checks"]["outcome"] in {"correct", "wrong", "unanswered", "invalid"}
    assert "cannot handle" not in str(verdict)  # the last resort: something was not foreseen


def written(flat, shape, answer):
    """The answer as the learner types it, as plain numbers, and what its format may be off by."""
    change, writing, other = answer
    changed = CHANGES[change](flat)
    if other is not None and math.prod(other) == len(flat):
        shape = other
    write, slack = WRITING[writing]
    typed = write(nested(changed, shape))
    return typed, slack, shape


def plain(typed):
    """What a learner typed, as nested lists of Python numbers."""
    if isinstance(typed, torch.Tensor):
        return typed.detach().double().tolist()
    return typed.tolist() if isinstance(typed, np.ndarray) else typed


@pytest.mark.parametrize("name", FUNCTIONS)
@never(700)
@given(point=points(), answer=answers, live=st.booleans())
def test_gradients_of_every_kind(name, point, answer, live):
    # Mistake caught: "correct" for a wrong answer, "wrong" for a right one, an exception, a trace.
    flat, shape = point
    function, derivative = FUNCTIONS[name]
    true = [derivative(x) for x in flat]
    x = torch.tensor(nested(flat, shape), dtype=torch.float64, requires_grad=True)
    typed, slack, came = written(true, shape, answer)
    of = function(x).sum() if live else lambda x: function(x).sum()
    with nothing_disturbed(x):
        verdict = checks.gradient("5.1", typed, of=of, wrt=x)
    is_a_verdict(verdict)
    assert bool(verdict) == right(plain(typed), nested(true, shape), slack), (verdict, typed, true)
    assert (verdict.outcome == "invalid") == (came != shape)


@pytest.mark.parametrize("name", ["square", "tanh"])
@never(500)
@given(point=points(), answer=answers, weights=st.lists(numbers, min_size=4, max_size=4))
def test_vector_jacobian_products(name, point, answer, weights):
    # Mistake caught: as above, where an upstream gradient comes in.
    flat, shape = point
    function, derivative = FUNCTIONS[name]
    true = [w * derivative(x) for w, x in zip(weights, flat, strict=False)]
    x = torch.tensor(nested(flat, shape), dtype=torch.float64, requires_grad=True)
    v = torch.tensor(nested(weights[: len(flat)], shape), dtype=torch.float64)
    y = function(x)
    typed, slack, _ = written(true, shape, answer)
    with nothing_disturbed(x, y, v):
        verdict = checks.vjp("2.4", typed, of=y, wrt=x, v=v)
    is_a_verdict(verdict)
    assert bool(verdict) == right(plain(typed), nested(true, shape), slack), (verdict, typed, true)


@never(500)
@given(
    matrix=st.lists(st.lists(numbers, min_size=3, max_size=3), min_size=2, max_size=3),
    answer=answers,
)
def test_jacobians(matrix, answer):
    # Mistake caught: as above, for a matrix; a transposed square one in particular.
    x = torch.tensor([1.5, -2.0, 0.5], dtype=torch.float64, requires_grad=True)
    y = torch.tensor(matrix, dtype=torch.float64) @ x
    shape = (len(matrix), 3)
    flat = [entry for row in matrix for entry in row]
    typed, slack, _ = written(flat, shape, (answer[0], answer[1], None))
    with nothing_disturbed(x, y):
        verdict = checks.jacobian("2.1", typed, of=y, wrt=x)
    is_a_verdict(verdict)
    assert bool(verdict) == right(plain(typed), matrix, slack), (verdict, typed, matrix)


@never(300)
@given(first=answers, second=answers, third=st.one_of(answers, st.none()), values=points())
def test_dicts(first, second, third, values):
    # Mistake caught: one wrong or missing entry among right ones, or the whole right without all.
    flat, shape = values
    w = torch.tensor(nested(flat, shape), dtype=torch.float64, requires_grad=True)
    y = w * 1.5
    S = y - 0.25
    loss = (S**2).sum()
    wrt = {"S": S, "y": y, "w": w}
    step = [2 * (1.5 * x - 0.25) for x in flat]
    true = {"S": step, "y": step, "w": [1.5 * g for g in step]}
    typed, expected = {}, {}
    for (name, gradient), answer in zip(true.items(), (first, second, third), strict=True):
        expected[name] = False
        if answer is not None:
            typed[name], slack, _ = written(gradient, shape, answer)
            expected[name] = right(plain(typed[name]), nested(gradient, shape), slack)
    with nothing_disturbed(w, y, S, loss):
        verdict = checks.gradient("5.6", typed, of=loss, wrt=wrt)
    is_a_verdict(verdict)
    assert {name: bool(entry) for name, entry in verdict.entries.items()} == expected
    assert bool(verdict) == all(expected.values())


w = torch.tensor([1.5, -2.0, 0.25], requires_grad=True)
y = w * w.detach()
loss = (y * y).sum()
number = torch.tensor(1.5, requires_grad=True)


@pytest.mark.filterwarnings("ignore:.*(quantized tensor creation|nested tensors).*:UserWarning")
@pytest.mark.parametrize("verb", ["gradient", "dict", "vjp", "jacobian", "number"])
@never(400)
@given(answer=junk)
def test_junk(verb, answer):
    # Mistake caught: junk that raises, that passes, or that is blamed on the notebook.
    calls = {
        "gradient": lambda: checks.gradient("5.1", answer, of=loss, wrt=w),
        "dict": lambda: checks.gradient(
            "5.1", {"w": answer, "y": 1}, of=loss, wrt={"w": w, "y": y}
        ),
        "vjp": lambda: checks.vjp("5.1", answer, of=y, wrt=w, v=w),
        "jacobian": lambda: checks.jacobian("5.1", answer, of=y, wrt=w),
        "number": lambda: checks.gradient("5.1", answer, of=number**3, wrt=number),
    }
    with nothing_disturbed(w, y, loss, number):
        verdict = calls[verb]()
    is_a_verdict(verdict)
    if verdict:  # a number that happens to be right
        assert verb == "number" and close(float(answer), 6.75, 0, 6.75)
    assert verdict.about == "answer"


@pytest.mark.filterwarnings("ignore:.*(quantized tensor creation|nested tensors).*:UserWarning")
@never(300)
@given(of=junk, wrt=junk, v=junk, answer=st.sampled_from([1.0, [1.0, 2.0], ..., {"w": 1.0}]))
def test_junk_in_the_check_itself(of, wrt, v, answer):
    # Mistake caught: a notebook in which `loss` or `w` is something else raises, or passes.
    with nothing_disturbed(w, y, loss):
        verdicts = [
            checks.gradient("5.1", answer, of=of, wrt=w),
            checks.gradient("5.1", answer, of=loss, wrt=wrt),
            checks.gradient("5.1", answer, of=y, wrt=w, v=v),
            checks.gradient(of, answer, of=of, wrt=wrt, v=v),
            checks.vjp("5.1", answer, of=y, wrt=w, v=v),
            checks.jacobian("5.1", answer, of=of, wrt=wrt),
        ]
    for verdict in verdicts:
        assert type(verdict) is checks.Verdict and not verdict, verdict


@pytest.mark.filterwarnings("ignore:.*(quantized tensor creation|nested tensors).*:UserWarning")
@never(300)
@given(predicted=junk, actual=junk)
def test_predictions(predicted, actual):
    # Mistake caught: a prediction of any kind about anything raises, or junk is right for junk.
    with nothing_disturbed(w):
        same = checks.value("4.1", predicted, actual)
        for truth in (True, None, 2.5, "x", (2, 3), torch.float32, torch.tensor([2.5, 3.5])):
            checks.value("4.1", predicted, truth)
        verdict = checks.error("4.2", predicted, lambda: 1 / w)
    assert type(same) is checks.Verdict
    assert not same or type(predicted) is not type(actual) or repr(predicted) == repr(actual)
    assert verdict.outcome in ("invalid", "unanswered")


@never(400)
@given(data=st.data())
def test_states(data):
    # Mistake caught: a combination of states that nobody thought of.
    draw = data.draw
    x = torch.tensor([1.5, -2.0, 0.25], requires_grad=draw(st.integers(0, 4)) > 0)
    middle = x * 2 if draw(st.booleans()) else x.exp()
    if middle.requires_grad and draw(st.booleans()):
        middle.retain_grad()
    result = (middle * middle).sum() if draw(st.integers(0, 3)) else middle * 3
    steps = st.sampled_from(
        ["backward", "zero", "in place", "data", "detach", "update", "hook", "none", "freeze"]
    )
    for step in draw(st.lists(steps, max_size=3)):
        try:
            if step == "backward":
                result.sum().backward(retain_graph=draw(st.booleans()))
            elif step == "zero":
                x.grad = None
            elif step == "in place":
                middle.mul_(2)
            elif step == "data":
                x.data = torch.ones(draw(st.integers(1, 3)))
            elif step == "detach":
                result = result.detach()
            elif step == "update":
                with torch.no_grad():
                    x -= 0.1
            elif step == "hook":
                x.register_hook(lambda gradient: gradient * 100)
            elif step == "freeze":
                x.requires_grad_(False)
        except RuntimeError:
            pass
    modes = st.sampled_from([torch.no_grad, torch.inference_mode, torch.enable_grad])
    answer = draw(st.sampled_from([[1.0, 2.0, 3.0], 1.0, ..., x.grad if x.is_leaf else 0]))
    with draw(modes)(), nothing_disturbed(x, middle, result):
        verdicts = [
            checks.gradient("5.1", answer, of=result, wrt=x),
            checks.gradient("5.1", answer, of=result, wrt=middle),
            checks.vjp("5.1", answer, of=result, wrt=x, v=torch.ones(3)),
            checks.jacobian("5.1", answer, of=result, wrt=x),
            checks.gradient("5.1", {"x": answer}, of=result, wrt={"x": x}),
            checks.value("5.1", answer, x),
        ]
    for verdict in verdicts[:-1]:
        assert not verdict, verdict
        is_a_verdict(verdict)
    is_a_verdict(verdicts[-1])
