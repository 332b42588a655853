"""What a mal-rule may look at: one node, what arrives there, the values that went through it."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import torch
from torch import Tensor

from checks import backward
from checks.backward import Edge, Gradients, Node, is_leaf
from checks.graph import constant, kind


class NotKnownError(Exception):
    """A value that a mal-rule needs is not in the graph: the mal-rule does not apply."""


@dataclass(frozen=True)
class Site:
    """One node during a backward pass.

    Attributes:
        node: the node of PyTorch's graph.
        arriving: the upstream gradients, one for each output of the operation.
        raw: what PyTorch's formula hands on, before broadcasting is undone.
        values: the forward values that are known.
    """

    node: Node
    arriving: Gradients
    raw: Gradients
    values: Mapping[Edge, Tensor]

    @cached_property
    def kind(self) -> str:
        """The kind of operation, such as "Mul"."""
        return kind(self.node)

    @property
    def u(self) -> Tensor:
        """The upstream gradient of the (first) output."""
        return _known(self.arriving[0])

    @property
    def right(self) -> Tensor:
        """What the first input rightly gets."""
        return self.raw_at(0)

    def raw_at(self, slot: int) -> Tensor:
        """What the input `slot` rightly gets, before broadcasting is undone."""
        return _known(self.raw[slot])

    def has(self, slot: int) -> bool:
        """Whether a gradient goes to this input."""
        return slot < len(self.raw) and self.raw[slot] is not None

    def knows(self, slot: int) -> bool:
        """Whether the forward value of this input is known."""
        return self._operand(slot) is not None

    def x(self, slot: int) -> Tensor:
        """The forward value of an input."""
        return _known(self._operand(slot))

    @property
    def y(self) -> Tensor:
        """The forward value of the (first) output."""
        return _known(self.values.get((self.node, 0)))

    def saved(self, name: str) -> Any:
        """What the node has saved under a name."""
        return getattr(self.node, f"_saved_{name}")

    @property
    def exponent(self) -> float:
        """The exponent of a power, where it is a number other than 0."""
        exponent = self.saved("exponent")
        if not isinstance(exponent, (int, float)) or exponent == 0:
            raise NotKnownError
        return float(exponent)

    def shape(self, slot: int) -> tuple[int, ...]:
        """The shape of an input that gets a gradient."""
        child, number = self.node.next_functions[slot]
        if child is None:
            raise NotKnownError
        return tuple(_meta(child, number).shape)

    @property
    def count(self) -> float:
        """How many entries of the first input go into one entry of the output."""
        return math.prod(self.shape(0)) / max(1, self.u.numel())

    @property
    def averages(self) -> bool:
        """Whether a loss takes the mean (PyTorch's reduction 1) and not the sum."""
        return bool(self.saved("reduction") == 1)

    @property
    def samples(self) -> float:
        """The number of samples that a log-likelihood is averaged over."""
        if not self.averages:
            raise NotKnownError
        return float(self.saved("total_weight"))

    def minuend(self) -> Tensor:
        """Of a power of a difference p − t: the value of p."""
        child, _ = self.node.next_functions[0]
        if child is None or kind(child) != "Sub":
            raise NotKnownError
        return _known(self.values.get(child.next_functions[0]))

    def put(self, slot: int, gradient: Tensor) -> Gradients:
        """What is handed on, with one entry replaced."""
        return (*self.raw[:slot], gradient, *self.raw[slot + 1 :])

    def _operand(self, slot: int) -> Tensor | None:
        child, number = self.node.next_functions[slot] if slot < self._inputs else (None, 0)
        if child is not None:
            return self.values.get((child, number))
        return constant(self.node, slot)

    @property
    def _inputs(self) -> int:
        return len(self.node.next_functions)

    # -- reductions ----------------------------------------------------------------------------

    def spread(self, reduced: Tensor) -> Tensor:
        """Repeat what was reduced over the entries that it was reduced from."""
        shape = self.shape(0)
        dims = self._dims(len(shape))
        if reduced.ndim == len(shape):
            return reduced.expand(shape)
        for dim in sorted(dims):
            reduced = reduced.unsqueeze(dim)
        return reduced.expand(shape)

    def total(self, x: Tensor) -> Tensor:
        """Sum over the dimensions that the node reduces."""
        return x.sum(dim=self._dims(x.ndim))

    def cumulated(self, x: Tensor) -> Tensor:
        """Running sum over the dimension that the node reduces (over all entries if all)."""
        dims = self._dims(x.ndim)
        return x.cumsum(dims[0]) if len(dims) == 1 else x.flatten().cumsum(0).reshape(x.shape)

    def _dims(self, ndim: int) -> tuple[int, ...]:
        dim = getattr(self.node, "_saved_dim", None)
        if dim is None or dim == ():
            return tuple(range(ndim))
        # PyTorch saves a negative dimension as an unsigned number.
        dims = dim if isinstance(dim, (tuple, list)) else (dim,)
        return tuple((d - 2**64 if d >= 2**63 else d) % max(1, ndim) for d in dims)

    # -- general mistakes ----------------------------------------------------------------------

    def local_as_one(self) -> list[Gradients]:
        """Hand the upstream gradient on as it is, to each input alone."""
        found = []
        for slot in range(len(self.raw)):
            if self.has(slot):
                shape = self.raw_at(slot).shape
                if math.prod(shape) == self.u.numel():
                    found.append(self.put(slot, self.u.reshape(shape)))
                elif self.u.numel() == 1:
                    found.append(self.put(slot, self.u.reshape(()).expand(shape)))
        return found

    def without_upstream(self) -> list[Gradients]:
        """Hand on what comes out for an upstream gradient of all ones."""
        ones = tuple(None if u is None else torch.ones_like(u) for u in self.arriving)
        return [backward.call(self.node, ones)]

    def paths_dropped(self) -> list[Gradients]:
        """Leave one input out, where several get a gradient."""
        slots = [slot for slot in range(len(self.raw)) if self.has(slot)]
        if len(slots) < 2:
            return []
        return [self.put(slot, torch.zeros_like(self.raw_at(slot))) for slot in slots]

    # -- batch and layer norm ------------------------------------------------------------------

    def normalisation(self) -> Normalisation:
        """What a batch or layer norm normalises with."""
        x, mean, inverse = (_known(self.saved(n)) for n in ("input", "result1", "result2"))
        weight = self.saved("weight")
        if self.kind == "NativeLayerNorm":
            dims = tuple(range(x.ndim - len(self.saved("normalized_shape")), x.ndim))
            scale = torch.ones(()) if weight is None else weight.detach()
        else:
            dims = tuple(d for d in range(x.ndim) if d != 1)
            shape = [-1 if d == 1 else 1 for d in range(x.ndim)]
            mean, inverse = mean.reshape(shape), inverse.reshape(shape)
            scale = torch.ones(()) if weight is None else weight.detach().reshape(shape)
        rest = tuple(d for d in range(x.ndim) if d not in dims) if dims[-1] == x.ndim - 1 else dims
        layer = self.kind == "NativeLayerNorm"
        return Normalisation(
            x_hat=(x.detach() - mean) * inverse,
            inverse=inverse,
            weight=scale,
            average=lambda t: t.mean(dim=dims, keepdim=True),
            per_weight=lambda t: t.sum(dim=rest if layer else dims),
        )


@dataclass(frozen=True)
class Normalisation:
    """The quantities of a normalisation, each in a shape that broadcasts against its input."""

    x_hat: Tensor
    inverse: Tensor
    weight: Tensor
    average: Callable[[Tensor], Tensor]
    per_weight: Callable[[Tensor], Tensor]


def _known(value: Tensor | None) -> Tensor:
    if value is None:
        raise NotKnownError
    return value


def _meta(child: Node, number: int) -> Any:
    return child.variable if is_leaf(child) else child._input_metadata[number]
