"""The picture beside a wrong answer: the graph, with the step to look at marked.

It gives nothing away: gradients at and beyond that step are left out, and so is every number that
equals one that is still asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Hashable, Mapping, Sequence
from typing import TypeVar

from torch import Tensor

from checks import backward
from checks.backward import Node, Pass
from checks.comparison import agrees
from checks.constants import find_constants
from checks.diagram import Known, diagram, everything
from checks.drawing import fold, svg
from checks.graph import Names
from checks.truth import Question
from checks.values import forward_values
from checks.verdict import Picture

K = TypeVar("K", bound=Hashable)


def wrong_step(
    question: Question,
    names: Names,
    tensors: Sequence[Tensor],
    marked: Collection[Node],
    secrets: Sequence[Tensor],
) -> Picture:
    """Draw the graph of a question, with one step marked.

    Args:
        question: what was asked.
        names: the learner's names.
        tensors: tensors of the notebook, whose values may be shown.
        marked: the steps to mark.
        secrets: true gradients that the learner has yet to find.
    """
    nodes = everything(question.root[0])
    values = forward_values(nodes, tensors, frozenset(nodes))
    above = set.intersection(*(set(backward.order(question.root[0], {node})) for node in marked))
    constants = find_constants(nodes, values)
    arriving = {edge: g for edge, g in question.seen.arriving.items() if edge[0] in above}
    known = Known(
        names,
        _harmless(values, secrets),
        Pass(_harmless(arriving, secrets)),
        _harmless(constants, secrets),
    )
    title = "The step to look at" if len(marked) == 1 else "The steps to look at"
    found = fold(diagram(nodes, known, title, marked=marked))
    return Picture(found.text, lambda: svg(found))


def _harmless(tensors: Mapping[K, Tensor], secrets: Sequence[Tensor]) -> dict[K, Tensor]:
    """Leave out what would tell a secret, also with the other sign."""
    return {
        key: tensor
        for key, tensor in tensors.items()
        if not any(_tells(tensor.detach().cpu(), secret) for secret in secrets)
    }


def _tells(tensor: Tensor, secret: Tensor) -> bool:
    if tensor.numel() != secret.numel():
        return False
    given, true = tensor.flatten().to(secret.dtype).abs(), secret.flatten().abs()
    return bool(agrees(given, true).all())
