"""The wrong gradients that mal-rules give at one tensor of a graph.

A backward pass is gone through again and again, each time with one rule of one step broken on
purpose. The likeliest mistakes come first, and of equally likely ones those near the tensor.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cached_property, partial
from itertools import combinations
from typing import Any

import torch
from torch import Tensor

from checks import backward
from checks.backward import Edge, Node
from checks.breaking import Break, Breaker, safely
from checks.graph import kind, operation
from checks.malrules import RESULT_RULES, MalRule, Result
from checks.recording import nothing_detached
from checks.replay import Exhausted, Replay, Step
from checks.truth import Question
from checks.values import forward_values

_REPEATED = ("local-one",)  # general mistakes that are made at every step of a kind, or at none
_LARGEST_JACOBIAN = 400  # entries; larger ones are not tried for Jv


@dataclass(frozen=True)
class Mistake:
    """One explanation of a wrong answer.

    `name` is the mal-rule's, `says` its sentence, `node` the place, `rank` how far from likely.
    Where it was made at several steps, `also` are the others. Where two mistakes came together,
    `other` is the second, and `name` joins both with "+".
    """

    name: str
    says: str
    rank: float
    node: Node | None = None
    also: tuple[Node, ...] = ()
    other: Mistake | None = None


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
    def replay(self) -> Replay:
        """The backward passes."""
        return Replay(self.question, self.question.edges[self.name], self.cuts or {})

    @cached_property
    def right(self) -> Tensor | None:
        """What follows from the upstream answers by right steps; None where it is not known."""
        found = safely(lambda: [self.replay.clean.arriving.get(self.replay.target)])
        return found[0] if found else None

    @property
    def steps(self) -> list[Node]:
        """The nodes whose mistakes reach the tensor; none where these are not known."""
        return safely(lambda: self.replay.steps)

    @cached_property
    def values(self) -> dict[Edge, Tensor]:
        """The forward values that are known."""
        return forward_values(self.question.nodes, self.tensors, self.question.inside)

    def candidates(self) -> Iterator[Candidate]:
        """Every wrong gradient, one mistake at a time, then several together.

        The work is bounded: in a very large graph the least likely ones are left out.
        """
        if self.right is None:
            return
        self.replay.begin()
        breaker = Breaker(self.replay, self.values)
        made: list[Break] = []
        try:
            yield from self._results()
            for broken in breaker.breaks():
                made.append(broken.light())
                mistake = _mistake(broken.rule, broken.place)
                if broken.factor is not None:
                    yield from self._telling(mistake, self._right * broken.factor)
                elif broken.answer is not None:
                    yield from self._taken(mistake, broken.answer)
                else:
                    yield from self._tried(mistake, broken.changes)
            yield from self._everywhere(breaker, made)
            yield from self._statistics_constant(breaker, made)
            yield from self._pairs(breaker, made)
        except Exhausted:
            return

    # -- more than one step --------------------------------------------------------------------

    def _everywhere(self, breaker: Breaker, made: Iterable[Break]) -> Iterator[Candidate]:
        """The same mistake at every step where it can be made."""
        groups: dict[tuple[object, ...], list[Break]] = {}
        for broken in made:
            name = broken.rule.name
            if broken.rule.kinds:  # on the way to one input of each step, or wherever it can be
                groups.setdefault((name, broken.variant), []).append(broken)
                groups.setdefault((name, broken.slots), []).append(broken)
            elif name in _REPEATED and len(broken.place.next_functions) == 1:
                groups.setdefault((name, kind(broken.place)), []).append(broken)
        tried = set()
        for group in groups.values():
            first_at_each = {b.place: b for b in reversed(group)}
            members = frozenset((b.place, b.variant) for b in first_at_each.values())
            if len(members) > 1 and (group[0].rule.name, members) not in tried:
                tried.add((group[0].rule.name, members))
                first, *also = sorted(first_at_each, key=self.question.nodes.index)
                mistake = replace(_mistake(group[0].rule, first), also=tuple(also))
                changes = {place: breaker.again(b) for place, b in first_at_each.items()}
                yield from self._tried(mistake, changes)

    def _statistics_constant(self, breaker: Breaker, made: Iterable[Break]) -> Iterator[Candidate]:
        """A mean, a variance and the like, as in a batch norm by hand, all held constant."""
        held = {b.place: breaker.again(b) for b in made if b.rule.name == "statistic-constant"}
        # Where every path goes through a step, nothing is left without it: it is no statistic.
        held = {
            node: step
            for node, step in held.items()
            if any(bool(o.any()) for o in self._outcomes({node: step}))
        }
        if len(held) > 1:
            says = "the mean, the variance and the like are treated as constants"
            mistake = Mistake("statistics-constant", says, 1, next(iter(held)))
            yield from self._tried(mistake, held)

    def _pairs(self, breaker: Breaker, made: Iterable[Break]) -> Iterator[Candidate]:
        """Two mistakes that often come together."""
        for one, other in combinations([b for b in made if b.rule.pairs], 2):
            first, second = _mistake(one.rule, one.place), _mistake(other.rule, other.place)
            if first.name == second.name:
                continue
            name, rank = f"{first.name}+{second.name}", first.rank + second.rank + 0.5
            together = replace(first, name=name, rank=rank, other=second)
            if one.factor is not None and other.factor is not None:
                yield from self._telling(together, self._right * one.factor * other.factor)
                continue
            changes: dict[Node, Step] = {b.place: breaker.again(b) for b in (one, other)}
            if one.place is other.place:
                changes = {one.place: breaker.both(one, other)}
            yield from self._tried(together, changes)

    # -- the gradient as a whole ---------------------------------------------------------------

    def _results(self) -> Iterator[Candidate]:
        q, right, tensor = self.question, self._right, self.question.wrt[self.name]
        stored = tensor.grad if tensor.is_leaf else None
        result = Result(
            right,
            stored,
            q.of.detach(),
            q.v,
            self._with_ones(),
            self._jacobian(),
            self._further(),
            safely(self._undetached),
        )
        for rule in RESULT_RULES:
            for gradient in safely(partial(rule.change, result)):
                yield from self._telling(_mistake(rule, None), gradient)

    @property
    def _right(self) -> Tensor:
        assert self.right is not None
        return self.right

    def _with_ones(self) -> Tensor | None:
        """The gradient with ones for v, where v is something else."""
        v = self.question.v
        return None if self.cuts or bool((v == 1).all()) else self._weighted(torch.ones_like(v))

    def _jacobian(self) -> Tensor | None:
        """J as a matrix, where it is square and small, and v has more than one entry."""
        v, size = self.question.v, self.question.v.numel()
        square = size == self.question.wrt[self.name].numel()
        if self.cuts or size < 2 or not square or size**2 > _LARGEST_JACOBIAN:
            return None
        rows = [self._weighted(row.reshape(v.shape)) for row in torch.eye(size, dtype=v.dtype)]
        found = [row.flatten() for row in rows if row is not None]
        return torch.stack(found) if len(found) == size else None

    def _further(self) -> list[Tensor]:
        """The gradients of what the tensor was made from, where they have its shape."""
        node, number = self.replay.target
        if backward.is_leaf(node):
            return []
        arriving: list[Tensor | None] = [None] * len(node._input_metadata)
        arriving[number] = self._right
        found = safely(lambda: backward.fitted(node, backward.call(node, tuple(arriving))))
        return [g for g in found if g is not None and g.shape == self._right.shape]

    def _undetached(self) -> list[Tensor]:
        """The gradient if nothing were detached, where the graph comes of a function."""
        asked = None if self.cuts else nothing_detached(self.question)
        return [] if asked is None else [asked.gradients[self.name]]

    def _weighted(self, v: Tensor) -> Tensor | None:
        q = self.question
        return backward.run(q.root, v, q.nodes).arriving.get(self.replay.target)

    # -- what comes out ------------------------------------------------------------------------

    def _tried(self, mistake: Mistake, changes: Mapping[Node, Step]) -> Iterator[Candidate]:
        for outcome in self._outcomes(changes):
            yield from self._telling(mistake, outcome)

    def _outcomes(self, changes: Mapping[Node, Step]) -> list[Tensor]:
        found = safely(lambda: [self.replay.outcome(changes)])
        return [outcome for outcome in found if outcome is not None]

    def _taken(self, mistake: Mistake, answer: Tensor) -> Iterator[Candidate]:
        """A gradient on the way, taken for the answer."""
        shape = tuple(self.question.wrt[self.name].shape)
        for gradient in safely(lambda: [answer.sum_to_size(shape)]):
            yield from self._telling(mistake, gradient)

    def _telling(self, mistake: Mistake, gradient: Tensor) -> Iterator[Candidate]:
        """A candidate; a gradient of all zeros tells nothing, and is none."""
        if gradient.layout is not torch.strided:
            gradient = gradient.to_dense()
        if bool(gradient.any()):
            yield Candidate(mistake, gradient)


def _mistake(rule: MalRule[Any, Any], node: Node | None) -> Mistake:
    says = rule.says if node is None else rule.says.format(operation=operation(node))
    return Mistake(rule.name, says, rule.rank, node)
