"""What a row of the catalogue is, and the short forms in which most rows are written."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Generic, TypeAlias, TypeVar

from torch import Tensor

from checks.backward import Gradients
from checks.site import Site

Where = TypeVar("Where")
What = TypeVar("What")


@dataclass(frozen=True)
class MalRule(Generic[Where, What]):
    """One way to get a rule wrong.

    Attributes:
        name: short, unique, for reports.
        says: what was probably done, in plain words, to follow "Your numbers are what comes out
            when …". It names the rule, never the correction. `{operation}` stands for the name of
            the step: "square", "matrix product".
        change: yields what comes out instead, once for each variant of the mistake.
        kinds: the kinds of node (`graph.kind`, or a `spans.Span`) at which it applies; empty for
            all.
        lesson: where the course teaches the right rule.
        rank: how far from likely it is, 1 to 5; of several that fit, the lowest is named.
        pairs: whether it often comes together with another mistake.
    """

    name: str
    says: str
    change: Callable[[Where], Iterable[What]]
    kinds: tuple[str, ...] = ()
    lesson: str = "5"
    rank: int = 2
    pairs: bool = False


# What a node hands on; or, as a tensor, what is taken for the answer there and then.
NodeRule: TypeAlias = MalRule[Site, Gradients | Tensor]
Change: TypeAlias = Callable[[Site], Iterable[Gradients | Tensor]]


def only(formula: Callable[[Site], Tensor]) -> Change:
    """A change of what goes to the only input (or the first)."""
    return at(0, formula)


def at(slot: int, formula: Callable[[Site], Tensor]) -> Change:
    """A change of what goes to one of several inputs."""
    return lambda site: [site.put(slot, formula(site))] if site.has(slot) else []


class Scaled(tuple[Tensor | None, ...]):
    """The right gradients times a number.

    Where every path goes through the step, that is all that becomes of the result, too.
    """

    factor: float

    @classmethod
    def of(cls, gradients: Gradients, factor: float) -> Scaled:
        """Every gradient times a number."""
        found = cls(None if g is None else g * factor for g in gradients)
        found.factor = factor
        return found


def scaled(factor: Callable[[Site], float]) -> Change:
    """The right gradients of all inputs, times a number."""
    return lambda site: [Scaled.of(site.raw, factor(site))]


def each(site: Site, formula: Callable[[int], Tensor]) -> Gradients:
    """A formula for every input that gets a gradient."""
    return tuple(formula(slot) if site.has(slot) else None for slot in range(len(site.raw)))
