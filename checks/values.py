"""The forward values of a live graph, as far as they are known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence

import torch
from torch import Tensor

from checks.backward import Edge, Node, is_leaf
from checks.graph import constant, kind, place_of, saved_operand


def forward_values(
    nodes: Sequence[Node], tensors: Iterable[Tensor], inside: Collection[Node]
) -> dict[Edge, Tensor]:
    """Find the forward values of a graph, as far as they are known, detached.

    In order of preference: tensors that have a name; leaves; what the operations saved; and what
    can be computed again from these. A live graph does not hold everything: what is not known is
    left out.

    Args:
        nodes: the nodes of the graph, the result's first.
        tensors: tensors of the notebook, some of which may be in the graph.
        inside: the same nodes, to look up.
    """
    values: dict[Edge, Tensor] = {}
    for tensor in tensors:
        place = place_of(tensor)
        if place is not None and place[0] in inside:
            values.setdefault(place, tensor.detach())
    for node in nodes:
        if is_leaf(node):
            values.setdefault((node, 0), node.variable.detach())
            continue
        for index, (child, number) in enumerate(node.next_functions):
            saved = None if child is None else saved_operand(node, index)
            if saved is not None:
                values.setdefault((child, number), saved.detach())
        result = _saved_result(node)
        if result is not None:
            values.setdefault((node, 0), result)
    for node in reversed(nodes):
        _evaluate_again(node, values)
    return values


def _saved_result(node: Node) -> Tensor | None:
    # The maximum along a dimension saves its indices under another name, not its values.
    try:
        result = getattr(node, "_saved_result", None)
    except RuntimeError:
        return None
    return result.detach() if isinstance(result, Tensor) else None


_AGAIN: dict[str, Callable[..., Tensor]] = {
    "Abs": torch.abs,
    "Add": torch.add,
    "Cos": torch.cos,
    "Div": torch.div,
    "Mm": torch.mm,
    "Mul": torch.mul,
    "Mv": torch.mv,
    "Neg": torch.neg,
    "Sin": torch.sin,
    "Sub": torch.sub,
    "T": torch.t,
}
_INVERSE: dict[str, Callable[[Tensor], Tensor]] = {
    "Exp": torch.log,
    "Sigmoid": torch.logit,
    "Sqrt": torch.square,
    "Tanh": torch.atanh,
}


def evaluated(node: Node, values: Mapping[Edge, Tensor]) -> Tensor | None:
    """What a simple node computes from the values of its inputs; None where that is not known."""
    name = kind(node)
    if name in _AGAIN and getattr(node, "_saved_alpha", 1) == 1:
        inputs = [
            constant(node, k) if child is None else values.get((child, number))
            for k, (child, number) in enumerate(node.next_functions)
        ]
        if all(value is not None for value in inputs):
            return _AGAIN[name](*inputs)
    if name == "Pow":
        base = values.get(node.next_functions[0])
        exponent = getattr(node, "_saved_exponent", None)
        if base is not None and isinstance(exponent, (int, float)):
            return base**exponent
    return None


def _evaluate_again(node: Node, values: dict[Edge, Tensor]) -> None:
    """Fill in the output of a simple node from its inputs, or its input from its output."""
    name, output = kind(node), (node, 0)
    result = None if output in values else evaluated(node, values)
    if result is not None:
        values[output] = result
    if name in _INVERSE and output in values:
        values.setdefault(node.next_functions[0], _INVERSE[name](values[output]))
