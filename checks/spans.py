"""Groups of nodes that are together one function: softmax, cross-entropy or a sigmoid by hand.

Who derives the gradient of a softmax with a pencil does not go node by node through exp, sum and
division. So the mal-rules of softmax apply to such a group as they do to PyTorch's own softmax.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from checks import backward
from checks.backward import Edge, Node, is_leaf
from checks.graph import kind
from checks.site import known, saved_dims


@dataclass(frozen=True)
class At:
    """Where a span is differentiated: its upstream gradient, and the forward values around it."""

    u: Tensor
    span: Span
    values: Mapping[Edge, Tensor]

    @property
    def x(self) -> Tensor:
        """What goes in."""
        return known(self.values.get(self.span.bottom))

    @property
    def y(self) -> Tensor:
        """What comes out."""
        return known(self.values.get((self.span.top, 0)))

    @property
    def dims(self) -> tuple[int, ...]:
        """The dimensions over which it normalises."""
        return self.span.dims


@dataclass(frozen=True)
class Span:
    """Nodes that are together one function of one tensor.

    A span of kind "Composition" is one function of what another one made, and goes on also to the
    tensor that is asked for.

    Attributes:
        kind: the function, by the name under which mal-rules know it.
        top: the last of the nodes, where a backward pass comes in.
        bottom: the edge to what goes in.
        dims: the dimensions over which it normalises, if it does.
        derivative: what is rightly handed to `bottom`.
    """

    kind: str
    top: Node
    bottom: Edge
    dims: tuple[int, ...]
    derivative: Callable[[At], Tensor]


def spans(node: Node) -> Iterator[Span]:
    """The spans whose last node is `node`."""
    for recognise in (_softmax, _log_softmax, _sigmoid, _square, _composition):
        span = recognise(node)
        if span is not None:
            yield span


def _softmax(node: Node) -> Span | None:
    """exp(z) / exp(z).sum(dim, keepdim=True), or times one over that sum."""
    if kind(node) not in ("Div", "Mul") or len(node.next_functions) != 2:
        return None
    exponential, total = (_past_views(place) for place in node.next_functions)
    if kind(node) == "Mul":
        exponent = getattr(total, "_saved_exponent", None)  # a tensor, where it is a variable
        inverse = _is(total, "Reciprocal") or (
            isinstance(exponent, (int, float)) and exponent == -1
        )
        total = _past_views(_input(total)) if total is not None and inverse else None
    if exponential is None or total is None or kind(exponential) != "Exp" or kind(total) != "Sum":
        return None
    if _input(total)[0] is not exponential:
        return None
    dims = saved_dims(total, len(node._input_metadata[0].shape))
    return Span("Softmax", node, _unshifted(_input(exponential)), dims, _softmax_derivative)


def _log_softmax(node: Node) -> Span | None:
    """The logarithm of a softmax, or z - z.logsumexp(dim, keepdim=True), written in any way."""
    ndim = len(node._input_metadata[0].shape) if not is_leaf(node) else 0
    if kind(node) == "Log":
        inner = node.next_functions[0][0]
        if _is(inner, "Softmax"):
            dims = saved_dims(inner, ndim)
            return Span("LogSoftmax", node, _input(inner), dims, _log_softmax_derivative)
        softmax = None if inner is None else _softmax(inner)
        if softmax is not None:
            dims, bottom = softmax.dims, softmax.bottom
            return Span("LogSoftmax", node, bottom, dims, _log_softmax_derivative)
    if kind(node) == "Sub" and len(node.next_functions) == 2:
        bottom, normaliser = node.next_functions[0], _past_views(node.next_functions[1])
        if normaliser is not None and kind(normaliser) == "Log":
            normaliser = _past_views(_input(normaliser))  # log(exp(z).sum())
            inside = _past_views(_input(normaliser)) if _is(normaliser, "Sum") else None
            start = _input(inside) if inside is not None and _is(inside, "Exp") else None
        else:
            start = _input(normaliser) if _is(normaliser, "Logsumexp") else None
        if start is not None and start == bottom and normaliser is not None:
            dims = saved_dims(normaliser, ndim)
            return Span("LogSoftmax", node, _unshifted(bottom), dims, _log_softmax_derivative)
    return None


def _sigmoid(node: Node) -> Span | None:
    """1 / (1 + exp(-z))."""
    inner: Node | None = node
    chain = ["Reciprocal", "Add", "Exp", "Neg"]
    if _is(node, "Mul") and _single(node):  # 1 / x is computed as (1 / x) * 1
        inner = _input(node)[0]
    for name in chain:
        if not _is(inner, name):
            return None
        assert inner is not None
        bottom = _input(inner)
        inner = bottom[0]
    return Span("Sigmoid", node, bottom, (), lambda at: at.u * at.y * (1 - at.y))


def _square(node: Node) -> Span | None:
    """x * x."""
    if kind(node) != "Mul" or len(set(node.next_functions)) != 1:
        return None
    return Span("Pow", node, _input(node), (), lambda at: 2 * at.u * at.x)


def _composition(node: Node) -> Span | None:
    """One function of one variable, of what another step made."""
    if len(node.next_functions) != 1 or _input(node)[0] is None or is_leaf(_input(node)[0]):
        return None

    def derivative(at: At) -> Tensor:
        (found,) = backward.call(node, (at.u,))
        assert found is not None
        return found

    return Span("Composition", node, _input(node), (), derivative)


def _softmax_derivative(at: At) -> Tensor:
    return at.y * (at.u - (at.u * at.y).sum(at.dims, keepdim=True))


def _log_softmax_derivative(at: At) -> Tensor:
    return at.u - torch.exp(at.y) * at.u.sum(at.dims, keepdim=True)


def _is(node: Node | None, name: str) -> bool:
    return node is not None and kind(node) == name


def _input(node: Node) -> Edge:
    place: Edge = node.next_functions[0]
    return place


def _single(node: Node) -> bool:
    return len([child for child, _ in node.next_functions if child is not None]) == 1


def _unshifted(place: Edge) -> Edge:
    """Past z - z.max(), which changes nothing in a softmax, nor in its gradient."""
    node = place[0]
    if not _is(node, "Sub"):
        return place
    largest = _past_views(node.next_functions[1])
    if largest is None or kind(largest) not in ("Max", "Amax"):
        return place
    return _input(node) if _input(largest) == _input(node) else place


def _past_views(place: Edge) -> Node | None:
    """The node at an edge, past what only adds or takes away dimensions of size 1."""
    node = place[0]
    while node is not None and kind(node) in ("Unsqueeze", "Squeeze", "View"):
        node = node.next_functions[0][0]
    return node
