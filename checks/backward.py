"""One backward pass over PyTorch's own nodes, which can be watched, broken and cut.

A node of the autograd graph can be called: `node(*upstream)` runs PyTorch's own formula for that
operation. What is ours is only the walk: from the result back to the inputs, adding up where paths
meet. That makes it possible to

- *watch* the gradient that arrives at every node,
- *break* one node: replace what it hands on by what a wrong rule would hand on,
- *cut* at a named tensor: note what arrives, and go on with the learner's gradient instead.

Calling a node runs no hook and writes no `.grad`, so the learner's tensors stay as they are;
`torch.autograd.grad` would fire the learner's hooks and add to every `.grad` that was asked for
with `retain_grad()`. The tests compare the two, bit by bit, for every kind of node.
"""

from __future__ import annotations

import io
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, redirect_stderr, redirect_stdout
from dataclasses import dataclass, field
from heapq import heappop, heappush
from typing import Any, TypeAlias

import torch
from torch import Tensor
from torch.autograd.function import BackwardCFunction
from torch.autograd.graph import get_gradient_edge

from checks.wording import a, is_tensor

Node: TypeAlias = Any  # torch.autograd.graph.Node, whose stub leaves out what is used here
Edge: TypeAlias = tuple[Node, int]  # a node and the number of one of its (forward) outputs
Gradients: TypeAlias = tuple[Tensor | None, ...]
# Given a node, what arrives at it and what `call` makes of it: what is handed on instead. Undoing
# the broadcasting is left to the rule (`fitted`), since to forget it is one of the mistakes.
Rule: TypeAlias = Callable[[Node, Gradients, Gradients], Gradients]


# Python's view of a node lives on with the node. When PyTorch frees a chain of nodes that were all
# looked at, it recurses, and some ten thousand of them overflow the stack: the kernel dies.
MOST_NODES = 5_000


class TooLargeError(RuntimeError):
    """The graph has more nodes than can be walked over safely."""


@dataclass
class Pass:
    """What one backward pass saw.

    `arriving` is the gradient of the result with respect to the tensor at each edge (for a cut
    edge: what arrived before the cut). `handed_on` is what each node passed to each of its inputs,
    after broadcasting was undone.
    """

    arriving: dict[Edge, Tensor] = field(default_factory=dict)
    handed_on: dict[Node, Gradients] = field(default_factory=dict)


def edge(tensor: Tensor) -> Edge:
    """Where a tensor stands in the graph: the node that made it, or its `AccumulateGrad`.

    Raises:
        RuntimeError: the tensor does not require grad, or is an inference tensor.
    """
    with torch.inference_mode(False), torch.enable_grad():
        found = get_gradient_edge(tensor)
    return found.node, found.output_nr


def order(root: Node, targets: Collection[Node]) -> list[Node]:
    """List the nodes on the paths from `root` to any of `targets`, in the engine's order.

    Each stands before those it feeds, and of those that are ready the one made last comes first, so
    that sums are added up in the same order and every bit is the same. Nodes that lead to no target
    are left out: a part of the graph that was freed or changed does no harm where it is not needed.
    The list is empty where no target is reached.

    Raises:
        TooLargeError: there are too many nodes below `root`.
    """
    leading = _leading(root, targets)
    waits = Counter(child for node in leading for child in _children(node) if child in leading)
    ready = [(0, 0, root)] if root in leading else []
    nodes: list[Node] = []
    while ready:
        node = heappop(ready)[2]
        nodes.append(node)
        for child in _children(node):
            if child not in leading:
                continue
            waits[child] -= 1
            if not waits[child]:
                # The count of nodes breaks ties: two nodes cannot be compared.
                heappush(ready, (-type(child)._sequence_nr(child), len(nodes) + len(ready), child))
    return nodes


def _leading(root: Node, targets: Collection[Node]) -> set[Node]:
    """The nodes below `root` that lead to any of `targets`."""
    leads: dict[Node, bool] = {}
    stack: list[tuple[Node, bool]] = [(root, False)]
    while stack:
        node, children_done = stack.pop()
        if children_done:
            leads[node] = node in targets or any(leads.get(child) for child in _children(node))
        elif node not in leads:
            leads[node] = False
            if len(leads) > MOST_NODES:
                raise TooLargeError(f"more than {MOST_NODES} steps")
            stack.append((node, True))
            stack.extend((child, False) for child in _children(node) if child not in leads)
    return {node for node, found in leads.items() if found}


def run(
    root: Edge,
    upstream: Tensor,
    nodes: Sequence[Node],
    *,
    rule: Rule | None = None,
    cuts: Mapping[Edge, Tensor] | None = None,
) -> Pass:
    """Walk backward from `root`.

    Args:
        root: the edge of the result.
        upstream: the gradient that arrives there, of the result's shape.
        nodes: the nodes to visit, as `order` lists them.
        rule: replaces what a node hands on; `fitted` if there is none.
        cuts: for some edges the gradient to go on with, instead of the one that arrives.

    Raises:
        RuntimeError: PyTorch's own, where a node's saved values were freed or changed in place.
    """
    wanted = set(nodes)
    seen = Pass()
    waiting: dict[Node, dict[int, Tensor]] = {root[0]: {root[1]: upstream}}
    with torch.inference_mode(False), torch.no_grad():
        for node in nodes:
            received = waiting.pop(node, {})
            for number, gradient in received.items():
                seen.arriving[node, number] = gradient
                if cuts and (node, number) in cuts:
                    received[number] = cuts[node, number]
            if is_leaf(node):
                continue
            arriving = tuple(received.get(k) for k in range(len(node._input_metadata)))
            result = call(node, arriving)
            handed = rule(node, arriving, result) if rule else _valid(node, fitted(node, result))
            seen.handed_on[node] = handed
            for passed, (child, number) in zip(handed, node.next_functions, strict=False):
                if passed is None or child not in wanted:
                    continue
                slot = waiting.setdefault(child, {})
                slot[number] = _added(slot[number], passed) if number in slot else passed
    return seen


