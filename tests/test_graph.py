"""A step in the learner's words: names, numbers, brackets."""

import pytest
import torch

import checks
from checks import graph
from checks.constants import find_constants, named
from checks.graph import names_for, operation, place_of, written_step
from checks.values import forward_values


def leaf(*values):
    return torch.tensor(values if len(values) > 1 else values[0], requires_grad=True)


def known(result, variables):
    nodes = [result.grad_fn]
    values = forward_values(nodes, [*variables.values()], frozenset(nodes))
    return find_constants(nodes, values), nodes


def step(result, **variables):
    constants, nodes = known(result, variables)
    pairs = [*variables.items()]
    return written_step(result.grad_fn, named(names_for(nodes, pairs), constants, pairs))


A, B, C = leaf(1.5, -2.0, 0.7), leaf(0.3, 4.0, -1.1), leaf(2.5, 0.9, 1.9)
M = leaf(1.0) * torch.arange(12.0).reshape(3, 4)
WRITTEN = {
    "a * b": A * B,
    "a + b": A + B,
    "(a + b) * c": (A + B) * C,
    "a * (b - c)": A * (B - C),
    "(-a) * b": -A * B,
    "-a": -A,
    "exp(a + b)": (A + B).exp(),
    "exp(exp(a) + b)": (A.exp() + B).exp(),
    "(a + b).sum()": (A + B).sum(),
    "exp(a).sum()": A.exp().sum(),
    "maximum(a + b, c)": torch.maximum(A + B, C),
    "stack(a, b)": torch.stack([A, B]),
    "a ** 2": A**2,
    "a ** b": A**B,
    "… ** a": 2.0**A,
    "a[2]": A[2],
    "a[-1]": A.select(0, -1),
    "m[:, 1]": M[:, 1],
    "m @ …": M @ M.detach().T,
    "cumsum(a)": A.cumsum(0),
}


@pytest.mark.parametrize("text", WRITTEN)
def test_a_step_as_one_would_write_it(text):
    # Mistake caught: a bracket too few changes what is computed; a name or an index is lost.
    assert step(WRITTEN[text], a=A, b=B, c=C, m=M) == text


def test_the_result_has_its_name():
    loss = A.sum()
    assert step(loss, a=A, loss=loss) == "loss = a.sum()"
    assert step(loss, loss=loss) == "loss = ….sum()"


def test_names_of_the_cell():
    # Mistake caught: a name that the learner does not know, or the second of two.
    assert step(A * B, first=A, second=A, b=B) == "first * b"
    assert step(A * B, _hidden=A, a=A, b=B) == "a * b"
    assert step(A * B, a=A) == "a * …"


def test_tensors_without_a_place():
    with torch.inference_mode():
        odd = torch.ones(2)
    assert place_of(torch.ones(2)) is place_of(odd) is None
    assert place_of(A) is not None


@pytest.mark.parametrize(
    "result, words",
    [(A**2, "square"), (A**3, "power"), (A * B, "product"), (A.cumsum(0), "cumsum")],
)
def test_steps_have_names(result, words):
    assert operation(result.grad_fn) == words


# -- inputs that need no gradient ------------------------------------------------------------------

X = torch.tensor([0.25, 3.0, -4.0])


def test_a_constant_has_the_name_of_its_tensor():
    # Mistake caught: another tensor's name; or none, since there is one of another shape, too.
    assert step(A * X, a=A, x=X, other=torch.ones(2), b=B) == "a * x"
    for result, text in ((A - X, "a - x"), (X - A, "x - a"), (A + X, "a + x")):
        # Nothing of x is saved: it is worked out from the result.
        assert step(result, a=A, x=X, y=result, b=B) == f"y = {text}"
    assert step(A * X.clone(), a=A, _x=X) == "a * …"


def test_a_constant_that_two_tensors_equal_has_no_name():
    # Mistake caught: one of the two is named, and it may be the wrong one.
    result = A - X
    assert step(result, a=A, x=X, same=X + 0, y=result) == "y = a - …"


def test_a_constant_that_is_a_number_is_written():
    # Mistake caught: "S = y_hat - …", or a number that is not there.
    for result, text in ((A - 17, "a - 17"), (A * -2.5, "a * −2.5"), (A + 0.125, "a + 0.125")):
        assert step(result, a=A, y=result) == f"y = {text}"


def test_only_inputs_without_a_gradient_are_constants():
    # Mistake caught: a tracked input is drawn, and named, as if it were a number of its own.
    constants, nodes = known(A * B, {"a": A, "b": B})
    assert constants == {}
    constants, nodes = known(A * X, {"a": A, "x": X})
    assert [*constants] == [(nodes[0], 1)]
    assert torch.equal(constants[nodes[0], 1], X)
    assert graph.constant(nodes[0], 7) is None


def test_an_exponent_is_written_in_four_digits():
    # Mistake caught: six digits of a number that is a part of the answer.
    w = torch.tensor(1.5, requires_grad=True)
    verdict = str(checks.gradient("1", 100.0, of=w**2.71828, wrt=w))
    assert "2.718" in verdict and "2.7182" not in verdict
