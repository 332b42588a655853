"""Mal-rules of sums, differences, products, quotients, and of what reduces many numbers to one."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from checks.backward import Gradients
from checks.graph import kind
from checks.malrules.rule import MalRule, NodeRule, Scaled, at, each, only, scaled
from checks.site import NotKnownError, Site

_MAX = ("Max", "Amax", "Min", "Amin")


def _swapped(site: Site) -> list[Gradients]:
    """The factors of a product, each handed on to the wrong side."""
    slots = [k for k in (0, 1) if site.has(k) and site.knows(k)]
    found = [site.put(k, site.u * site.x(k)) for k in slots]
    return [*found, each(site, lambda k: site.u * site.x(k))] if len(slots) == 2 else found


def _product_itself(site: Site) -> list[Gradients]:
    whole = site.u * site.x(0) * site.x(1)
    return [site.put(k, whole) for k in (0, 1) if site.has(k)]


def one_size(site: Site) -> list[Gradients]:
    """Divided by the number of rows, of columns or of all entries, not by that of its terms."""
    sizes = _counts(site.shape(0)) - {site.count}
    return [site.put(0, site.right * (site.count / n)) for n in sorted(sizes)]


def _counts(shape: Sequence[int]) -> set[int]:
    """The numbers that a mean over some entries of a tensor may be divided by."""
    return {*shape, math.prod(shape)} - {1}


def _not_squared(site: Site) -> list[Gradients]:
    """The denominator squared nowhere: for its own gradient, or for the whole quotient rule."""
    if not site.has(1):
        return []
    own = site.raw_at(1) * site.x(1)
    return [site.put(1, own), each(site, lambda slot: site.raw_at(slot) * site.x(1))]


def _divisor_one_size(site: Site) -> list[Gradients]:
    """A sum divided by the number of its terms: divided by another count, such as N alone."""
    total, _ = site.inputs[0]
    if total is None or kind(total) != "Sum" or site.x(1).numel() != 1:
        raise NotKnownError
    summed, number = total.next_functions[0]
    divisor = float(site.x(1))
    counts = _counts(summed._input_metadata[number].shape)
    sizes = counts - {divisor} if divisor in counts else set()
    return [site.put(0, site.right * (divisor / n)) for n in sorted(sizes)]


def _without_constant(site: Site) -> list[Gradients]:
    """A product with one constant number, of which the number is left out."""
    (slot,) = [k for k in range(len(site.raw)) if site.has(k)]
    return [site.put(slot, site.u)] if site.x(1 - slot).numel() == 1 else []


def _degrees_of_freedom(site: Site) -> list[Gradients]:
    """N for N − 1 in the variance, or N − 1 for N; or not divided at all."""
    saved = site.saved("correction")
    correction: float = 1 if saved is None else saved  # PyTorch's own, where none was given
    if correction not in (0, 1) or site.count == 1:
        raise NotKnownError
    own, other = site.count - correction, site.count - 1 + correction
    return [Scaled.of(site.raw, own / other), Scaled.of(site.raw, own)]


def _ties(site: Site) -> list[Gradients]:
    """All that are tied get the whole, each gets its share, or only the first gets anything."""
    tied = site.largest()
    count = site.spread(site.total(tied))
    first = tied * (site.cumulated(tied) == 1)
    u = site.spread(site.u)
    return [site.put(0, u * tied), site.put(0, u * tied / count), site.put(0, u * first)]


def _pair_ties(site: Site) -> list[Gradients]:
    one, other = site.x(0), site.x(1)
    tied = (one == other).to(site.u.dtype)
    lower = site.kind == "Minimum"
    wins = [(side.to(site.u.dtype)) for side in (one > other, one < other)][:: -1 if lower else 1]
    shares = ((1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.0))

    def shared(share: tuple[float, float]) -> Gradients:
        return each(site, lambda k: site.u * (wins[k] + share[k] * tied))

    return [shared(share) for share in shares]


def _everywhere(site: Site) -> Tensor:
    return site.spread(site.u) + 0 * site.right


ARITHMETIC_RULES: tuple[NodeRule, ...] = (
    # sums, differences, products, quotients
    MalRule("negation-sign", "the minus sign is lost", only(lambda s: s.u), ("Neg",), rank=1),
    MalRule("difference-sign", "the minus sign before the second term is lost",
            at(1, lambda s: s.u), ("Sub",), rank=1),
    MalRule("difference-turned", "the difference is taken the other way round",
            scaled(lambda s: -1.0), ("Sub",), rank=1, pairs=True),
    MalRule("constant-minus", "the minus sign of the subtraction is lost",
            only(lambda s: s.u), ("Rsub",), rank=1),
    MalRule("product-swapped", "the wrong factor of the product is multiplied in",
            _swapped, ("Mul", "Dot"), rank=1),
    MalRule("product-itself", "the whole product is used where one factor belongs",
            _product_itself, ("Mul", "Dot"), rank=3),
    MalRule("quotient-sign", "the minus sign in the derivative of the quotient is lost",
            at(1, lambda s: -s.raw_at(1)), ("Div",), rank=1),
    MalRule("quotient-square", "the denominator is not squared in the derivative of the quotient",
            _not_squared, ("Div",)),
    MalRule("quotient-numerator", "the numerator is missing in the derivative of the quotient",
            at(1, lambda s: s.raw_at(1) / s.x(0)), ("Div",)),
    MalRule("quotient-as-product", "the quotient is differentiated like a product",
            at(0, lambda s: s.u * s.x(1)), ("Div",)),
    MalRule("reciprocal-sign", "the minus sign in the derivative of the reciprocal is lost",
            scaled(lambda s: -1.0), ("Reciprocal",), rank=1),
    MalRule("reciprocal-square", "the square is missing in the derivative of the reciprocal",
            only(lambda s: -s.u * s.y), ("Reciprocal",)),
    MalRule("division-left-out", "the division is left out",
            at(0, lambda s: s.u), ("Div",), "1", 1, True),
    MalRule("division-twice", "the quotient is divided by its denominator twice",
            at(0, lambda s: s.raw_at(0) / s.x(1)), ("Div",), rank=3),
    MalRule("divisor-one-size", "the sum is divided by another number than that of its terms",
            _divisor_one_size, ("Div",), "6", 2, True),
    MalRule("factor-left-out", "the other factor of the product is left out",
            _without_constant, ("Mul",), rank=2, pairs=True),
    MalRule("product-of-derivatives", "the derivative of the product is taken to be the product of "
            "the derivatives",
            only(lambda s: s.u * s.arriving_at(1) * s.arriving_at(2)), ("Product",)),
    MalRule("quotient-of-derivatives", "the derivative of the quotient is taken to be the quotient "
            "of the derivatives",
            only(lambda s: s.u * s.arriving_at(1) / s.arriving_at(2)), ("Quotient",)),
    # reductions
    MalRule("mean-count", "the mean is differentiated like a sum",
            scaled(lambda s: s.count), ("Mean", "AvgPool2D"), "1", 1, True),
    MalRule("mean-one-size", "the mean divides by another number than that of its terms",
            one_size, ("Mean",), "6", 2, True),
    MalRule("mean-twice", "the mean divides by its count twice",
            scaled(lambda s: 1 / s.count), ("Mean",), "1", 3),
    MalRule("sum-averaged", "the sum is differentiated like a mean",
            scaled(lambda s: 1 / s.count), ("Sum",), "6", 2, True),
    MalRule("sum-counted", "the gradient of the sum is multiplied by the number of its terms",
            scaled(lambda s: s.count), ("Sum",), "6", 3),
    MalRule("variance-factor", "the derivative of the square in the variance is not applied fully",
            scaled(lambda s: 0.5), ("Var",), "6"),
    MalRule("variance-count", "the variance is divided by another count",
            _degrees_of_freedom, ("Var",), "6"),
    MalRule("norm-root", "the root of the norm is left out of its derivative",
            lambda s: [s.put(0, s.spread(s.u) * k * s.x(0)) for k in (1, 2)],
            ("LinalgVectorNorm",), "6"),
    MalRule("max-everywhere", "the gradient of the {operation} goes to every entry",
            only(_everywhere), (*_MAX, "Logsumexp"), "6", 1),
    MalRule("logsumexp-not-normalised", "the exponentials are not divided by their sum",
            only(lambda s: s.spread(s.u) * torch.exp(s.x(0))), ("Logsumexp",), "6"),
    MalRule("prod-itself", "the whole product is used where all the other factors belong",
            only(lambda s: s.spread(s.u * s.y) + 0 * s.right), ("Prod",), rank=1),
    MalRule("max-ties", "another convention is used where several entries are equal",
            _ties, _MAX, "6"),
    MalRule("maximum-ties", "another convention is used where the two sides are equal",
            _pair_ties, ("Maximum", "Minimum"), "6"),
)  # fmt: skip
