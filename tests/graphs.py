"""Graphs that no lesson has, with numbers that tell mistakes apart."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import torch
import torch.nn.functional as F
from torch import Tensor

import checks
from checks import truth
from checks.graph import names_for
from checks.judging import Case
from checks.search import Search


class EngineOnly(torch.autograd.Function):
    """A function whose backward may be run by the engine only, as that of a checkpoint."""

    @staticmethod
    def forward(ctx, x):
        return x * 2

    @staticmethod
    def backward(ctx, u):
        if torch._C._current_autograd_node() is None:
            raise RuntimeError("only the engine may call this")
        return u * 2


@dataclass(frozen=True)
class Graph:
    """A result, the tensors that gradients are asked for, and the names of the learner's cell."""

    of: Tensor
    wrt: Mapping[str, Tensor]
    names: Mapping[str, Tensor] = field(default_factory=dict)
    v: Tensor | None = None

    def check(self, answer, name=None):
        """What a learner sees who asks for one gradient, or for all of them with a dict."""
        inside = {"gradient": checks.gradient, "answer": answer, "of": self.of, "v": self.v}
        inside["wrt"] = dict(self.wrt) if name is None else self.wrt[name]
        call = 'gradient("1.1", answer, of=of, wrt=wrt, v=v)'
        names = {} if name is None else {name: self.wrt[name]}
        return eval(call, {**self.names, **names, "__name__": "lesson"}, inside)

    def case(self):
        question = truth.ask(self.of, dict(self.wrt), self.v)
        known = [*self.names.items(), *self.wrt.items()]
        return Case(question, names_for(question.nodes, known), tuple(t for _, t in known))

    def search(self, name, cuts=None):
        case = self.case()
        return Search(case.question, name, case.tensors, cuts)

    def true(self, name):
        return torch.autograd.grad(
            self.of, self.wrt[name], self.v, retain_graph=True, allow_unused=True
        )[0]


GRAPHS = {}


def graph(build):
    """Register a function that builds a Graph."""
    GRAPHS[build.__name__] = build
    return build


def numbers(*shape, seed=0, dtype=torch.float32):
    """Numbers of about size 1, none of them near zero, the same every time."""
    source = torch.Generator().manual_seed(sum(shape) + 17 * seed)
    size = 0.4 + 1.3 * torch.rand(shape, generator=source, dtype=torch.float64)
    signs = torch.randint(0, 2, shape, generator=source) * 2 - 1
    return (size * signs).to(dtype)


def leaf(*shape, seed=0, dtype=torch.float32):
    return numbers(*shape, seed=seed, dtype=dtype).requires_grad_()


def number(value):
    return torch.tensor(float(value), requires_grad=True)


@graph
def a_square_in_numbers():
    x, y, w = torch.tensor(4.0), torch.tensor(17.0), number(3)
    y_hat = w * x
    S = y_hat - y
    loss = S**2
    wrt = {"S": S, "y_hat": y_hat, "w": w}
    return Graph(loss, wrt, {**wrt, "x": x, "y": y, "loss": loss})


@graph
def regression_on_vectors():
    x = torch.tensor([1.0, 2.0, 4.0])
    y = torch.tensor([6.0, 20.0, 30.0])
    w, b = number(5), number(4)
    y_hat = w * x + b
    S = y_hat - y
    loss = (S**2).mean()
    wrt = {"S": S, "w": w, "b": b}
    return Graph(loss, wrt, {**wrt, "x": x, "y": y, "y_hat": y_hat, "loss": loss})


@graph
def regression_on_matrices():
    X, Y, W, b = numbers(7, 4), numbers(7, 5), leaf(4, 5), leaf(5)
    P = X @ W + b
    loss = F.mse_loss(P, Y)
    wrt = {"P": P, "W": W, "b": b}
    return Graph(loss, wrt, {**wrt, "X": X, "Y": Y, "loss": loss})


def _network(activation):
    X, target = numbers(7, 4), torch.tensor([0, 2, 1, 2, 2, 0, 1])
    W1, b1, W2, b2 = leaf(4, 5), leaf(5), leaf(5, 3), leaf(3)
    Z = X @ W1 + b1
    H = activation(Z)
    logits = H @ W2 + b2
    loss = F.cross_entropy(logits, target)
    wrt = {"logits": logits, "W2": W2, "b2": b2, "H": H, "Z": Z, "W1": W1, "b1": b1}
    return Graph(loss, wrt, {**wrt, "X": X, "loss": loss})


@graph
def network_with_tanh():
    return _network(torch.tanh)


