"""The live graph as plain data: which step made which tensor, with values and gradients as text.

Nothing here knows how it will look. What is not known is left out, never invented.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch
from torch import Tensor

from checks import backward
from checks.backward import Edge, Node, Pass, is_leaf
from checks.constants import Slot
from checks.graph import UNKNOWN, Names, expression, kind, operation, saved_operand
from checks.wording import written

_MOST_ENTRIES = 4  # a tensor with more is shown by its shape and a preview
_PREVIEW = 2
_MOST_DENSE = 10_000_000  # entries that a sparse tensor is written out to

Role = Literal["leaf", "constant", "inner", "result"]


@dataclass(frozen=True)
class Wire:
    """A tensor on its way from the step that makes it to the steps that use it."""

    key: str
    role: Role
    name: str = ""
    value: str = ""
    gradient: str = ""


@dataclass(frozen=True)
class Step:
    """An operation: the wires that go in, and those that come out."""

    key: str
    symbol: str
    says: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    marked: bool = False


@dataclass(frozen=True)
class Diagram:
    """A graph, the steps in the order of the forward pass."""

    wires: Mapping[str, Wire]
    steps: Sequence[Step]
    title: str

    @property
    def text(self) -> str:
        """The same as lines of text: every tensor, its value, its gradient, in order."""
        made_by = {wire: step for step in self.steps for wire in step.outputs}
        inputs = [wire for wire in self.wires.values() if wire.key not in made_by]
        ordered = [*inputs, *(self.wires[w] for step in self.steps for w in step.outputs)]
        rows = [_row(wire, made_by.get(wire.key)) for wire in ordered]
        width = max((len(left) for left, _ in rows), default=0)
        lines = [f"{left:<{width}}  {right}".rstrip() for left, right in rows]
        return "\n".join([self.title, *(f"  {line}" for line in lines)])


@dataclass(frozen=True)
class Known:
    """What is known of a graph: names, forward values, gradients, and inputs without a gradient."""

    names: Names
    values: Mapping[Edge, Tensor]
    seen: Pass | None = None
    constants: Mapping[Slot, Tensor] = field(default_factory=dict)


def diagram(
    nodes: Sequence[Node], known: Known, title: str, *, marked: Collection[Node] = ()
) -> Diagram:
    """Describe a graph.

    Args:
        nodes: all its nodes, the result's first (`backward.order`).
        known: names, values and gradients; a gradient that is not there is left out.
        title: the first line of the text.
        marked: the nodes to point at.
    """
    wires: dict[str, Wire] = {}
    keys = keys_of(nodes)
    steps = []
    used = {place for node in nodes for place in node.next_functions}
    for node in reversed(nodes):
        outputs = [k for k in range(len(_metas(node))) if (node, k) in used or node is nodes[0]]
        for k in outputs:
            role: Role = "leaf" if is_leaf(node) else "result" if node is nodes[0] else "inner"
            wire = _wire(f"{keys[node]}_{k}", role, (node, k), known)
            wires[wire.key] = wire
        if is_leaf(node):
            continue
        inputs = []
        for slot, (child, number) in enumerate(node.next_functions):
            if child is not None:
                inputs.append(f"{keys[child]}_{number}")
                continue
            extra = _constant(f"{keys[node]}_c{slot}", (node, slot), known)
            if extra is not None:
                wires[extra.key] = extra
                inputs.append(extra.key)
        steps.append(
            Step(
                keys[node],
                symbol(node),
                expression(node, known.names),
                tuple(inputs),
                tuple(f"{keys[node]}_{k}" for k in outputs),
                marked=node in marked,
            )
        )
    return Diagram(wires, steps, title)


def keys_of(nodes: Sequence[Node]) -> dict[Node, str]:
    """The keys of the steps in a diagram; output k of a step has the wire `key_k`."""
    return {node: f"n{number}" for number, node in enumerate(reversed(nodes))}


def everything(root: Node) -> list[Node]:
    """All nodes of a graph, the result's first.

    Raises:
        TooLargeError: there are too many.
    """
    found = {root}
    waiting = [root]
    while waiting:
        for child, _ in waiting.pop().next_functions:
            if child is not None and child not in found:
                found.add(child)
                waiting.append(child)
        if len(found) > backward.MOST_NODES:
            raise backward.TooLargeError(f"more than {backward.MOST_NODES} steps")
    return backward.order(root, found)


def shown(tensor: Tensor) -> str:
    """A tensor in a few characters: its numbers where they are few, else shape and a preview."""
    tensor = tensor.detach()
    if tensor.is_nested:
        return "nested"
    if tensor.layout is not torch.strided and tensor.numel() <= _MOST_DENSE:
        tensor = tensor.to_dense()
    if tensor.is_meta or tensor.layout is not torch.strided:
        return written(tensor.shape)
    numbers = tensor.flatten()
    if tensor.ndim == 0:
        return _number(numbers[0].item())
    if numbers.numel() <= _MOST_ENTRIES and tensor.ndim == 1:
        return f"[{', '.join(map(_number, numbers.tolist()))}]"
    preview = ", ".join(map(_number, numbers[:_PREVIEW].tolist()))
    more = ", …" if numbers.numel() > _PREVIEW else ""
    return f"{written(tensor.shape)} [{preview}{more}]"


_SYMBOLS = {
    "Add": "+",
    "Addmm": "@ +",
    "Bmm": "@",
    "Div": "÷",
    "Dot": "@",
    "Mean": "mean",
    "Mm": "@",
    "Mul": "×",
    "Mv": "@",
    "Neg": "−( )",
    "Reciprocal": "1/( )",
    "Sqrt": "√",
    "Sub": "−",
    "Sum": "Σ",
    "T": "ᵀ",
    "Transpose": "ᵀ",
}


def symbol(node: Node) -> str:
    """The sign of an operation: '+', '×', '( )²', or its name."""
    name = kind(node)
    if name == "Pow":
        exponent = getattr(node, "_saved_exponent", None)
        if isinstance(exponent, (int, float)) and exponent in (2, 3):
            return "( )²" if exponent == 2 else "( )³"
        return f"( )^{exponent:g}" if isinstance(exponent, (int, float)) else "^"
    return _SYMBOLS.get(name, operation(node))


def _row(wire: Wire, step: Step | None) -> tuple[str, str]:
    if step is None:
        name = wire.name or (UNKNOWN if wire.role == "leaf" else "")
        left = f"{name} = {wire.value}" if name and wire.value else name or wire.value
        left += f" ({wire.role})"
    else:
        left = f"{wire.name} = {step.says}" if wire.name else step.says
        left += f" = {wire.value}" if wire.value else ""
        left += "   ← look here" if step.marked else ""
    return left, f"grad {wire.gradient}" if wire.gradient else ""


def _wire(key: str, role: Role, place: Edge, known: Known) -> Wire:
    name = known.names.of(place)
    value = known.values.get(place)
    gradient = known.seen.arriving.get(place) if known.seen else None
    return Wire(
        key,
        role,
        "" if name == UNKNOWN else name,
        _size(place) if value is None else shown(value),
        "" if gradient is None else shown(gradient),
    )


def _size(place: Edge) -> str:
    """What can be said of a tensor whose value is not known: its shape, unless it is a number."""
    shape = tuple(_metas(place[0])[place[1]].shape)
    return written(shape) if shape else ""


def _constant(key: str, slot: Slot, known: Known) -> Wire | None:
    value = known.constants.get(slot)
    name = known.names.constants.get(slot) or known.names.tensors.get(id(saved_operand(*slot)), "")
    if value is None:
        return None
    return Wire(key, "constant", "" if name == shown(value) else name, shown(value))


def _metas(node: Node) -> Sequence[Tensor]:
    return [node.variable] if is_leaf(node) else node._input_metadata


def _number(value: float | complex) -> str:
    if isinstance(value, complex):
        return f"{value:.3g}"
    text = f"{value:.4g}"
    return ("0" if text == "-0" else text).replace("-", "−")
