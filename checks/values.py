"""The forward values of a live graph, as far as they are known."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from typing import Any

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
    around = set(inside)
    for _ in range(2):  # what was computed beside them, and from what
        around |= {child for node in around if node for child, _ in node.next_functions}
    for tensor in tensors:
        place = place_of(tensor)
        if place is not None and place[0] in around:
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


Inputs = Sequence[Tensor]
_AGAIN: dict[str, Callable[[Node, Inputs], Tensor]] = {
    "Abs": lambda _, x: torch.abs(*x),
    "Add": lambda node, x: torch.add(*x, alpha=node._saved_alpha),
    "Addmm": lambda node, x: torch.addmm(*x, alpha=node._saved_alpha, beta=node._saved_beta),
    "Bmm": lambda _, x: torch.bmm(*x),
    "Cos": lambda _, x: torch.cos(*x),
    "Div": lambda _, x: torch.div(*x),
    "Dot": lambda _, x: torch.dot(*x),
    "Exp": lambda _, x: torch.exp(*x),
    "Expand": lambda node, x: x[0].expand(_shape(node)),
    "Log": lambda _, x: torch.log(*x),
    "Mean": lambda node, x: x[0].mean(**_reduction(node)),
    "Mm": lambda _, x: torch.mm(*x),
    "Mul": lambda _, x: torch.mul(*x),
    "Mv": lambda _, x: torch.mv(*x),
    "Neg": lambda _, x: torch.neg(*x),
    "Permute": lambda node, x: x[0].permute(_signed(node._saved_dims)),
    "Pow": lambda node, x: x[0] ** _number(node._saved_exponent),
    "Reciprocal": lambda _, x: torch.reciprocal(*x),
    "Relu": lambda _, x: torch.relu(*x),
    "Sigmoid": lambda _, x: torch.sigmoid(*x),
    "Sin": lambda _, x: torch.sin(*x),
    "Sqrt": lambda _, x: torch.sqrt(*x),
    "Squeeze": lambda node, x: x[0].reshape(_shape(node)),
    "Sub": lambda node, x: torch.sub(*x, alpha=node._saved_alpha),
    "Sum": lambda node, x: x[0].sum(**_reduction(node)),
    "T": lambda _, x: torch.t(*x),
    "Tanh": lambda _, x: torch.tanh(*x),
    "Transpose": lambda node, x: x[0].transpose(*_signed([node._saved_dim0, node._saved_dim1])),
    "Unsqueeze": lambda node, x: x[0].reshape(_shape(node)),
    "View": lambda node, x: x[0].reshape(_shape(node)),
}
_INVERSE: dict[str, Callable[[Tensor], Tensor]] = {
    "Exp": torch.log,
    "Sigmoid": torch.logit,
    "Sqrt": torch.square,
    "Tanh": torch.atanh,
}


def evaluated(node: Node, values: Mapping[Edge, Tensor]) -> Tensor | None:
    """What a simple node computes from the values of its inputs; None where that is not known."""
    again = _AGAIN.get(kind(node))
    if again is None or getattr(node, "_saved_rounding_mode", None) is not None:
        return None
    inputs = []
    for slot, (child, number) in enumerate(node.next_functions):
        value = constant(node, slot) if child is None else values.get((child, number))
        if value is None:
            return None
        inputs.append(value)
    if kind(node) in {"Sum", "Mean"} and inputs[0].dtype != node._input_metadata[0].dtype:
        return None  # `sum(dtype=…)`: it was added up in another number format
    try:
        result = again(node, inputs)
    except (AttributeError, RuntimeError, TypeError):
        return None  # another form of the operation, with other inputs
    return result if list(result.shape) == _shape(node) else None


def _shape(node: Node) -> list[int]:
    return list(node._input_metadata[0].shape)


def _reduction(node: Node) -> dict[str, Any]:
    """Over which dimensions a sum or a mean is taken."""
    if not hasattr(node, "_saved_dim"):
        return {}
    return {"dim": _signed(node._saved_dim) or None, "keepdim": node._saved_keepdim}


def _signed(dims: Sequence[int]) -> list[int]:
    """PyTorch saves a negative dimension as an unsigned number."""
    return [dim - 2**64 if dim >= 2**63 else dim for dim in dims]


def _number(exponent: object) -> float:
    if not isinstance(exponent, (int, float)):
        raise TypeError
    return exponent


def _evaluate_again(node: Node, values: dict[Edge, Tensor]) -> None:
    """Fill in the output of a simple node from its inputs, or its input from its output."""
    name, output = kind(node), (node, 0)
    result = None if output in values else evaluated(node, values)
    if result is not None:
        values[output] = result
    if name in _INVERSE and output in values:
        values.setdefault(node.next_functions[0], _INVERSE[name](values[output]))
