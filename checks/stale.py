"""Whether a leaf was changed in place since the graph was computed from it.

PyTorch notices only where the old value was saved for the backward pass. In `(w * x - y) ** 2`
nothing of `w` is saved for its own gradient, so after an update of `w` the graph still gives the
gradient at the old `w`, without a word. It shows where a value that is still known, such as that of
a tensor with a name, is no longer what its inputs give.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from torch import Tensor

from checks.backward import Edge, Node, is_leaf
from checks.graph import UNKNOWN, Names
from checks.truth import Question
from checks.values import evaluated, forward_values

_FAR = 1e-4  # of the largest number; computing the same again differs by rounding at most


def changed_since(
    question: Question, names: Names, tensors: Sequence[Tensor]
) -> tuple[str, str] | None:
    """Find a leaf that was changed, and what was computed from it before.

    Returns:
        The names of the two, or None where no change shows. "a tensor" stands for a name that is
        not known.
    """
    values = forward_values(question.nodes, tensors, question.inside)
    for node in reversed(question.nodes):
        again, then = evaluated(node, values), values.get((node, 0))
        if again is None or then is None or again is then or again.shape != then.shape:
            continue
        inputs = [values[place] for place in node.next_functions if place in values]
        scale = max(float(tensor.abs().max()) for tensor in [then, *inputs] if tensor.numel())
        if bool(((again - then).abs() > _FAR * scale).any()):
            return _name(_changed_leaf(node), names), _name((node, 0), names)
    return None


def _changed_leaf(node: Node) -> Edge:
    """The leaf below a node that was changed in place, so far as that can be told."""
    leaves = list(_leaves(node))
    changed = [leaf for leaf in leaves if leaf.variable._version]
    return ((changed or leaves)[0], 0)


def _leaves(node: Node) -> Iterator[Node]:
    waiting, seen = [node], set()
    while waiting:
        node = waiting.pop()
        if node in seen:
            continue
        seen.add(node)
        if is_leaf(node):
            yield node
        waiting.extend(child for child, _ in node.next_functions if child is not None)


def _name(place: Edge, names: Names) -> str:
    name = names.of(place)
    return "a tensor" if name == UNKNOWN else f"`{name}`"
