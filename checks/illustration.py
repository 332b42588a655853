"""The picture beside a wrong answer: the graph, with the step to look at marked.

It gives nothing away: gradients at and beyond that step are left out, and so is every number that
equals one that is still asked for.
"""

from __future__ import annotations

from collections.abc import Collection, Sequence

from torch import Tensor

from checks import backward
from checks.backward import Node, Pass
from checks.constants import find_constants
from checks.diagram import Known, diagram, everything
from checks.drawing import fold, svg
from checks.graph import Names
from checks.secrets import harmless
from checks.truth import Question
from checks.values import forward_values
from checks.verdict import Picture


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
        harmless(values, secrets),
        Pass(harmless(arriving, secrets)),
        harmless(constants, secrets),
    )
    title = "The step to look at" if len(marked) == 1 else "The steps to look at"
    found = fold(diagram(nodes, known, title, marked=marked))
    return Picture(found.text, lambda: svg(found))
