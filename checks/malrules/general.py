"""Mal-rules that apply at any step, where paths meet, and to a gradient as a whole."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import torch
from torch import Tensor

from checks import backward
from checks.backward import Gradients
from checks.malrules.rule import MalRule, NodeRule, each, scaled
from checks.site import NotKnownError, Site

# What is computed from many entries together and may be used for each of them again.
STATISTICS = ("Mean", "Var", "Std", "Sum", "Amax", "Logsumexp", "LinalgVectorNorm")


def _local_as_one(site: Site) -> list[Gradients]:
    """Hand the upstream gradient on as it is, to each input alone."""
    found = []
    for slot in range(len(site.raw)):
        if site.has(slot):
            shape = site.raw_at(slot).shape
            if site.u.numel() == 1:
                found.append(site.put(slot, site.u.reshape(()).expand(shape)))
            elif shape == site.u.shape:
                found.append(site.put(slot, site.u))
    return found


def _without_upstream(site: Site) -> list[Gradients]:
    ones = tuple(None if u is None else torch.ones_like(u) for u in site.arriving)
    return [backward.call(site.node, ones)]


def _value_for_upstream(site: Site) -> list[Gradients]:
    if len(site.arriving) != 1 or site.y.shape != site.u.shape:
        return []
    return [backward.call(site.node, (site.y,))]


def _paths_dropped(site: Site) -> list[Gradients]:
    """Leave one input out, where several get a gradient."""
    slots = [slot for slot in range(len(site.raw)) if site.has(slot)]
    if len(slots) < 2:
        return []
    return [site.put(slot, torch.zeros_like(site.raw_at(slot))) for slot in slots]


def _held_constant(site: Site) -> list[Gradients]:
    return [each(site, lambda slot: torch.zeros_like(site.raw_at(slot)))]


def _composition_as_product(site: Site) -> list[Gradients]:
    """f(g(x)) differentiated as if it were f · g: f goes on to g, and f′ · g straight to x."""
    f, g = site.y, site.x(0)
    if site.shape(0) != site.shape(1) or f.shape != g.shape:
        raise NotKnownError
    return [(site.u * f, site.right * g)]


def _before_a_step(site: Site) -> list[Gradients]:
    """A product with what goes into the step that made the other factor: Z for H = tanh(Z)."""
    found = []
    left, right = len(site.raw) - 2, len(site.raw) - 1  # a linear layer has its bias before them
    for slot, other in ((left, right), (right, left)):
        if not site.has(slot):
            continue
        for x in site.inner_inputs(other):
            if site.kind == "Mul":
                found.append(site.put(slot, site.u * x))
            else:
                found.append(site.put(slot, site.u @ x.mT if slot == left else x.mT @ site.u))
    return found


GENERAL_RULES: tuple[NodeRule, ...] = (
    MalRule("composition-as-product", "one function inside another is differentiated like a "
            "product of the two", _composition_as_product, ("Composition",), rank=4),
    MalRule("factor-before-a-step", "a factor is taken from before the step that made it",
            _before_a_step, ("Mul", "Mm", "Bmm", "Addmm"), "6", 3),
    MalRule("local-one", "the local gradient is left out", _local_as_one, rank=3),
    MalRule("upstream-ignored", "the upstream gradient is not multiplied in", _without_upstream,
            rank=3),
    MalRule("value-for-upstream", "the result of the step is used where its upstream gradient "
            "belongs", _value_for_upstream, rank=4),
    MalRule("chain-stopped", "the chain rule stops too early, and the local gradients from this "
            "step on are left out", lambda site: [site.u], rank=5),
    MalRule("path-dropped", "one of the inputs of this step is forgotten", _paths_dropped, rank=4),
    MalRule("statistic-constant", "the {operation} is treated as a constant", _held_constant,
            STATISTICS, "6", 1),
    MalRule("held-constant", "the result of this step is treated as a constant", _held_constant,
            rank=4),
    MalRule("sign", "the sign is turned around", scaled(lambda s: -1.0), rank=5),
)  # fmt: skip


# -- where a smaller operand was broadcast ---------------------------------------------------------


@dataclass(frozen=True)
class Broadcast:
    """An operand that was used many times: its right gradient, and the same before it is summed."""

    right: Tensor
    unsummed: Tensor


BroadcastRule: TypeAlias = MalRule[Broadcast, Tensor]


def _averaged(site: Broadcast) -> list[Tensor]:
    return [site.right * (site.right.numel() / max(1, site.unsummed.numel()))]


def _wrong_axis(site: Broadcast) -> list[Tensor]:
    if site.unsummed.ndim != 2:
        return []
    summed = [site.unsummed.sum(axis, keepdim=keep) for axis in (0, 1) for keep in (False, True)]
    right = site.right.flatten()
    return [s for s in summed if s.numel() != right.numel() or not torch.equal(s.flatten(), right)]


BROADCAST_RULES: tuple[BroadcastRule, ...] = (
    MalRule("broadcast-not-summed", "the smaller operand is used many times, but its contributions "
            "are not added up", lambda b: [b.unsummed], lesson="6", rank=1),
    MalRule("broadcast-averaged", "the smaller operand is used many times, but its contributions "
            "are averaged, not added up", _averaged, lesson="6", rank=1),
    MalRule("broadcast-wrong-axis", "the sum is taken over the wrong axis", _wrong_axis,
            lesson="6", rank=1),
)  # fmt: skip


# -- where paths meet ------------------------------------------------------------------------------


@dataclass(frozen=True)
class Meeting:
    """Where several paths meet: how many, and which go through a step that others go through, too.

    In x · exp(x) two paths meet at x. The one through the product alone is such a path: the other
    goes through the product as well.
    """

    count: int
    shared: frozenset[int]


@dataclass(frozen=True)
class Counted:
    """How often each path is counted, and which of them the sentence speaks of."""

    times: tuple[int, ...]
    shown: int


MeetingRule: TypeAlias = MalRule[Meeting, Counted]


def _alone(meeting: Meeting, times: int) -> list[Counted]:
    paths = range(meeting.count)
    kept = [k for k in paths if k not in meeting.shared]
    return [Counted(tuple(times * (path == k) for path in paths), k) for k in kept]


def _one_lost(meeting: Meeting) -> list[Counted]:
    paths = range(meeting.count)
    if meeting.count == 2 and not meeting.shared:
        return []
    return [Counted(tuple(int(path != lost) for path in paths), lost) for lost in paths]


def _one_twice(meeting: Meeting) -> list[Counted]:
    return _alone(meeting, 2) if meeting.count == 2 else []


MEETING_RULES: tuple[MeetingRule, ...] = (
    MalRule("one-path", "only the path through this step is counted, and the others are forgotten",
            lambda meeting: _alone(meeting, 1)),
    MalRule("path-lost", "the path through this step is forgotten", _one_lost),
    MalRule("path-twice", "the path through this step is counted twice, and the other one not at "
            "all", _one_twice, rank=3),
)  # fmt: skip


# -- the gradient as a whole -----------------------------------------------------------------------


@dataclass(frozen=True)
class Result:
    """The right gradient, and what else the end of a derivation may take it for.

    Attributes:
        right: the gradient, as it should come out.
        stored: what is in the tensor's `.grad`, if anything.
        of: the value that was differentiated.
        v: the upstream gradient at that value, and whether it is all ones.
        ones: the gradient with ones for v; None where v is ones, or belongs to the learner.
        jacobian: J as a matrix, one row for each entry of `of`; None where it is large.
        further: the gradients of what the tensor was made from, where they have its shape.
        undetached: the gradient if nothing were detached, where that is known.
    """

    right: Tensor
    stored: Tensor | None
    of: Tensor
    v: Tensor
    ones: Tensor | None
    jacobian: Tensor | None
    further: Sequence[Tensor] = ()
    undetached: Sequence[Tensor] = ()


ResultRule: TypeAlias = MalRule[Result, Tensor]


def _accumulated(result: Result) -> list[Tensor]:
    if result.stored is None:
        return []  # nothing has been accumulated: a factor has another cause
    return [result.right + result.stored, *(times * result.right for times in (2, 3, 4, 5))]


def _other_shapes(result: Result) -> list[Tensor]:
    g = result.right
    found = [g.flatten(), g.squeeze(), *(g.unsqueeze(dim) for dim in range(g.ndim + 1))]
    return [other for other in found if other.shape != g.shape]


def _from_the_other_side(result: Result) -> list[Tensor]:
    if result.jacobian is None or result.v.numel() != result.right.numel():
        return []
    product = result.jacobian @ result.v.flatten().to(result.jacobian.dtype)
    return [product.reshape(result.right.shape), product]


def _value_as_start(result: Result) -> list[Tensor]:
    single = result.of.numel() == 1 and math.prod(result.v.shape) == 1
    return [result.right * (result.of / result.v).item()] if single and result.v != 0 else []


def _optional(tensor: Tensor | None) -> Sequence[Tensor]:
    return () if tensor is None else (tensor,)


RESULT_RULES: tuple[ResultRule, ...] = (
    MalRule("result-transposed", "the right matrix is transposed at the end",
            lambda r: [r.right.T] if r.right.ndim == 2 else [], lesson="2", rank=3),
    MalRule("result-shape", "the right numbers are put into another shape", _other_shapes,
            lesson="6", rank=1),
    MalRule("jv", "the Jacobian is multiplied with v from the other side", _from_the_other_side,
            lesson="2", rank=1),
    MalRule("ones-for-v", "the rows of the Jacobian are added up without the weights v, the "
            "upstream gradient",
            lambda r: _optional(r.ones) if r.v.numel() > 1 else [], lesson="2"),
    MalRule("value-as-start", "the backward pass starts with the value of the result, where the "
            "gradient of the result belongs", _value_as_start, rank=3),
    MalRule("accumulated", "the gradient is counted more than once, as where `.grad` still holds "
            "earlier backward passes", _accumulated,
            lesson="4", rank=3),
    MalRule("detached-moves", "what is held constant by `detach()` is differentiated, too",
            lambda r: r.undetached, lesson="3", rank=1),
    MalRule("detached-instead", "what is held constant by `detach()` is differentiated, and all "
            "else is held constant", lambda r: [g - r.right for g in r.undetached], lesson="3"),
    MalRule("one-step-too-far", "the chain rule goes one step too far, to what this tensor was "
            "made from", lambda r: r.further, rank=4),
    MalRule("result-sign", "the sign of the whole gradient is turned around",
            lambda r: [-r.right], rank=3),
)  # fmt: skip