@graph
def network_with_relu():
    return _network(torch.relu)


@graph
def network_of_modules():
    torch.manual_seed(3)
    network = torch.nn.Sequential(
        torch.nn.Linear(4, 6), torch.nn.Sigmoid(), torch.nn.Linear(6, 3), torch.nn.LogSoftmax(dim=1)
    )
    loss = F.nll_loss(network(numbers(5, 4)), torch.tensor([0, 2, 1, 1, 2]), reduction="sum")
    wrt = {"W1": network[0].weight, "b1": network[0].bias, "W2": network[2].weight}
    return Graph(loss, wrt, {**wrt, "loss": loss})


@graph
def cross_entropy_by_hand():
    Z, target = leaf(5, 4), torch.tensor([0, 3, 2, 3, 1])
    E = torch.exp(Z)
    S = E / E.sum(dim=1, keepdim=True)
    picked = S[torch.arange(5), target]
    loss = -torch.log(picked).mean()
    return Graph(loss, {"Z": Z}, {"Z": Z, "E": E, "S": S, "picked": picked, "loss": loss})


@graph
def log_softmax_by_hand():
    Z, target = leaf(5, 4), torch.tensor([0, 3, 2, 3, 1])
    one_hot = F.one_hot(target, 4).float()
    L = Z - Z.logsumexp(dim=1, keepdim=True)
    loss = -(L * one_hot).sum() / 5
    return Graph(loss, {"Z": Z, "L": L}, {"Z": Z, "L": L, "one_hot": one_hot, "loss": loss})


@graph
def batch_norm():
    X, scale, shift, v = leaf(6, 3), leaf(3, seed=1), leaf(3, seed=2), numbers(6, 3, seed=3)
    Y = F.batch_norm(X, None, None, scale, shift, training=True)
    wrt = {"X": X, "scale": scale, "shift": shift}
    return Graph(Y, wrt, {**wrt, "Y": Y}, v)


@graph
def batch_norm_by_hand():
    X, scale, shift = leaf(6, 3), leaf(3, seed=1), leaf(3, seed=2)
    mean = X.mean(dim=0)
    D = X - mean
    variance = (D**2).mean(dim=0)
    inverse = 1 / torch.sqrt(variance + 1e-5)
    X_hat = D * inverse
    Y = scale * X_hat + shift
    loss = (Y * numbers(6, 3, seed=3)).sum()
    wrt = {"X": X, "scale": scale, "shift": shift, "X_hat": X_hat}
    return Graph(loss, wrt, {**wrt, "mean": mean, "D": D, "variance": variance, "Y": Y})


@graph
def layer_norm():
    X, scale, shift = leaf(4, 5), leaf(5, seed=6), leaf(5, seed=2)
    Y = F.layer_norm(X, (5,), scale, shift)
    loss = (Y * numbers(4, 5, seed=3)).sum()
    wrt = {"X": X, "scale": scale, "shift": shift}
    return Graph(loss, wrt, {**wrt, "Y": Y, "loss": loss})


@graph
def attention_head():
    X, WQ, WK, WV = numbers(4, 3), leaf(3, 2), leaf(3, 2, seed=1), leaf(3, 2, seed=2)
    Q, K, V = X @ WQ, X @ WK, X @ WV
    scores = Q @ K.T / 2**0.5
    A = torch.softmax(scores, dim=-1)
    out = A @ V
    loss = (out * numbers(4, 2, seed=4)).sum()
    wrt = {"V": V, "A": A, "scores": scores, "Q": Q, "K": K, "WQ": WQ}
    return Graph(loss, wrt, {**wrt, "out": out, "X": X, "WK": WK, "WV": WV})


@graph
def branches_and_skips():
    x = leaf(4, dtype=torch.float64)
    a = torch.sin(x)
    b = a * x
    c = a + b
    loss = (c**2).sum()
    wrt = {"c": c, "b": b, "a": a, "x": x}
    return Graph(loss, wrt, {**wrt, "loss": loss})


@graph
def a_vector_jacobian_product():
    W, x, v = leaf(3, 3), leaf(3), numbers(3, seed=5)
    y = W @ x
    return Graph(y, {"x": x, "W": W}, {"W": W, "x": x, "y": y}, v)


@graph
def products_and_quotients():
    a, b = leaf(4), leaf(4, seed=1)
    q = a / b
    r = torch.sqrt(torch.abs(q * a))
    loss = (r - torch.exp(b)).sum()
    return Graph(loss, {"a": a, "b": b, "q": q}, {"a": a, "b": b, "q": q, "r": r, "loss": loss})
