"""Put mal-rules into the steps of a backward pass: which apply where, and what they hand on."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cache, cached_property, partial
from typing import Any, TypeVar

import torch
from torch import Tensor

from checks.backward import Edge, Gradients, Node
from checks.graph import kind
from checks.malrules import (
    BROADCAST_RULES,
    MEETING_RULES,
    NODE_RULES,
    Broadcast,
    Counted,
    MalRule,
    Meeting,
    NodeRule,
)
from checks.malrules.rule import Scaled
from checks.replay import Exhausted, Replay, Sent, Step, as_they_are, handed
from checks.site import NotKnownError, Site, known
from checks.spans import At, Span, spans

T = TypeVar("T")

_OF_TWO = {"Mul": "Product", "Div": "Quotient"}
_RANK_OF_TWO = 2


@dataclass(frozen=True)
class Break:
    """One mal-rule at one step.

    Attributes:
        rule: the mal-rule.
        place: the step.
        variant: which of the rule's variants it is.
        slots: the inputs to which something else is handed on.
        changes: what the step (or several) hand on instead.
        answer: or, what is taken for the answer there and then.
        factor: or, how many times the right gradient comes out.
    """

    rule: MalRule[Any, Any]
    place: Node
    variant: int = 0
    slots: tuple[int, ...] = ()
    changes: Mapping[Node, Step] = field(default_factory=dict)
    answer: Tensor | None = None
    factor: float | None = None

    def light(self) -> Break:
        """The same without its tensors, which may be large."""
        return replace(self, changes={}, answer=None)


@dataclass(frozen=True)
class Breaker:
    """Breaks the steps of one backward pass."""

    replay: Replay
    values: Mapping[Edge, Tensor]

    def breaks(self) -> Iterator[Break]:
        """All that can be broken: the likeliest mistakes first, then what is near either end."""
        jobs: list[tuple[float, int, Callable[[], Iterator[Break]]]] = []
        steps = self.replay.steps
        for number, node in enumerate(reversed(steps)):
            distance = min(number, len(steps) - 1 - number)
            jobs += [
                (rule.rank, distance, partial(self._at_step, site, rule))
                for site in self._sites[node]
                for rule in rules_for(site.kind, site.is_span)
            ]
            jobs += [
                (rule.rank, distance, partial(self._at_broadcast, node, slot, broadcast, rule))
                for slot, broadcast in self._broadcasts(node)
                for rule in BROADCAST_RULES
            ]
            if self._is_of_two(node):
                jobs.append((_RANK_OF_TWO, distance, partial(self._at_two, node)))
        jobs += [
            (rule.rank, 0, partial(self._at_meeting, sources, rule))
            for sources in self._meetings()
            for rule in MEETING_RULES
        ]
        for _, _, job in sorted(jobs, key=lambda job: job[:2]):
            yield from job()

    def again(self, broken: Break) -> Step:
        """A step broken in the same way, whatever arrives there."""
        return self.both(broken, broken)

    def both(self, one: Break, other: Break) -> Step:
        """One step broken in two ways: the second rule is given what the first one hands on."""

        def step(arriving: Gradients) -> Sent:
            for site in self._sites_of(one.place, arriving):
                rules = rules_for(site.kind, site.is_span)
                if one.rule in rules and other.rule in rules:
                    raw = _variant(one, site)
                    return _sent(site, raw if one is other else _variant(other, site.with_raw(raw)))
            raise NotKnownError

        return step

    # -- where rules apply ---------------------------------------------------------------------

    @cached_property
    def _sites(self) -> dict[Node, list[Site]]:
        return {
            node: self._sites_of(node, self.replay.arriving(node)) for node in self.replay.steps
        }

    def _sites_of(self, node: Node, arriving: Gradients) -> list[Site]:
        """The node, and the spans that end in it."""
        self.replay.spend(node)
        found = safely(lambda: [Site.of(node, arriving, self.values)])
        for span in safely(lambda: spans(node)):
            found += safely(partial(self._span_site, span, arriving))
        return found

    def _span_site(self, span: Span, arriving: Gradients) -> list[Site]:
        if span.kind == "Composition" and span.bottom == self.replay.target:
            raise NotKnownError
        right = span.derivative(At(known(arriving[0]), span, self.values))
        ways: list[tuple[Edge, Tensor | None]] = [(span.bottom, right)]
        if span.kind == "Composition":
            ways.append((self.replay.target, None))
        inputs, raw = zip(*ways, strict=True)
        return [Site(span.top, arriving, raw, self.values, span.kind, inputs, span.dims)]

    def _broadcasts(self, node: Node) -> list[tuple[int, Broadcast]]:
        """The inputs of a step that were used many times."""
        found = []
        for site in self._sites[node][:1]:
            for slot, right in enumerate(self.replay.clean.handed_on[node]):
                if not self.replay.matters(site.inputs[slot]):
                    continue
                for unsummed in safely(partial(_unsummed, site, slot)):
                    if right is not None and unsummed.shape != right.shape:
                        found.append((slot, Broadcast(right, unsummed)))
        return found

    def _meetings(self) -> Iterator[list[tuple[Node, int]]]:
        """What hands a gradient on to a tensor where several paths meet."""
        for place, sources in self.replay.sources.items():
            if self.replay.matters(place) and len({node for node, _ in sources}) > 1:
                yield sources

    # -- what they hand on ---------------------------------------------------------------------

    def _at_step(self, site: Site, rule: NodeRule) -> Iterator[Break]:
        self.replay.spend(site.node)
        for variant, changed in enumerate(safely(partial(rule.change, site))):
            if isinstance(changed, Tensor):
                yield Break(rule, site.node, variant, answer=changed)
            elif isinstance(changed, Scaled) and site.node in self.replay.bridges:
                yield Break(rule, site.node, variant, factor=changed.factor)
            elif slots := self._changed(site, changed):
                changes = {site.node: _always(_sent(site, changed))}
                yield Break(rule, site.node, variant, slots, changes)

    def _changed(self, site: Site, changed: Gradients) -> tuple[int, ...]:
        """The inputs to which something else is handed on, where it makes a difference."""
        # A product with a number has one input, but its formula gives two gradients.
        places = zip(site.inputs, changed, site.raw, strict=False)
        return tuple(
            slot
            for slot, (place, one, other) in enumerate(places)
            if self.replay.matters(place) and not _same(one, other)
        )

    def _is_of_two(self, node: Node) -> bool:
        """Whether a step is a product or a quotient of two functions of the tensor."""
        sides = [place for place in node.next_functions if self.replay.matters(place)]
        return kind(node) in _OF_TWO and node in self.replay.bridges and len(sides) == 2

    def _at_two(self, node: Node) -> Iterator[Break]:
        """Break such a step, given the derivatives of both functions."""
        for site in safely(lambda: [self._site_of_two(node)]):
            for rule in rules_for(site.kind, True):
                yield from self._at_step(site, rule)

    def _site_of_two(self, node: Node) -> Site:
        (u,) = self.replay.arriving(node)
        target, ones = self.replay.target, torch.ones_like(known(u))
        sides = [
            self.replay.outcome({node: _always([(place, ones)])}) for place in node.next_functions
        ]
        right = known(self.replay.clean.arriving.get(target))
        # Of many numbers each must come from one of the tensor; one number may come from them all.
        if ones.numel() > 1 and right.shape != ones.shape:
            raise NotKnownError
        return Site(node, (u, *sides), (right,), self.values, _OF_TWO[kind(node)], (target,), ())

    def _at_broadcast(
        self, node: Node, slot: int, broadcast: Broadcast, rule: MalRule[Broadcast, Tensor]
    ) -> Iterator[Break]:
        self.replay.spend(node)
        right = self.replay.clean.handed_on[node]
        for variant, gradient in enumerate(safely(partial(rule.change, broadcast))):
            sent = as_they_are(node, (*right[:slot], gradient, *right[slot + 1 :]))
            yield Break(rule, node, variant, changes={node: _always(sent)})

    def _at_meeting(
        self, sources: Sequence[tuple[Node, int]], rule: MalRule[Meeting, Counted]
    ) -> Iterator[Break]:
        nodes = [node for node, _ in sources]
        shared = {k for k, node in enumerate(nodes) if self.replay.leads(node, nodes)}
        for variant, counted in enumerate(rule.change(Meeting(len(sources), frozenset(shared)))):
            changes = self._counted(dict(zip(sources, counted.times, strict=True)))
            yield Break(rule, nodes[counted.shown], variant, changes=changes)

    def _counted(self, times: Mapping[tuple[Node, int], int]) -> dict[Node, Step]:
        """What is handed on where each of some contributions is counted so many times."""
        changes = {}
        for node in {node for node, _ in times}:
            handed_on = tuple(
                None
                if gradient is None or times.get((node, slot)) == 0
                else gradient * times.get((node, slot), 1)
                for slot, gradient in enumerate(self.replay.clean.handed_on[node])
            )
            changes[node] = _always(as_they_are(node, handed_on))
        return changes


@cache
def rules_for(kind: str, is_span: bool) -> tuple[NodeRule, ...]:
    """The rows that apply at a kind of step; the general ones not at a span."""
    return tuple(rule for rule in NODE_RULES if kind in rule.kinds or not (rule.kinds or is_span))


def safely(what: Callable[[], Iterable[T]]) -> list[T]:
    """Run what belongs to a mal-rule; nothing comes of it where it does not apply.

    A value may not be known, or a shape may not fit. No explanation is worth an error.
    """
    try:
        with torch.inference_mode(False), torch.no_grad():
            return list(what())
    except Exhausted:
        raise
    except Exception:
        return []


def _unsummed(site: Site, slot: int) -> list[Tensor]:
    return [site.unsummed(slot)]


def _variant(broken: Break, site: Site) -> Gradients:
    changed = list(broken.rule.change(site))[broken.variant]
    assert not isinstance(changed, Tensor)
    return tuple(changed)


def _sent(site: Site, gradients: Gradients) -> Sent:
    if not site.is_span:
        return handed(site.node, gradients)
    pairs = zip(site.inputs, gradients, strict=True)
    return [(place, gradient) for place, gradient in pairs if gradient is not None]


def _always(sent: Sent) -> Step:
    return lambda arriving: sent


def _same(one: Tensor | None, other: Tensor | None) -> bool:
    if one is None or other is None:
        return one is other
    return one is other or torch.equal(one, other)
