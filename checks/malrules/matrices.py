"""Mal-rules of matrix products, of rearranging entries, and of picking some of them."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor

from checks.backward import Gradients
from checks.malrules.rule import Change, MalRule, NodeRule, at
from checks.site import Site

_MATMUL = ("Mm", "Bmm", "Addmm", "Baddbmm")


def _matrix(variant: Callable[[Tensor, Tensor, int], Tensor]) -> Change:
    """A wrong formula for a factor of a matrix product; `side` 0 is the left factor, 1 the right.

    The variant is given the upstream gradient and the *other* factor.
    """

    def change(site: Site) -> list[Gradients]:
        first = len(site.raw) - 2  # addmm and baddbmm have their bias before the factors
        found = []
        for side in (0, 1):
            slot, other = first + side, first + 1 - side
            if site.has(slot) and site.knows(other):
                try:
                    found.append(site.put(slot, variant(site.u, site.x(other), side)))
                except RuntimeError:  # the shapes do not fit: nobody got here
                    continue
        return found

    return change


def _own_factor(site: Site) -> list[Gradients]:
    first = len(site.raw) - 2
    found = []
    for slot in (first, first + 1):
        if site.has(slot) and site.knows(slot):
            own, u = site.x(slot), site.u
            if u.shape[-1] == u.shape[-2]:  # else the shapes do not fit
                found.append(site.put(slot, u @ own if slot == first else own @ u))
    return found


def _left_out(u: Tensor, _factor: Tensor, side: int) -> Tensor:
    """The other factor is left out, so that the upstream gradient is only added up."""
    return u.sum(-1 - side, keepdim=True)


def _elementwise(u: Tensor, factor: Tensor, _side: int) -> Tensor:
    if u.shape != factor.shape:
        raise RuntimeError
    return u * factor


def _as_it_came(site: Site) -> list[Gradients]:
    """The entries in the order in which they came, without their way back."""
    shape = site.shape(0)
    return [site.put(0, site.u.reshape(shape))] if len(shape) > 1 else []


def _parts_swapped(site: Site) -> list[Gradients]:
    parts = [g for g in site.raw if g is not None]
    if len(parts) != 2 or parts[0].shape != parts[1].shape or len(site.raw) != 2:
        return []
    return [(site.raw[1], site.raw[0])]


def _overwritten(site: Site) -> list[Gradients]:
    """Where an index occurs twice, the later gradient overwrites the earlier one."""
    empty = torch.zeros(site.shape(0), dtype=site.u.dtype)
    if site.kind == "Gather":
        return [site.put(0, empty.scatter(site.saved("dim"), site.saved("index"), site.u))]
    if site.kind == "IndexSelect":
        return [site.put(0, empty.index_copy(site.saved("dim"), site.saved("index"), site.u))]
    indices = [site.saved("indices")] if site.kind == "Embedding" else site.saved("indices")
    known = [slice(None) if i is None else i for i in indices]
    empty[tuple(known)] = site.u
    return [site.put(0, empty)]


def _unselected(site: Site) -> list[Gradients]:
    """Every entry gets what only the selected one should get."""
    if site.u.numel() != 1:
        return []
    return [site.put(0, site.u.reshape(()).expand(site.shape(0)))]


MATRIX_RULES: tuple[NodeRule, ...] = (
    MalRule("matmul-not-transposed", "the transpose is left out on the way back through the "
            "{operation}", _matrix(lambda u, m, side: m @ u if side else u @ m), _MATMUL, "6", 1),
    MalRule("matmul-order", "the two matrices are multiplied in the wrong order on the way back",
            _matrix(lambda u, m, side: u @ m.mT if side else m.mT @ u), _MATMUL, "6"),
    MalRule("matmul-order-not-transposed", "the two matrices are multiplied in the wrong order on "
            "the way back, and without the transpose",
            _matrix(lambda u, m, side: u @ m if side else m @ u), _MATMUL, "6", 3),
    MalRule("matmul-result-transposed", "the gradient of a matrix comes out transposed",
            _matrix(lambda u, m, side: (m.mT @ u).mT if side else (u @ m.mT).mT), _MATMUL, "6", 1),
    MalRule("matmul-upstream-transposed", "the upstream gradient is transposed once too often, or "
            "once too few, at the {operation}",
            _matrix(lambda u, m, side: m.mT @ u.mT if side else u.mT @ m.mT), _MATMUL, "6"),
    MalRule("matmul-own-factor", "the matrix itself is multiplied in, where the other factor of "
            "the {operation} belongs", _own_factor, _MATMUL, "6"),
    MalRule("matmul-elementwise", "the matrices are multiplied entry by entry on the way back",
            _matrix(_elementwise), _MATMUL, "6", 3),
    MalRule("matmul-factor", "the other factor of the {operation} is left out",
            _matrix(_left_out), _MATMUL, "6"),
    MalRule("matvec-not-transposed", "the transpose is left out on the way back through the "
            "{operation}", at(1, lambda s: s.x(0) @ s.u), ("Mv",), "2", 1),
    MalRule("matvec-result-transposed", "the gradient of a matrix comes out transposed",
            at(0, lambda s: torch.outer(s.x(1), s.u)), ("Mv",), "6", 1),
    MalRule("transpose-lost", "the {operation} is not undone on the way back",
            _as_it_came, ("T", "Transpose", "Permute", "View"), "6"),
    MalRule("parts-swapped", "the gradients of the parts that were joined are mixed up",
            _parts_swapped, ("Cat", "Stack"), "6"),
    MalRule("index-overwritten", "an index that occurs twice keeps only one of its gradients",
            _overwritten, ("Index", "Gather", "IndexSelect", "Embedding"), "6", 1),
    MalRule("selection-everywhere", "the entries that were not selected get a gradient, too",
            _unselected, ("Select", "Index", "Slice", "Gather", "IndexSelect"), "6"),
)  # fmt: skip
