"""Inputs that need no gradient: the graph has no edge to them, so they must be found elsewhere."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from checks.backward import Edge, Node
from checks.graph import Names, constant, kind, saved_operand
from checks.recording import Recording

Slot = tuple[Node, int]  # a node and the number of one of its inputs

_ROUNDING = 1e-5  # a value that is worked out carries the rounding of the two it comes from


def find_constants(
    nodes: Sequence[Node], values: Mapping[Edge, Tensor], recording: Recording | None = None
) -> dict[Slot, Tensor]:
    """Find the inputs that need no gradient: recorded, saved, or worked out from their neighbours.

    What is the same number in every entry is given as that number.
    """
    recorded = recording.constants if recording else {}
    found = {}
    for node in nodes:
        for slot, (child, _) in enumerate(node.next_functions):
            if child is not None:
                continue
            value = recorded.get((node, slot))
            if value is None:
                value = constant(node, slot)
            if value is None:
                value = _worked_out(node, slot, values)
            if value is not None:
                found[node, slot] = value
    return found


def named(
    names: Names,
    constants: Mapping[Slot, Tensor],
    variables: Iterable[tuple[str, object]],
    *,
    given: Mapping[str, object] | None = None,
    recording: Recording | None = None,
) -> Names:
    """Add names for the constants.

    The name is that of the very tensor, where it was saved or recorded; of the one tensor in
    `given` that has its value; or of the one variable that does, where the value is more than one
    number over and over: a bare 2 is a 2, whatever variable happens to be 2 as well.
    """
    # Plain tensors alone: a subclass may do anything when it is asked.
    pairs = [(n, t) for n, t in variables if type(t) is Tensor and not n.startswith("_")]
    by_id = {id(t): name for name, t in [*pairs, *(given or {}).items()]}
    found = {}
    for slot, value in constants.items():
        saved = saved_operand(*slot)
        identity = (recording.ids if recording else {}).get(slot, id(saved))
        candidates = [*(given or {}).items()]
        if value.numel() > 1:
            candidates += pairs
        name = by_id.get(identity) or _only_equal(value, candidates)
        if not name and value.numel() == 1:
            name = _written(value)
        if name:
            found[slot] = name
    return replace(names, constants=found)


def _only_equal(value: Tensor, candidates: Iterable[tuple[str, Any]]) -> str:
    """The name of the one tensor without a graph that has this value; empty if several have."""
    equal = {
        name: tensor
        for name, tensor in candidates
        if type(tensor) is Tensor and not tensor.requires_grad and _same(tensor, value)
    }
    return next(iter(equal)) if len({id(tensor) for tensor in equal.values()}) == 1 else ""


def _same(tensor: Tensor, value: Tensor) -> bool:
    for attribute in ("shape", "dtype", "device", "layout"):
        if getattr(tensor, attribute) != getattr(value, attribute):
            return False
    if tensor.layout is not torch.strided or tensor.is_meta or tensor.is_nested:
        return False
    return torch.allclose(tensor, value, rtol=_ROUNDING)


def _worked_out(node: Node, slot: int, values: Mapping[Edge, Tensor]) -> Tensor | None:
    """The other operand of a sum or a difference, from the result and the one that is known."""
    if kind(node) not in {"Add", "Sub"} or getattr(node, "_saved_alpha", 1) != 1:
        return None
    known = values.get(node.next_functions[1 - slot]) if len(node.next_functions) == 2 else None
    result = values.get((node, 0))
    if known is None or result is None or not result.is_floating_point():
        return None
    other = result - known
    if kind(node) == "Sub":
        other = known - result if slot == 1 else result + known
    return _as_number(other)


def _as_number(tensor: Tensor) -> Tensor:
    if tensor.numel() > 1 and torch.allclose(tensor, tensor.flatten()[0], rtol=_ROUNDING):
        return tensor.flatten()[0]
    return tensor


def _written(value: Tensor) -> str:
    return f"{value.item():.4g}".replace("-", "−")
