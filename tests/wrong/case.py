"""Wrong answers, worked out by formulas of their own: for each mal-rule one case or more.

A mal-rule is a claim: who does *this* gets *these* numbers. A case builds a small graph and writes
down the wrong numbers as a learner would come to them, without the search that is to find them.

To add a case, decorate a function that returns a `Graph`, the name of the tensor whose gradient is
asked for, and the wrong numbers. `rows` are the numbers that a mistake has in the literature and in
the course's notes on it.
"""

import torch
from graphs import Graph, leaf, numbers

CASES = []
DOUBLE = torch.float64


def case(name, *rows):
    """Register a case of the mal-rule `name`."""

    def register(build):
        CASES.append((name, rows, build))
        return build

    return register


def data(*shape, seed=0):
    """Numbers that need no gradient."""
    return numbers(*shape, seed=seed, dtype=DOUBLE)


def variable(*shape, seed=0):
    """Numbers that do."""
    return leaf(*shape, seed=seed, dtype=DOUBLE)


def positive(*shape, seed=0):
    """Variables above zero."""
    return data(*shape, seed=seed).abs().requires_grad_()


def weighted(y, wrt, **names):
    """The loss (y · u).sum(), in which every entry of y has an upstream gradient of its own."""
    u = upstream(y)
    return Graph((y * u).sum(), wrt, {**wrt, **names, "y": y, "u": u})


def upstream(y):
    """The upstream gradient that `weighted` gives to y."""
    return data(*y.shape, seed=9)


def function_of_one(name, forward, wrong, *rows, x=variable, n=4):
    """A case with y = f(x) entry by entry, whose wrong gradient is u · wrong(x)."""

    def build():
        at = x(n)
        y = forward(at)
        return weighted(y, {"x": at}), "x", upstream(y) * wrong(at.detach())

    build.__name__ = getattr(forward, "__name__", "formula").strip("<>")
    case(name, *rows)(build)