def call(node: Node, arriving: Gradients) -> Gradients:
    """Run PyTorch's formula of one node: upstream gradients in, gradients of its inputs out.

    The gradient of a broadcast operand comes back unsummed; `fitted` undoes the broadcasting.
    """
    if not _is_python_function(node):
        return _tuple(node(*arriving))
    # A torch.autograd.Function, written in Python. Attributes that its author put on the node may
    # hide methods of the node, so they are taken from the class.
    if type(node).name(node) == "CheckpointFunctionBackward":
        # It would call `backward()` inside, which writes to the `.grad` of every parameter.
        raise RuntimeError("checkpoint(…, use_reentrant=True) works with `backward()` only")
    # What it gets and what it gives are copied: its author may compute in place.
    filled = [
        torch.zeros(meta.shape, dtype=meta.dtype, device=meta.device) if g is None else g.clone()
        for g, meta in zip(arriving, node._input_metadata, strict=True)
    ]
    with torch._C._EnableTorchFunction(), _silenced():
        result = _tuple(BackwardCFunction.apply(node, *filled))  # type: ignore[no-untyped-call]
    # It returns one gradient per argument, also for arguments that are no tensors.
    needed = node.needs_input_grad
    surplus = any(extra is not None for extra in result[len(needed) :])
    if len(result) < len(needed) or surplus:
        raise RuntimeError(
            f"{type(node).name(node)} returned {len(result)} gradients for {len(needed)} arguments"
        )
    gradients = (_copied(node, g) for g, need in zip(result, needed, strict=False) if need)
    return tuple(None if child is None else next(gradients) for child, _ in node.next_functions)


def _copied(node: Node, gradient: object) -> Tensor | None:
    if gradient is not None and not is_tensor(gradient):
        raise RuntimeError(f"{type(node).name(node)} returned {a(gradient)} for a gradient")
    return None if gradient is None else gradient.clone()  # type: ignore[attr-defined]


@contextmanager
def _silenced() -> Iterator[None]:
    """Show nothing of what the notebook's code prints: a check runs it many times."""
    with redirect_stdout(io.StringIO()), redirect_stderr(io.StringIO()):
        yield


def _is_python_function(node: Node) -> bool:
    return isinstance(node, BackwardCFunction)


def is_leaf(node: Node) -> bool:
    """Whether the node stands for a leaf tensor: there the pass ends."""
    # Not by its attribute `variable`: the author of a torch.autograd.Function may have set one.
    return type(node).__name__ == "AccumulateGrad"


def _children(node: Node) -> Iterable[Node]:
    return (child for child, _ in node.next_functions if child is not None)


def fitted(node: Node, result: Gradients) -> Gradients:
    """What `call` returned, brought to the shapes and types of the node's inputs."""
    targets = zip(result, node.next_functions, strict=False)
    return tuple(_fitted(gradient, target) for gradient, target in targets)


def _fitted(gradient: Tensor | None, target: tuple[Node | None, int]) -> Tensor | None:
    """Undo broadcasting and type promotion, as PyTorch's engine does between two nodes."""
    child, number = target
    if gradient is None or child is None:
        return gradient
    meta = child._input_metadata[number]
    shape = tuple(meta.shape)  # a list, which never equals a torch.Size
    if gradient.shape != shape and _reduces_to(gradient.shape, shape):
        gradient = gradient.sum_to_size(shape)
    if gradient.is_complex() and not meta.dtype.is_complex:
        gradient = gradient.real
    return gradient.to(meta.dtype)


def _valid(node: Node, handed: Gradients) -> Gradients:
    for gradient, (child, number) in zip(handed, node.next_functions, strict=False):
        if gradient is None or child is None:
            continue
        shape = tuple(child._input_metadata[number].shape)
        if tuple(gradient.shape) != shape:
            raise RuntimeError(
                f"{type(node).name(node)} returned a gradient of shape {tuple(gradient.shape)} "
                f"for an input of shape {shape}"
            )
    return handed


def _added(one: Tensor, other: Tensor) -> Tensor:
    # PyTorch adds a sparse tensor to a dense one, but not the other way round.
    return other + one if one.is_sparse and not other.is_sparse else one + other


def _reduces_to(shape: Sequence[int], smaller: Sequence[int]) -> bool:
    if len(smaller) > len(shape):
        return False
    tail = shape[len(shape) - len(smaller) :]
    return all(n == m or m == 1 for n, m in zip(tail, smaller, strict=True))


def _tuple(result: Any) -> Gradients:
    return result if isinstance(result, tuple) else (result,)
