"""What arrives at one tensor when a step of a backward pass goes differently.

Only what lies between the changed step and the tensor is computed again; everything else is taken
from the pass that went right.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Mapping
from functools import cached_property
from typing import TypeAlias

from torch import Tensor

from checks import backward
from checks.backward import Edge, Gradients, Node, Pass
from checks.graph import kind
from checks.truth import Question

# Given what arrives at a node: what goes to which of the tensors below it.
Step: TypeAlias = Callable[[Gradients], "Sent"]
Sent: TypeAlias = list[tuple[Edge, Tensor]]

_MOST_WORK = 20_000  # steps of small tensors, all passes together; under half a second
_NUMBERS = 4096  # so many numbers cost as much to handle as one step
_PRODUCTS = 250_000  # and so many products in a matrix product
_PRODUCING = ("Mm", "Bmm", "Addmm", "Baddbmm", "Convolution")


class Exhausted(Exception):
    """The work that may be done for one answer is done."""


class Replay:
    """Backward passes over one question towards one tensor, in which some steps are changed.

    Args:
        question: what was asked.
        target: the edge of the tensor at which the gradient is wanted.
        cuts: the learner's own upstream gradients.
    """

    def __init__(self, question: Question, target: Edge, cuts: Mapping[Edge, Tensor]) -> None:
        self.question, self.target, self.cuts = question, target, cuts
        self.begin()

    def begin(self) -> None:
        """Grant the work for one answer."""
        self.work = _MOST_WORK

    @cached_property
    def clean(self) -> Pass:
        """The pass in which nothing is changed."""
        q = self.question
        return backward.run(q.root, q.v, q.nodes, cuts=self.cuts)

    @cached_property
    def steps(self) -> list[Node]:
        """The nodes whose mistakes reach the target, up to the cuts above it, in order."""
        reached: set[Node] = set()
        waiting = [self.target]
        while waiting:
            for node, _ in self.sources.get(waiting.pop(), ()):
                if node not in reached:
                    reached.add(node)
                    waiting.extend(place for place in self.outputs(node) if place not in self.cuts)
        return [node for node in self.question.nodes if node in reached]

    @cached_property
    def sources(self) -> dict[Edge, list[tuple[Node, int]]]:
        """For each edge the nodes that hand a gradient on to it, and which of theirs it is."""
        found: dict[Edge, list[tuple[Node, int]]] = {}
        for node, handed in self.clean.handed_on.items():
            for slot, (place, gradient) in enumerate(
                zip(node.next_functions, handed, strict=False)
            ):
                if gradient is not None:
                    found.setdefault(place, []).append((node, slot))
        return found

    def leads(self, node: Node, others: Collection[Node]) -> bool:
        """Whether the pass goes on from a step to another one of several."""
        waiting, seen = [node], {node}
        while waiting:
            self._spend(1)
            for child, _ in waiting.pop().next_functions:
                if child in seen or child not in self._on_the_way:
                    continue
                if child in others:
                    return True
                seen.add(child)
                waiting.append(child)
        return False

    @cached_property
    def bridges(self) -> frozenset[Node]:
        """The steps through which every path goes; none are known where the pass is cut."""
        if self.cuts:
            return frozenset()
        place = {node: number for number, node in enumerate(self.steps)}
        found, farthest = set(), 0
        for number, node in enumerate(self.steps):
            if number == farthest and len(node._input_metadata) == 1:
                found.add(node)
            ahead = [place.get(child, 0) for child, _ in node.next_functions]
            # A path that reaches the target has passed all bridges that there are on it.
            ends = any(below == self.target for below in node.next_functions)
            farthest = max(farthest, *ahead, len(self.steps) if ends else 0)
        return frozenset(found)

    def matters(self, place: Edge) -> bool:
        """Whether what arrives at an edge makes a difference at the target."""
        return place == self.target or (place[0] in self._on_the_way and place not in self.cuts)

    @cached_property
    def _on_the_way(self) -> frozenset[Node]:
        return frozenset(self.steps)

    def outputs(self, node: Node) -> list[Edge]:
        """The edges of what a node computed."""
        return [(node, number) for number in range(len(node._input_metadata))]

    def arriving(self, node: Node) -> Gradients:
        """What arrives at a node in the clean pass, after the cut if there is one."""
        return tuple(self._known(place) for place in self.outputs(node))

    def outcome(self, changes: Mapping[Node, Step]) -> Tensor | None:
        """What arrives at the target when some steps are changed; None for nothing.

        Raises:
            Exhausted: too much has been computed already.
            RuntimeError: a changed gradient has a shape with which it cannot go on.
        """
        sent: dict[Node, Sent] = {}
        new: dict[Edge, list[tuple[Node, Tensor]]] = {}  # what reaches an edge by another way
        changed: set[Edge] = set()
        for node in self.steps:
            outputs = self.outputs(node)
            if node not in changes and changed.isdisjoint(outputs):
                continue
            self.spend(node)
            arriving = tuple(
                self._summed(place, sent, new)
                if place in changed and place not in self.cuts
                else self._known(place)
                for place in outputs
            )
            sent[node] = changes[node](arriving) if node in changes else _handed(node, arriving)
            changed.update(node.next_functions)
            for place, gradient in sent[node]:
                changed.add(place)
                new.setdefault(place, []).append((node, gradient))
        return self._summed(self.target, sent, new)

    def _known(self, place: Edge) -> Tensor | None:
        return self.cuts.get(place, self.clean.arriving.get(place))

    def _summed(
        self,
        place: Edge,
        sent: Mapping[Node, Sent],
        new: Mapping[Edge, list[tuple[Node, Tensor]]],
    ) -> Tensor | None:
        """Add up what arrives at an edge: from changed steps the new, from all others the old."""
        total: Tensor | None = None
        old = [
            (node, self.clean.handed_on[node][slot])
            for node, slot in self.sources.get(place, ())
            if node not in sent
        ]
        for _, gradient in [*old, *new.get(place, ())]:
            if gradient is not None:
                total = gradient if total is None else total + gradient
        return total

    def spend(self, node: Node) -> None:
        """Count the work of computing one step.

        Raises:
            Exhausted: it is too much, with what has been computed already.
        """
        self._spend(self._costs[node])

    def _spend(self, work: int) -> None:
        self.work -= work
        if self.work < 0:
            raise Exhausted

    @cached_property
    def _costs(self) -> dict[Node, int]:
        return {node: _cost(node) for node in self.question.nodes}


def handed(node: Node, gradients: Gradients) -> Sent:
    """What a node hands on, by edge, with broadcasting undone as it should be."""
    return as_they_are(node, backward.fitted(node, gradients))


def as_they_are(node: Node, gradients: Gradients) -> Sent:
    """What a node hands on, by edge, with broadcasting not undone."""
    return [
        (place, gradient)
        for place, gradient in zip(node.next_functions, gradients, strict=False)
        if gradient is not None and place[0] is not None
    ]


def _handed(node: Node, arriving: Gradients) -> Sent:
    if all(gradient is None for gradient in arriving):
        return []
    return handed(node, backward.call(node, arriving))


def _cost(node: Node) -> int:
    below = [child._input_metadata[k] for child, k in node.next_functions if child is not None]
    sizes = [math.prod(meta.shape) for meta in (*node._input_metadata, *below)]
    cost: int = 1 + sum(sizes) // _NUMBERS
    if kind(node) in _PRODUCING:  # the square root of mk · kn · mn is mkn
        cost += math.isqrt(math.prod(sizes[:1] + sorted(sizes[1:])[-2:])) // _PRODUCTS
    return cost
