"""The wrong gradients that mal-rules give at one tensor of a graph.

A backward pass is run again and again, each time with one rule of one node broken on purpose.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import cached_property

import torch
from torch import Tensor

from checks import backward
from checks.backward import Edge, Gradients, Node, Pass, is_leaf
from checks.graph import kind
from checks.malrules import BROADCAST_RULES, NODE_RULES, RESULT_RULES, MalRule
from checks.site import NotKnownError, Site
from checks.truth import Question
from checks.values import forward_values

_MOST_WORK = 40_000  # nodes visited by all broken passes together, before the search stops
_LARGEST_JACOBIAN = 400  # entries; larger ones are not tried for Jv


@dataclass(frozen=True)
class Mistake:
    """One explanation of a wrong answer.

    `name` is the mal-rule's (two joined with "+" where two mistakes came together), `says` its
    sentence, `node` the place, `rank` how far from likely.
    """

    name: str
    says: str
    lesson: str
    rank: float
    node: Node | None = None


@dataclass(frozen=True)
class Candidate:
    """What comes out at a tensor when a mistake is made."""

    mistake: Mistake
    gradient: Tensor


@dataclass(frozen=True)
class Search:
    """The wrong gradients that mal-rules give at one tensor of a question.

    `cuts` are the learner's own upstream answers, where there are any: then the search is for what
    went wrong given these.
    """

    question: Question
    name: str
    tensors: tuple[Tensor, ...] = ()
    cuts: Mapping[Edge, Tensor] | None = None

    @cached_property
    def clean(self) -> Pass:
        """The pass without any mistake."""
        return self._run(None)

    @cached_property
    def right(self) -> Tensor | None:
        """What follows from the upstream answers by right steps."""
        return self.clean.arriving.get(self.target)

    @property
    def target(self) -> Edge:
        """Where the gradient is asked for."""
        return self.question.edges[self.name]

    @cached_property
    def values(self) -> dict[Edge, Tensor]:
        """The forward values that are known."""
        return forward_values(self.question.nodes, self.tensors, self.question.inside)

    @cached_property
    def steps(self) -> list[Node]:
        """The nodes whose mistakes reach the target, up to the cuts above it."""
        sources: dict[Edge, list[Node]] = {}
        for node in self.question.nodes:
            for place in node.next_functions:
                sources.setdefault(place, []).append(node)
        reached: set[Node] = set()
        waiting = [self.target]
        while waiting:
            for node in sources.get(waiting.pop(), ()):
                if node not in reached:
                    reached.add(node)
                    outputs = [(node, k) for k in range(len(node._input_metadata))]
                    waiting.extend(place for place in outputs if place not in (self.cuts or {}))
        return [node for node in self.question.nodes if node in reached]

    def candidates(self) -> Iterator[Candidate]:
        """Every wrong gradient, one mistake at a time, then two that often come together."""
        yield from self._results()
        single = list(self._node_mistakes())
        budget = _MOST_WORK
        for mistake, change in single:
            budget -= len(self.question.nodes)
            if budget < 0:
                return
            yield from self._broken(mistake, {mistake.node: change})
        yield from self._shapes()
        yield from self._single_paths()
        yield from self._composition_as_product()
        pairing = [(m, c) for m, c in single if m.name in _PAIRING]
        for k, (first, change) in enumerate(pairing):
            for second, other in pairing[k + 1 :]:
                budget -= len(self.question.nodes)
                if budget < 0:
                    return
                if first.node is not second.node:
                    both = {first.node: change, second.node: other}
                    yield from self._broken(_together(first, second), both)
                elif first.name != second.name:
                    yield from self._broken(
                        _together(first, second), {first.node: _composed(change, other)}
                    )

    # -- kinds of mistakes ---------------------------------------------------------------------

    def _node_mistakes(self) -> Iterator[tuple[Mistake, Callable[[Site], Gradients]]]:
        for node in self.steps:
            if node not in self.clean.handed_on:
                continue
            name = kind(node)
            for rule in NODE_RULES:
                if rule.kinds and name not in rule.kinds:
                    continue
                if not rule.kinds and name == "Leaf":
                    continue
                for variant in range(_variants(rule, self._site(node))):
                    mistake = Mistake(rule.name, rule.says, rule.lesson, rule.rank, node)
                    yield mistake, _variant(rule, variant)

    def _results(self) -> Iterator[Candidate]:
        if self.right is None:
            return
        for rule in RESULT_RULES:
            for gradient in rule.change(self.right):
                yield Candidate(Mistake(rule.name, rule.says, rule.lesson, rule.rank), gradient)
        yield from self._other_products()

    def _other_products(self) -> Iterator[Candidate]:
        """Jv for Jᵀv, and the column sums of J, where v is not all ones."""
        question = self.question
        if self.cuts or bool((question.v == 1).all()):
            return
        ones = torch.ones_like(question.v)
        sums = backward.run(question.root, ones, question.nodes).arriving.get(self.target)
        says = "J is added up without the weights v"
        if sums is not None:
            yield Candidate(Mistake("ones-for-v", says, "2", 2), sums)
        wrt = question.wrt[self.name]
        if (
            question.v.numel() * wrt.numel() > _LARGEST_JACOBIAN
            or question.v.numel() != wrt.numel()
        ):
            return
        rows = [
            backward.run(question.root, row.reshape(question.v.shape), question.nodes).arriving
            for row in torch.eye(question.v.numel(), dtype=question.v.dtype)
        ]
        if all(self.target in row for row in rows):
            matrix = torch.stack([row[self.target].flatten() for row in rows])
            product = (matrix @ question.v.flatten().to(matrix.dtype)).reshape(wrt.shape)
            says = "the Jacobian is multiplied with v from the other side"
            yield Candidate(Mistake("jv", says, "2", 1), product)

    def _shapes(self) -> Iterator[Candidate]:
        for node in self.steps:
            if node not in self.clean.handed_on:
                continue
            site = self._site(node)
            for slot, (raw, fit) in enumerate(
                zip(site.raw, self.clean.handed_on[node], strict=False)
            ):
                if raw is None or fit is None or raw.shape == fit.shape:
                    continue
                for rule in BROADCAST_RULES:
                    for gradient in rule.change(raw, tuple(fit.shape)):
                        mistake = Mistake(rule.name, rule.says, rule.lesson, rule.rank, node)
                        yield from self._replaced(mistake, node, slot, gradient)

    def _single_paths(self) -> Iterator[Candidate]:
        """Where gradients meet: one of them is kept, as with `=` for `+=`."""
        meeting: dict[Edge, list[tuple[Node, int]]] = {}
        for node, handed in self.clean.handed_on.items():
            for slot, place in enumerate(node.next_functions):
                if slot < len(handed) and handed[slot] is not None:
                    meeting.setdefault(place, []).append((node, slot))
        says = "only one of the paths that meet here is counted"
        for sources in meeting.values():
            if len(sources) < 2:
                continue
            for kept in sources:
                lost = {source for source in sources if source != kept}
                mistake = Mistake("one-path", says, "5", 2, kept[0])
                yield from self._without(mistake, lost)

    def _composition_as_product(self) -> Iterator[Candidate]:
        """f(g(x)) differentiated as if it were f · g: f′·g + f·g′, for steps of one number each."""
        says = "one function inside another is differentiated like a product of the two"
        for outer in self.steps:
            inner, number = outer.next_functions[0] if outer.next_functions else (None, 0)
            if inner is None or is_leaf(inner) or len(outer.next_functions) != 1:
                continue
            if inner not in self.clean.handed_on:
                continue
            g, f = self.values.get((inner, number)), self.values.get((outer, 0))
            upstream = self.clean.arriving.get((outer, 0))
            if g is None or f is None or upstream is None:
                continue

            def change(
                site: Site, g: Tensor = g, f: Tensor = f, upstream: Tensor = upstream
            ) -> Gradients:
                through = backward.call(site.node, (upstream * f,))
                return tuple(None if t is None else site.u * g + t for t in through)

            yield from self._broken(
                Mistake("composition-as-product", says, "5", 4, inner), {inner: change}
            )

    # -- broken passes -------------------------------------------------------------------------

    def _broken(
        self, mistake: Mistake, changes: Mapping[Node | None, Callable[[Site], Gradients]]
    ) -> Iterator[Candidate]:
        def rule(node: Node, arriving: Gradients, raw: Gradients) -> Gradients:
            if node in changes:
                raw = changes[node](Site(node, arriving, raw, self.values))
            return backward.fitted(node, raw)

        yield from self._outcome(mistake, rule)

    def _replaced(
        self, mistake: Mistake, place: Node, slot: int, gradient: Tensor
    ) -> Iterator[Candidate]:
        def rule(node: Node, arriving: Gradients, raw: Gradients) -> Gradients:
            handed = backward.fitted(node, raw)
            if node is place:
                handed = (*handed[:slot], gradient, *handed[slot + 1 :])
            return handed

        yield from self._outcome(mistake, rule)

    def _without(self, mistake: Mistake, lost: set[tuple[Node, int]]) -> Iterator[Candidate]:
        def rule(node: Node, arriving: Gradients, raw: Gradients) -> Gradients:
            handed = backward.fitted(node, raw)
            return tuple(
                torch.zeros_like(g) if g is not None and (node, slot) in lost else g
                for slot, g in enumerate(handed)
            )

        yield from self._outcome(mistake, rule)

    def _outcome(self, mistake: Mistake, rule: backward.Rule) -> Iterator[Candidate]:
        try:
            gradient = self._run(rule).arriving.get(self.target)
        except (RuntimeError, NotKnownError, IndexError):
            return  # the broken rule does not go on: its shapes do not fit further down
        if gradient is not None:
            yield Candidate(mistake, gradient)

    def _run(self, rule: backward.Rule | None) -> Pass:
        question = self.question
        return backward.run(question.root, question.v, question.nodes, rule=rule, cuts=self.cuts)

    def _site(self, node: Node) -> Site:
        arriving = tuple(self._after_cut((node, k)) for k in range(len(node._input_metadata)))
        return Site(node, arriving, backward.call(node, arriving), self.values)

    def _after_cut(self, place: Edge) -> Tensor | None:
        cut = (self.cuts or {}).get(place)
        return self.clean.arriving.get(place) if cut is None else cut


_PAIRING = frozenset(rule.name for rule in NODE_RULES if rule.pairs)


def _variants(rule: MalRule, site: Site) -> int:
    try:
        return len(list(rule.change(site)))
    except (NotKnownError, RuntimeError):
        return 0


def _variant(rule: MalRule, number: int) -> Callable[[Site], Gradients]:
    def change(site: Site) -> Gradients:
        return list(rule.change(site))[number]

    return change


def _composed(
    first: Callable[[Site], Gradients], second: Callable[[Site], Gradients]
) -> Callable[[Site], Gradients]:
    def change(site: Site) -> Gradients:
        return second(Site(site.node, site.arriving, first(site), site.values))

    return change


def _together(first: Mistake, second: Mistake) -> Mistake:
    return Mistake(
        f"{first.name}+{second.name}",
        f"{first.says}, and {second.says}",
        first.lesson,
        first.rank + second.rank + 0.5,
        first.node,
    )
