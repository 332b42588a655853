"""What a mal-rule may look at: one step, what arrives there, the values that went through it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor

from checks import backward
from checks.backward import Edge, Gradients, Node
from checks.graph import constant, kind

_EARLIER = 4


class NotKnownError(Exception):
    """A value that a mal-rule needs is not in the graph: the mal-rule does not apply."""


@dataclass(frozen=True)
class Site:
    """One step of a backward pass: a node, or several that are together one function (a span).

    Attributes:
        node: the node of PyTorch's graph; of a span the last one, where the pass comes in.
        arriving: the upstream gradients, one for each output of the operation.
        raw: what is rightly handed on, before broadcasting is undone.
        values: the forward values that are known.
        kind: the kind of operation, such as "Mul".
        inputs: the edges to what goes in.
        span_dims: of a span, the dimensions over which it normalises; None for a node.
    """

    node: Node
    arriving: Gradients
    raw: Gradients
    values: Mapping[Edge, Tensor]
    kind: str
    inputs: tuple[Edge, ...]
    span_dims: tuple[int, ...] | None = None

    @classmethod
    def of(cls, node: Node, arriving: Gradients, values: Mapping[Edge, Tensor]) -> Site:
        """A node of the graph, with what PyTorch's formula makes of the upstream gradients."""
        raw = backward.call(node, arriving)
        return cls(node, arriving, raw, values, kind(node), tuple(node.next_functions))

    @property
    def is_span(self) -> bool:
        """Whether this is a group of nodes."""
        return self.span_dims is not None

    def with_raw(self, raw: Gradients) -> Site:
        """The same step, after it has been broken once."""
        return replace(self, raw=raw)

    @property
    def u(self) -> Tensor:
        """The upstream gradient of the (first) output."""
        return known(next((u for u in self.arriving if u is not None), None))

    @property
    def right(self) -> Tensor:
        """What the first input rightly gets."""
        return self.raw_at(0)

    def arriving_at(self, number: int) -> Tensor:
        """One of several upstream gradients."""
        return known(self.arriving[number])

    def raw_at(self, slot: int) -> Tensor:
        """What the input `slot` rightly gets, before broadcasting is undone."""
        return known(self.raw[slot])

    def has(self, slot: int) -> bool:
        """Whether a gradient goes to this input."""
        return slot < len(self.raw) and self.raw[slot] is not None

    def knows(self, slot: int) -> bool:
        """Whether the forward value of this input is known."""
        return self._operand(slot) is not None

    def x(self, slot: int) -> Tensor:
        """The forward value of an input."""
        return known(self._operand(slot))

    @property
    def y(self) -> Tensor:
        """The forward value of the (first) output."""
        return known(self.values.get((self.node, 0)))

    def saved(self, name: str) -> Any:
        """What the node has saved under a name."""
        return getattr(self.node, f"_saved_{name}")

    def shape(self, slot: int) -> tuple[int, ...]:
        """The shape of an input that gets a gradient."""
        child, number = self.inputs[slot]
        if child is None:
            raise NotKnownError
        return tuple(child._input_metadata[number].shape)

    def unsummed(self, slot: int) -> Tensor:
        """What an input gets, before the contributions of all places that use it are added up."""
        if self.kind == "Expand":
            return self.u
        if "Norm" in self.kind and slot > 0:
            return self.u * self.normalisation().x_hat if slot == 1 else self.u
        return self.raw_at(slot)

    def put(self, slot: int, gradient: Tensor) -> Gradients:
        """What is handed on, with one entry replaced."""
        return (*self.raw[:slot], gradient, *self.raw[slot + 1 :])

    def _operand(self, slot: int) -> Tensor | None:
        child, number = self.inputs[slot] if slot < len(self.inputs) else (None, 0)
        if child is not None:
            return self.values.get((child, number))
        return constant(self.node, slot)

    # -- powers --------------------------------------------------------------------------------

    @property
    def exponent(self) -> float:
        """The exponent of a power, where it is a number other than 0 and 1."""
        if self.is_span:
            return 2.0  # x * x
        exponent = self.saved("exponent")
        if not isinstance(exponent, (int, float)) or exponent in (0, 1):
            raise NotKnownError
        return float(exponent)

    def minuend(self) -> Tensor:
        """Of a power of a difference p − t: the value of p."""
        child, _ = self.inputs[0]
        if child is None or kind(child) != "Sub":
            raise NotKnownError
        return known(self.values.get(child.next_functions[0]))

    def inner_inputs(self, slot: int = 0) -> list[Tensor]:
        """What goes into the step before this one, where it has the shape of what comes out."""
        child, number = self.inputs[slot]
        if child is None:
            return []
        found = [
            constant(child, k) if place[0] is None else self.values.get(place)
            for k, place in enumerate(child.next_functions)
        ]
        shape = list(child._input_metadata[number].shape)
        return [x for x in found if x is not None and list(x.shape) == shape]

    def earlier(self) -> list[Tensor]:
        """Values of the same shape from up to four steps before this one's input."""
        wanted, found, places = list(self.x(0).shape), [], [self.inputs[0]]
        for _ in range(_EARLIER):
            places = [below for node, _ in places if node for below in node.next_functions]
            values = (self.values.get(place) for place in dict.fromkeys(places))
            found += [x for x in values if x is not None and list(x.shape) == wanted]
        return found

    # -- reductions ----------------------------------------------------------------------------

    @property
    def count(self) -> float:
        """How many entries of the first input go into one entry of the output."""
        return math.prod(self.shape(0)) / max(1, self.u.numel())

    @property
    def averages(self) -> bool:
        """Whether a loss takes the mean of its terms."""
        return bool(self.saved("reduction") == 1)

    @property
    def sums(self) -> bool:
        """Whether a loss takes the sum of its terms."""
        return bool(self.saved("reduction") == 2)

    @property
    def samples(self) -> float:
        """The number of terms of a loss."""
        return float(self.saved("total_weight")) if "Nll" in self.kind else self.count

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions over which the step reduces or normalises."""
        if self.span_dims is not None:
            return self.span_dims
        return saved_dims(self.node, len(self.shape(0)))

    def spread(self, reduced: Tensor) -> Tensor:
        """Repeat what was reduced over the entries that it was reduced from."""
        shape = self.shape(0)
        if reduced.ndim != len(shape):
            for dim in sorted(self.dims):
                reduced = reduced.unsqueeze(dim)
        return reduced.expand(shape)

    def total(self, x: Tensor) -> Tensor:
        """Sum over the dimensions that the node reduces."""
        return x.sum(dim=self.dims)

    def cumulated(self, x: Tensor) -> Tensor:
        """Running sum over the dimension that the node reduces (over all entries if all)."""
        if len(self.dims) == 1:
            return x.cumsum(self.dims[0])
        return x.flatten().cumsum(0).reshape(x.shape)

    def largest(self) -> Tensor:
        """Ones where an entry equals the maximum (or the minimum) that was taken, else zeros."""
        x = self.x(0)
        extreme = x.amin(self.dims) if "in" in self.kind else x.amax(self.dims)
        return (x == self.spread(extreme)).to(x.dtype)

    # -- batch and layer norm ------------------------------------------------------------------

    def normalisation(self, *, other_axes: bool = False) -> Normalisation:
        """What a batch or layer norm normalises with, where it computes that from its input.

        `other_axes` averages over the dimensions over which it does not normalise.
        """
        x, mean, inverse = (known(self.saved(n)) for n in ("input", "result1", "result2"))
        if mean.numel() == 0:
            raise NotKnownError  # batch norm in eval mode: nothing is computed from the input
        layer = self.kind == "NativeLayerNorm"
        own = len(self.saved("normalized_shape")) if layer else 0
        dims = tuple(d for d in range(x.ndim) if (d >= x.ndim - own if layer else d != 1))
        weight = self.saved("weight")
        scale = torch.ones(()) if weight is None else weight.detach()
        if not layer:
            shape = [-1 if d == 1 else 1 for d in range(x.ndim)]
            mean, inverse = mean.reshape(shape), inverse.reshape(shape)
            scale = scale if weight is None else scale.reshape(shape)
        averaged = tuple(d for d in range(x.ndim) if d not in dims) if other_axes else dims
        shared = tuple(range(x.ndim - own)) if layer else dims
        return Normalisation(
            x_hat=(x.detach() - mean) * inverse,
            inverse=inverse,
            weight=scale,
            average=lambda t: t.mean(dim=averaged, keepdim=True),
            per_weight=lambda t: t.sum(dim=shared) if shared else t,
        )


@dataclass(frozen=True)
class Normalisation:
    """The quantities of a normalisation, each in a shape that broadcasts against its input."""

    x_hat: Tensor
    inverse: Tensor
    weight: Tensor
    average: Callable[[Tensor], Tensor]
    per_weight: Callable[[Tensor], Tensor]


def saved_dims(node: Node, ndim: int) -> tuple[int, ...]:
    """The dimensions over which a node reduces, not negative; all where it has saved none."""
    dim = getattr(node, "_saved_dim", None)
    if dim is None or dim == ():
        return tuple(range(ndim))
    # PyTorch saves a negative dimension as an unsigned number.
    dims = dim if isinstance(dim, (tuple, list)) else (dim,)
    return tuple((d - 2**64 if d >= 2**63 else d) % max(1, ndim) for d in dims)


def known(value: Tensor | None) -> Tensor:
    """The value. NotKnownError where there is none."""
    if value is None:
        raise NotKnownError
    return value
