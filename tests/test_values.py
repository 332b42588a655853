"""Forward values that a live graph does not keep, computed again from those that are known."""

import pytest
import torch

import checks
from checks import values
from checks.backward import edge
from checks.graph import kind

torch.manual_seed(0)
A = torch.rand(2, 3, dtype=torch.float64) + 0.3  # positive: for the roots and the logarithms
B = torch.rand(2, 3, dtype=torch.float64) + 0.7
M = torch.rand(3, 4, dtype=torch.float64) - 0.5
ROW = torch.rand(3, dtype=torch.float64)
STACK = torch.rand(2, 3, 3, dtype=torch.float64)

# Each operation that can be done again, with its inputs; some in several forms.
OPERATIONS = {
    "abs": (torch.abs, (-A,)),
    "add": (torch.add, (A, B)),
    "add, with a factor": (lambda a, b: torch.add(a, b, alpha=3), (A, B)),
    "addmm": (lambda c, a, m: torch.addmm(c, a, m, alpha=2, beta=3), (A @ M, A, M)),
    "bmm": (torch.bmm, (STACK, STACK + 1)),
    "cos": (torch.cos, (A,)),
    "div": (torch.div, (A, B)),
    "dot": (torch.dot, (ROW, ROW + 1)),
    "exp": (torch.exp, (A,)),
    "expand": (lambda r: r.expand(2, 3), (ROW,)),
    "log": (torch.log, (A,)),
    "mean": (torch.mean, (A,)),
    "mean of columns": (lambda a: a.mean(dim=0), (A,)),
    "mean of rows, kept": (lambda a: a.mean(dim=-1, keepdim=True), (A,)),
    "mm": (torch.mm, (A, M)),
    "mul": (torch.mul, (A, B)),
    "mv": (torch.mv, (A, ROW)),
    "neg": (torch.neg, (A,)),
    "permute": (lambda a: a.permute(-1, 0, 1), (STACK * ROW,)),
    "pow": (lambda a: a**3, (A,)),
    "reciprocal": (torch.reciprocal, (A,)),
    "relu": (torch.relu, (A - 0.8,)),
    "sigmoid": (torch.sigmoid, (A,)),
    "sin": (torch.sin, (A,)),
    "sqrt": (torch.sqrt, (A,)),
    "squeeze": (lambda a: a.squeeze(0), (A[None],)),
    "sub": (torch.sub, (A, B)),
    "sub, with a factor": (lambda a, b: torch.sub(a, b, alpha=3), (A, B)),
    "sum": (torch.sum, (A,)),
    "sum of columns": (lambda a: a.sum(dim=0), (A,)),
    "sum of the last, kept": (lambda a: a.sum(dim=(-1,), keepdim=True), (STACK * ROW,)),
    "t": (torch.t, (A,)),
    "tanh": (torch.tanh, (A,)),
    "transpose": (lambda a: a.transpose(-2, 0), (STACK * ROW,)),
    "unsqueeze": (lambda a: a.unsqueeze(1), (A,)),
    "view": (lambda a: a.view(3, 2), (A,)),
}


def graph(name):
    operation, inputs = OPERATIONS[name]
    leaves = [tensor.clone().requires_grad_() for tensor in inputs]
    return operation(*leaves), leaves


@pytest.mark.parametrize("name", OPERATIONS)
def test_an_operation_done_again_gives_the_same(name):
    # Mistake caught: a drawing, or a mal-rule, works with a value that was never there.
    result, leaves = graph(name)
    known = {edge(leaf): leaf.detach() for leaf in leaves}
    waiting = [result.grad_fn]
    while waiting:  # those below first
        node = waiting.pop()
        below = [child for child, _ in node.next_functions if child and (child, 0) not in known]
        if below:
            waiting += [node, *below]
            continue
        again = values.evaluated(node, known)
        assert again is not None, f"{kind(node)} is not done again"
        known[node, 0] = again
    assert torch.equal(known[edge(result)], result.detach())


def test_every_operation_is_tried():
    # A row that is added without a case, and may compute anything.
    tried = set()
    for name in OPERATIONS:
        node = graph(name)[0].grad_fn
        tried.add(kind(node))
    assert set(values._AGAIN) - tried == set()


@pytest.mark.parametrize("name", ["exp", "sigmoid", "sqrt", "tanh"])
def test_an_input_is_found_from_its_result(name):
    # Mistake caught: exp is undone by something else than log.
    operation, (a,) = OPERATIONS[name]
    inner = a.clone().requires_grad_() * 1.0
    result = operation(inner)
    nodes = [result.grad_fn]
    found = values.forward_values(nodes, [result], frozenset(nodes))
    torch.testing.assert_close(found[edge(inner)], inner.detach())
    assert torch.equal(found[edge(result)], result.detach())


def test_what_is_not_known_is_left_out():
    # Mistake caught: an operation with an unknown input, or another form of it, is made up.
    a = A.clone().requires_grad_()
    rounded = torch.div(a, B, rounding_mode="floor") + 0 * a
    assert values.evaluated(rounded.grad_fn, {}) is None
    node = rounded.grad_fn.next_functions[0][0]
    assert values.evaluated(node, {edge(a): a.detach()}) is None
    power = a ** torch.tensor(2.0, requires_grad=True)
    assert values.evaluated(power.grad_fn, dict.fromkeys(power.grad_fn.next_functions, A)) is None


@pytest.mark.parametrize("name", ["sum", "mean"])
def test_a_sum_in_another_number_format_is_not_computed_again(name):
    # Mistake caught: it is added up in half precision, and "`w` has been changed" is said.
    w = torch.full((3000,), 1.1, dtype=torch.float16, requires_grad=True)
    loss = getattr(w, name)(dtype=torch.float32)
    verdict = checks.gradient("1", [5.0] * 3000, of=loss, wrt=w)
    assert verdict.outcome == "wrong" and "changed" not in str(verdict)
