"""Walk through the backward pass, one node at a time: `step`.

A row of buttons (radio buttons, so that the arrow keys and a screen reader work) shows one step
after another. There is no script and no kernel behind it: a static page shows the same.
"""

from __future__ import annotations

import itertools
import re
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

from torch import Tensor

from checks.backward import Edge, Node, Pass, is_leaf
from checks.diagram import Diagram, Known, diagram, shown
from checks.drawing import look, only, svg
from checks.graph import UNKNOWN, bare, operands, operation, written_step
from checks.local import local_gradient
from checks.states import StateError
from checks.undisturbed import undisturbed

_MOST_STEPS = 30
_numbers = itertools.count(1)  # several walks on one page must not share their buttons


@dataclass(frozen=True)
class Panel:
    """One step: a heading, what happens as sentences, and the graph so far."""

    heading: str
    sentences: tuple[str, ...]
    graph: Diagram

    @property
    def text(self) -> str:
        """The step as lines of text."""
        return "\n".join([self.heading, *(f"  {sentence}" for sentence in self.sentences)])


@dataclass(frozen=True)
class Walk:
    """A backward pass to step through."""

    title: str
    panels: Sequence[Panel]
    number: int

    def __str__(self) -> str:
        return "\n".join([self.title, *(panel.text for panel in self.panels)])

    __repr__ = __str__

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        return {"text/plain": str(self), "text/html": self._html() if self.panels else self.title}

    def _html(self) -> str:
        name = f"checks-step-{self.number}"
        buttons, panels, rules = [], [], []
        for k, panel in enumerate(self.panels, start=1):
            checked = " checked" if k == 1 else ""
            buttons.append(
                f'<input type="radio" name="{name}" id="{name}-{k}"{checked} '
                # JupyterLab takes the arrow keys for itself, but not from an element so marked.
                'data-lm-suppress-shortcuts="true">'
                f'<label for="{name}-{k}" style="padding: 2px 10px 2px 2px">Step {k}</label>'
            )
            panels.append(f'<div class="{name}-{k}">{_panel_html(panel)}</div>')
            rules.append(f"#{name}-{k}:checked ~ .{name}-{k} {{display: block}}")
        hidden = ", ".join(f".{name}-{k}" for k in range(1, len(self.panels) + 1))
        style = f"<style>{hidden} {{display: none}} {' '.join(rules)}</style>"
        return (
            f'{style}<fieldset style="border: 0; padding: 0; '
            'color: var(--jp-content-font-color1, inherit)">'
            f"<legend><strong>{escape(self.title)}</strong> (choose a step; the arrow keys go on "
            f"and back)</legend>{''.join(buttons)}{''.join(panels)}</fieldset>"
        )


def step(
    of: object,
    *,
    wrt: Mapping[str, object] | None = None,
    names: Mapping[str, object] | None = None,
    v: object = None,
) -> Walk:
    """Walk through the backward pass of a tensor, one node at a time.

    Each step says what arrives (the upstream gradient), what the node knows (its local gradient)
    and what it hands on (their product), and how contributions add up where paths meet.

    Args:
        of: as in `draw`, a tensor or a function of the `wrt` tensors.
        wrt: as in `draw`.
        names: as in `draw`.
        v: as in `draw`; needed where `of` is not a single number.

    Returns:
        A Walk, which shows itself in a notebook.
    """
    frame = sys._getframe(1)
    variables = {**frame.f_globals, **frame.f_locals}
    number = next(_numbers)
    try:
        with undisturbed():
            known, nodes, _ = look(of, wrt or {}, names or {}, v, variables)
            if known.seen is None:
                raise StateError(
                    "There is no backward pass to walk through: the graph was freed by an "
                    "earlier one, or its result is not a single number and `v` is missing."
                )
            steps = [node for node in nodes if not is_leaf(node)]
            title = f"The backward pass of {known.names.edges.get((nodes[0], 0), 'the result')}"
            if len(steps) > _MOST_STEPS:
                title += f": the first {_MOST_STEPS} of {len(steps)} steps"
            panels = _panels(nodes, steps[:_MOST_STEPS], known)
            return Walk(title, panels, number)
    except StateError as error:
        return Walk(str(error), (), number)


def _panels(nodes: Sequence[Node], steps: Sequence[Node], known: Known) -> list[Panel]:
    assert known.seen is not None
    panels = []
    done: set[Node] = set()
    for k, node in enumerate(steps, start=1):
        done.add(node)
        complete = {place for place in known.seen.arriving if _is_complete(place, nodes, done)}
        seen = only(known.seen, complete)
        so_far = Known(known.names, known.values, seen, known.constants)
        graph = diagram(nodes, so_far, f"After step {k} of {len(steps)}", marked=[node])
        heading = f"Step {k} of {len(steps)}: {_words(node, known)}"
        panels.append(Panel(heading, _sentences(node, known, known.seen), graph))
    return panels


def _is_complete(place: Edge, nodes: Sequence[Node], done: set[Node]) -> bool:
    """Whether every step that uses a tensor has handed on its part of the gradient."""
    return all(node in done for node in nodes if place in node.next_functions)


def _sentences(node: Node, known: Known, seen: Pass) -> tuple[str, ...]:
    arriving = seen.arriving.get((node, 0))
    if arriving is None:
        return ("Nothing arrives here.",)
    sentences = [f"Arrives (upstream gradient): {shown(arriving)}.{_meeting(node, seen)}"]
    for slot, gradient in enumerate(seen.handed_on.get(node, ())):
        place = node.next_functions[slot]
        if gradient is None or place[0] is None:
            continue
        to = bare(operands(node, known.names)[slot])
        to = f"its input {slot + 1}" if to == UNKNOWN else f"`{to}`"
        sentences.append(f"Hands on to {to}: {_product(node, slot, known, arriving, gradient)}")
    return tuple(sentences)


def _product(node: Node, slot: int, known: Known, arriving: Tensor, gradient: Tensor) -> str:
    local = local_gradient(node, slot, known.names)
    says = f" (local gradient: {local})" if local else ""
    if arriving.numel() == gradient.numel() == 1 and arriving != 0 and not arriving.is_complex():
        factor = shown((gradient / arriving).reshape(()))
        factor = f"({factor})" if factor.startswith("−") else factor
        return f"{shown(arriving)} × {factor} = {shown(gradient)}{says}."
    added = ""
    if gradient.numel() < arriving.numel() and "Mm" not in node.name():
        added = ", added up over the entries that share it"
    return f"{shown(gradient)}{added}{says}."


def _meeting(node: Node, seen: Pass) -> str:
    """How the upstream gradient came together, where several paths meet."""
    parts = [
        shown(gradient)
        for user, handed in seen.handed_on.items()
        for place, gradient in zip(user.next_functions, handed, strict=False)
        if place == (node, 0) and gradient is not None
    ]
    return f" {len(parts)} paths meet here: {' + '.join(parts)}." if len(parts) > 1 else ""


def _words(node: Node, known: Known) -> str:
    text = written_step(node, known.names)
    return operation(node) if text.startswith(UNKNOWN) else text


def _panel_html(panel: Panel) -> str:
    items = "".join(f"<li>{_code(sentence)}</li>" for sentence in panel.sentences)
    picture = svg(panel.graph, mark="current") or f"<pre>{escape(panel.graph.text)}</pre>"
    return f"<p><strong>{escape(panel.heading)}</strong></p><ul>{items}</ul>{picture}"


def _code(sentence: str) -> str:
    return re.sub(r"`([^`]*)`", r"<code>\1</code>", escape(sentence, quote=False))
