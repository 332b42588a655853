"""The catalogue of mal-rules: the ways in which people get a rule of the backward pass wrong.

A *mal-rule* is a consistent wrong rule (the word is from the tutoring literature since Brown and
Burton's BUGGY, 1978). Each row of `NODE_RULES` says what a node of the graph hands on when its rule
is got wrong in one particular way. `diagnosis` puts the rows into a backward pass, one at a time,
and keeps those that reproduce the learner's numbers.

To add one: write a row, and a line in `tests/test_malrules.py`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from checks.backward import Gradients
from checks.site import Site

Change: TypeAlias = Callable[[Site], Iterable[Gradients]]

ANY: tuple[str, ...] = ()


@dataclass(frozen=True)
class MalRule:
    """One way to get a rule wrong.

    Attributes:
        name: short, unique, for reports.
        says: what was probably done, in plain words, to follow "Your numbers are what comes out
            when …". It names the rule, never the correction.
        kinds: the kinds of node (`graph.kind`) at which it applies; empty for all.
        change: yields what the node hands on instead, for each variant of the mistake.
        lesson: where the course teaches the right rule.
        rank: how far from likely it is, 1 to 5; of several that fit, the lowest is named.
        pairs: whether it often comes together with another mistake.
    """

    name: str
    says: str
    kinds: tuple[str, ...]
    change: Change
    lesson: str
    rank: int = 2
    pairs: bool = False


def only(formula: Callable[[Site], Tensor]) -> Change:
    """A change of what goes to the only input (or the first)."""
    return lambda s: [s.put(0, formula(s))]


def at(slot: int, formula: Callable[[Site], Tensor]) -> Change:
    """A change of what goes to one of several inputs."""
    return lambda s: [s.put(slot, formula(s))] if s.has(slot) else []


def scaled(factor: Callable[[Site], float]) -> Change:
    """The right gradient of the first input, times a number."""
    return lambda s: [s.put(0, s.right * factor(s))]


# -- formulas that do not fit into a row -----------------------------------------------------------


def _one_size(site: Site) -> list[Gradients]:
    """Divided by the number of rows or columns, not by the number of entries."""
    count = site.count
    sizes = {n for n in site.shape(0) if 1 < n < count}
    return [site.put(0, site.right * (count / n)) for n in sorted(sizes)]


def _swapped(site: Site) -> list[Gradients]:
    """The factors of a product, each handed on to the wrong side."""
    slots = [k for k in (0, 1) if site.has(k) and site.knows(k)]
    found = [site.put(k, site.u * site.x(k)) for k in slots]
    return [*found, _both(site, lambda k: site.u * site.x(k))] if len(slots) == 2 else found


def _product_itself(site: Site) -> list[Gradients]:
    whole = site.u * site.x(0) * site.x(1)
    return [site.put(k, whole) for k in (0, 1) if site.has(k)]


def _both(site: Site, formula: Callable[[int], Tensor]) -> Gradients:
    return tuple(formula(k) if site.has(k) else None for k in range(len(site.raw)))


def _turned(site: Site) -> list[Gradients]:
    """Every sign turned around: y − ŷ for ŷ − y."""
    return [tuple(None if g is None else -g for g in site.raw)]


def _matrix(variant: Callable[[Tensor, Tensor, int], Tensor]) -> Change:
    """A wrong formula for a factor of a matrix product; `side` 0 is the left factor, 1 the right.

    The variant is given the upstream gradient and the *other* factor.
    """

    def change(site: Site) -> list[Gradients]:
        first = len(site.raw) - 2  # addmm and baddbmm have their bias before the factors
        found = []
        for side in (0, 1):
            slot, other = first + side, first + 1 - side
            if site.has(slot) and site.knows(other):
                try:
                    found.append(site.put(slot, variant(site.u, site.x(other), side)))
                except RuntimeError:  # the shapes do not fit: nobody got here
                    continue
        return found

    return change


def _ties(site: Site) -> list[Gradients]:
    """Another convention where several entries are the largest, and the gradient to all entries."""
    x = site.x(0)
    largest = site.spread(site.y)
    tied = (x == largest).to(x.dtype)
    count = site.spread(site.total(tied))
    first = tied * (site.cumulated(tied) == 1)
    u = site.spread(site.u)
    return [site.put(0, u * tied), site.put(0, u * tied / count), site.put(0, u * first)]


def _pair_ties(site: Site) -> list[Gradients]:
    tied = (site.x(0) == site.x(1)).to(site.u.dtype)
    wins = ((site.x(0) > site.x(1)).to(site.u.dtype), (site.x(0) < site.x(1)).to(site.u.dtype))
    shares = ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0))
    return [_both(site, lambda k, s=s: site.u * (wins[k] + s[k] * tied)) for s in shares]  # type: ignore[misc]


def _relu_kink(site: Site) -> list[Gradients]:
    at_zero = (site.x(0) == 0).to(site.u.dtype) * site.u
    return [site.put(0, site.right + share * at_zero) for share in (1.0, 0.5)]


def _overwritten(site: Site) -> list[Gradients]:
    """Where an index occurs twice, the later gradient overwrites the earlier one."""
    empty = torch.zeros(site.shape(0), dtype=site.u.dtype)
    if site.kind == "Gather":
        return [site.put(0, empty.scatter(site.saved("dim"), site.saved("index"), site.u))]
    if site.kind == "IndexSelect":
        return [site.put(0, empty.index_copy(site.saved("dim"), site.saved("index"), site.u))]
    indices = [site.saved("indices")] if site.kind == "Embedding" else site.saved("indices")
    known = [slice(None) if i is None else i for i in indices]
    empty[tuple(known)] = site.u
    return [site.put(0, empty)]


def _parts_swapped(site: Site) -> list[Gradients]:
    parts = [g for g in site.raw if g is not None]
    if len(parts) != 2 or parts[0].shape != parts[1].shape or len(site.raw) != 2:
        return []
    return [(site.raw[1], site.raw[0])]


def _statistics(mean_moves: bool, variance_moves: bool) -> Change:
    """Batch or layer norm with the mean, the variance, or both held constant."""

    def change(site: Site) -> list[Gradients]:
        norm = site.normalisation()
        g = site.u * norm.weight
        flow = g
        if mean_moves:
            flow = flow - norm.average(g)
        if variance_moves:
            flow = flow - norm.x_hat * norm.average(g * norm.x_hat)
        return [site.put(0, norm.inverse * flow)]

    return change


def _scale_without_input(site: Site) -> list[Gradients]:
    norm = site.normalisation()
    return [site.put(1, norm.per_weight(site.u))] if site.has(1) else []


def _double_softmax(site: Site) -> Tensor:
    """`cross_entropy` fed with probabilities: softmax applied once more."""
    dim = site.saved("dim")
    s = torch.exp(site.y)
    q = site.u - torch.softmax(s, dim) * site.u.sum(dim, keepdim=True)
    return s * (q - (q * s).sum(dim, keepdim=True))


def _by_prediction(site: Site) -> Tensor:
    """The prediction where the residual belongs, in the square of a difference."""
    return site.u * site.exponent * site.minuend() ** (site.exponent - 1)


def _broadcast_residual(site: Site) -> Tensor:
    prediction = site.minuend()
    target = prediction - site.x(0)
    return site.u * site.exponent * (prediction - target.mean()) ** (site.exponent - 1)


def _mse(formula: Callable[[Tensor, Tensor], Tensor]) -> Change:
    def change(site: Site) -> list[Gradients]:
        prediction, target = site.x(0), site.x(1)
        count = site.count if site.averages else 1
        return [site.put(0, 2 / count * site.u * formula(prediction, target))]

    return change


def _transposed_back(site: Site) -> list[Gradients]:
    shape = site.shape(0)
    found = [site.put(0, site.u.reshape(shape))]
    return found if len(shape) > 1 else []


# -- the catalogue ---------------------------------------------------------------------------------

_MATMUL = ("Mm", "Bmm", "Addmm", "Baddbmm")
_MSE = ("MseLoss",)
_NORM = ("NativeBatchNorm", "NativeLayerNorm", "CudnnBatchNorm", "FusedRmsNorm")

NODE_RULES: tuple[MalRule, ...] = (
    # powers
    MalRule("power-factor", "the derivative of the power is not applied fully", ("Pow",),
            scaled(lambda s: 1 / s.exponent), "5", 1, True),
    MalRule("power-exponent", "the exponent is not lowered in the derivative of the power",
            ("Pow",), only(lambda s: s.right * s.x(0)), "5", 2),
    MalRule("power-inside", "what stands inside the power is left out of its derivative", ("Pow",),
            only(lambda s: s.u * s.exponent + 0 * s.x(0)), "5", 2),
    MalRule("power-itself", "the power itself is used where its derivative belongs", ("Pow",),
            only(lambda s: s.u * s.x(0) ** s.exponent), "5", 3),
    MalRule("prediction-for-residual", "the prediction is used where the residual belongs",
            ("Pow",), only(_by_prediction), "5", 2),
    MalRule("residual-broadcast", "the residual is taken between shapes that broadcast to a square",
            ("Pow",), only(_broadcast_residual), "5", 3),
    # functions of one variable
    MalRule("exp-input", "the derivative of the exponential is taken to be its input", ("Exp",),
            only(lambda s: s.u * s.x(0)), "5", 2),
    MalRule("exp-as-power", "the power rule is used on the exponential", ("Exp",),
            only(lambda s: s.u * s.x(0) * torch.exp(s.x(0) - 1)), "5", 3),
    MalRule("log-itself", "the logarithm itself is used where its derivative belongs", ("Log",),
            only(lambda s: s.u * torch.log(s.x(0))), "5", 3),
    MalRule("log-upside-down", "the derivative of the logarithm is upside down", ("Log",),
            only(lambda s: s.u * s.x(0)), "5", 2),
    MalRule("sqrt-factor", "the derivative of the square root is not applied fully", ("Sqrt",),
            scaled(lambda s: 2.0), "5", 1),
    MalRule("sqrt-itself", "the square root itself is used where its derivative belongs", ("Sqrt",),
            only(lambda s: s.u * s.y), "5", 3),
    MalRule("sqrt-upside-down", "the derivative of the square root is upside down", ("Sqrt",),
            only(lambda s: s.u * 2 * s.y), "5", 3),
    MalRule("sin-cos-sign", "the sign in the derivative of sine or cosine is turned around",
            ("Sin", "Cos"), scaled(lambda s: -1.0), "5", 1),
    MalRule("sin-itself", "the sine itself is used where its derivative belongs", ("Sin",),
            only(lambda s: s.u * torch.sin(s.x(0))), "5", 3),
    MalRule("cos-itself", "the cosine itself is used where its derivative belongs", ("Cos",),
            only(lambda s: s.u * torch.cos(s.x(0))), "5", 3),
    MalRule("tanh-input", "the derivative of tanh is taken at its input, not at its output",
            ("Tanh",), only(lambda s: s.u * (1 - s.x(0) ** 2)), "6", 1),
    MalRule("tanh-square", "the square is missing in the derivative of tanh", ("Tanh",),
            only(lambda s: s.u * (1 - s.y)), "6", 2),
    MalRule("tanh-itself", "tanh itself is used where its derivative belongs", ("Tanh",),
            only(lambda s: s.u * s.y), "6", 3),
    MalRule("sigmoid-input", "the derivative of the sigmoid is taken at its input, not its output",
            ("Sigmoid",), only(lambda s: s.u * s.x(0) * (1 - s.x(0))), "6", 1),
    MalRule("sigmoid-one-factor", "one factor of the derivative of the sigmoid is missing",
            ("Sigmoid",), lambda s: [s.put(0, s.u * s.y), s.put(0, s.u * (1 - s.y))], "6", 2),
    MalRule("relu-mask-missing", "ReLU lets every gradient through, whatever its input was",
            ("Relu",), only(lambda s: s.u), "6", 1),
    MalRule("relu-value", "the value of ReLU is used where its mask of zeros and ones belongs",
            ("Relu",), only(lambda s: s.u * s.y), "6", 2),
    MalRule("relu-mask-of-gradient", "the mask of ReLU is taken from another tensor than its input",
            ("Relu",), lambda s: [s.put(0, s.u * (s.u > 0)), s.put(0, s.right * (s.u > 0))],
            "6", 3),
    MalRule("relu-kink", "another convention is used for ReLU at exactly 0", ("Relu",), _relu_kink,
            "6", 2),
    MalRule("abs-sign", "the sign is missing in the derivative of the absolute value", ("Abs",),
            only(lambda s: s.u), "5", 1),
    MalRule("abs-itself", "the absolute value itself is used where its derivative belongs",
            ("Abs",), only(lambda s: s.u * s.y), "5", 3),
    # sums, differences, products, quotients
    MalRule("negation-sign", "the minus sign is lost", ("Neg",), only(lambda s: s.u), "5", 1),
    MalRule("difference-turned", "the difference is taken the other way round", ("Sub",), _turned,
            "5", 1, True),
    MalRule("difference-sign", "the minus sign before the second term is lost", ("Sub",),
            at(1, lambda s: s.u), "5", 1),
    MalRule("difference-sign", "the minus sign before the second term is lost", ("Rsub",),
            only(lambda s: s.u), "5", 1),
    MalRule("product-swapped", "the wrong factor of the product is multiplied in",
            ("Mul", "Dot"), _swapped, "5", 1),
    MalRule("product-itself", "the whole product is used where one factor belongs", ("Mul",),
            _product_itself, "5", 3),
    MalRule("quotient-sign", "the minus sign in the derivative of the quotient is lost",
            ("Div",), at(1, lambda s: -s.raw_at(1)), "5", 1),
    MalRule("quotient-square", "the denominator is not squared in the derivative of the quotient",
            ("Div",), at(1, lambda s: s.raw_at(1) * s.x(1)), "5", 2),
    MalRule("quotient-numerator", "the numerator is missing in the derivative of the quotient",
            ("Div",), at(1, lambda s: s.raw_at(1) / s.x(0)), "5", 2),
    MalRule("quotient-as-product", "the quotient is differentiated like a product", ("Div",),
            at(0, lambda s: s.u * s.x(1)), "5", 2),
    MalRule("reciprocal-sign", "the minus sign in the derivative of the reciprocal is lost",
            ("Reciprocal",), scaled(lambda s: -1.0), "5", 1),
    MalRule("reciprocal-square", "the square is missing in the derivative of the reciprocal",
            ("Reciprocal",), only(lambda s: -s.u * s.y), "5", 2),
    # reductions
    MalRule("mean-count", "the mean is differentiated like a sum", ("Mean",),
            scaled(lambda s: s.count), "1", 1, True),
    MalRule("mean-one-size", "the mean is divided by the number of rows or columns alone",
            ("Mean",), _one_size, "6", 2, True),
    MalRule("mean-twice", "the count of the mean is divided by twice", ("Mean",),
            scaled(lambda s: 1 / s.count), "1", 3),
    MalRule("sum-averaged", "the sum is differentiated like a mean", ("Sum",),
            scaled(lambda s: 1 / s.count), "6", 2, True),
    MalRule("max-everywhere", "the maximum hands its gradient on to every entry",
            ("Max", "Amax", "Min", "Amin"), only(lambda s: s.spread(s.u) + 0 * s.right), "6", 1),
    MalRule("max-ties", "another convention is used where several entries are the largest",
            ("Max", "Amax", "Min", "Amin"), _ties, "6", 2),
    MalRule("maximum-ties", "another convention is used where the two sides are equal",
            ("Maximum", "Minimum"), _pair_ties, "6", 2),
    # matrices
    MalRule("matmul-not-transposed", "a matrix product is handed back without the transpose",
            _MATMUL, _matrix(lambda u, m, side: m @ u if side else u @ m), "6", 1),
    MalRule("matmul-order", "the two sides of a matrix product are handed back in the wrong order",
            _MATMUL, _matrix(lambda u, m, side: u @ m.mT if side else m.mT @ u), "6", 2),
    MalRule("matmul-order-not-transposed", "a matrix product is handed back in the wrong order "
            "and without the transpose",
            _MATMUL, _matrix(lambda u, m, side: u @ m if side else m @ u), "6", 3),
    MalRule("matmul-result-transposed", "the gradient of a matrix comes out transposed", _MATMUL,
            _matrix(lambda u, m, side: (m.mT @ u).mT if side else (u @ m.mT).mT), "6", 1),
    MalRule("matmul-factor", "a factor of the matrix product is left out", _MATMUL,
            _matrix(lambda u, m, side: u.sum(-2, keepdim=True) if side
                    else u.sum(-1, keepdim=True)), "6", 2),
    MalRule("matvec-not-transposed", "a matrix-vector product is handed back without the transpose",
            ("Mv",), at(1, lambda s: s.x(0) @ s.u), "2", 1),
    MalRule("matvec-result-transposed", "the gradient of a matrix comes out transposed", ("Mv",),
            at(0, lambda s: torch.outer(s.x(1), s.u)), "6", 1),
    MalRule("transpose-lost", "a transpose or a reshape is not undone on the way back",
            ("T", "Transpose", "Permute", "View"), _transposed_back, "6", 2),
    MalRule("parts-swapped", "the parts that were joined are handed back to the wrong sides",
            ("Cat", "Stack"), _parts_swapped, "6", 2),
    MalRule("index-overwritten", "an index that occurs twice keeps one gradient, not their sum",
            ("Index", "Gather", "IndexSelect", "Embedding"), _overwritten, "6", 1),
    # softmax and the losses
    MalRule("softmax-elementwise", "softmax is differentiated as if each entry stood alone",
            ("Softmax",), only(lambda s: s.u * s.y * (1 - s.y)), "6", 1),
    MalRule("softmax-cross-terms", "the terms that couple the entries of softmax are left out",
            ("Softmax",), only(lambda s: s.u * s.y), "6", 2),
    MalRule("log-softmax-elementwise", "softmax is differentiated as if each entry stood alone",
            ("LogSoftmax",), only(lambda s: s.u * (1 - torch.exp(s.y))), "6", 2),
    MalRule("no-one-hot", "the one-hot target is left out of the gradient of the cross-entropy",
            ("LogSoftmax",), only(lambda s: s.right - s.u), "6", 1),
    MalRule("target-only", "only the target's own entry gets a gradient from the cross-entropy",
            ("LogSoftmax",), only(lambda s: s.right * (s.u != 0)), "6", 1),
    MalRule("softmax-twice", "softmax is applied once more before the cross-entropy",
            ("LogSoftmax",), only(_double_softmax), "6", 2),
    MalRule("nll-count", "the mean over the samples is differentiated like a sum", ("NllLoss",),
            scaled(lambda s: s.samples), "6", 1, True),
    MalRule("nll-sign", "the minus sign of the log-likelihood is lost", ("NllLoss",),
            scaled(lambda s: -1.0), "6", 1),
    MalRule("mse-factor", "the derivative of the square is not applied fully", _MSE,
            scaled(lambda s: 0.5), "5", 1, True),
    MalRule("mse-count", "the mean is differentiated like a sum", _MSE,
            scaled(lambda s: s.count if s.averages else 1.0), "5", 1, True),
    MalRule("mse-one-size", "the mean is divided by the number of rows or columns alone", _MSE,
            _one_size, "6", 2, True),
    MalRule("mse-turned", "the difference is taken the other way round", _MSE,
            scaled(lambda s: -1.0), "5", 1, True),
    MalRule("mse-prediction", "the prediction is used where the residual belongs", _MSE,
            _mse(lambda p, t: p), "5", 2),
    MalRule("mse-residual", "the residual is left out", _MSE, _mse(lambda p, t: torch.ones_like(p)),
            "5", 2),
    MalRule("mse-broadcast", "the residual is taken between shapes that broadcast to a square",
            _MSE, _mse(lambda p, t: p - t.mean()), "5", 3),
    # normalisation
    MalRule("statistics-constant", "the mean and the variance are held constant", _NORM,
            _statistics(False, False), "6", 1),
    MalRule("mean-constant", "the mean is held constant", _NORM, _statistics(False, True), "6", 2),
    MalRule("variance-constant", "the variance is held constant", _NORM,
            _statistics(True, False), "6", 2),
    MalRule("norm-scale-input", "the normalised input is left out of the gradient of the scale",
            _NORM, _scale_without_input, "6", 2),
    # any node
    MalRule("local-one", "the local gradient is left out", ANY,
            lambda s: s.local_as_one(), "5", 3),
    MalRule("upstream-ignored", "the upstream gradient is not multiplied in", ANY,
            lambda s: s.without_upstream(), "5", 3),
    MalRule("sign", "the sign is turned around", ANY, _turned, "5", 5),
    MalRule("path-dropped", "one of the ways into a step is forgotten", ANY,
            lambda s: s.paths_dropped(), "5", 4),
)  # fmt: skip


@dataclass(frozen=True)
class ShapeRule:
    """A way to get the undoing of broadcasting wrong; it changes the shape of what is handed on."""

    name: str
    says: str
    change: Callable[[Tensor, tuple[int, ...]], Iterable[Tensor]]
    lesson: str
    rank: int = 1


def _averaged(raw: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
    times = raw.numel() / max(1, math.prod(shape))
    return [raw.sum_to_size(shape) / times]


def _wrong_axis(raw: Tensor, shape: tuple[int, ...]) -> list[Tensor]:
    if raw.ndim != 2:
        return []
    summed = [raw.sum(axis, keepdim=keep) for axis in (0, 1) for keep in (False, True)]
    right = raw.sum_to_size(shape)
    return [s for s in summed if s.shape != right.shape or not torch.equal(s, right)]


BROADCAST_RULES: tuple[ShapeRule, ...] = (
    ShapeRule("broadcast-not-summed", "the sum over the rows that share it is left out",
              lambda raw, shape: [raw], "6"),
    ShapeRule("broadcast-averaged", "an average is taken over the rows that share it, not a sum",
              _averaged, "6"),
    ShapeRule("broadcast-wrong-axis", "the sum is taken over the wrong axis", _wrong_axis, "6"),
)  # fmt: skip


@dataclass(frozen=True)
class ResultRule:
    """A way to finish a right gradient wrongly."""

    name: str
    says: str
    change: Callable[[Tensor], Iterable[Tensor]]
    lesson: str
    rank: int = 2


RESULT_RULES: tuple[ResultRule, ...] = (
    ResultRule("result-transposed", "the right matrix is transposed at the end",
               lambda g: [g.T] if g.ndim == 2 else [], "2"),
    ResultRule("result-sign", "the sign of the whole gradient is turned around",
               lambda g: [-g], "5", 4),
    ResultRule("accumulated", "gradients of earlier backward passes are still in it",
               lambda g: [2 * g, 3 * g], "4", 3),
)  # fmt: skip
