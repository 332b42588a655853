"""Walk through the backward pass, one node at a time: `step`.

A row of buttons (radio buttons, so that the arrow keys and a screen reader work) shows one step
after another. There is no script and no kernel behind it: a static page shows the same.
"""

from __future__ import annotations

import itertools
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

from torch import Tensor

from checks.backward import Node, Pass, is_leaf
from checks.diagram import Diagram, Known, diagram, keys_of, shown
from checks.drawing import Seen, fold, look, svg, variables_of_the_cell
from checks.graph import UNKNOWN, bare, operands, operation, written_step
from checks.local import local_gradient
from checks.states import StateError, quoted
from checks.undisturbed import undisturbed
from checks.verdict import inline

_MOST_STEPS = 16  # of a larger graph, the steps in the middle are left out:
_LAST = 8  # of the forward pass, so many of its last steps are walked through, and a few first
_WIDE = 8  # so many steps fit into no cell from left to right
_numbers = itertools.count(1)  # several walks on one page must not share their buttons


@dataclass(frozen=True)
class Panel:
    """One step: its number, a heading, what happens as sentences, and the graph so far."""

    number: int
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
        html = f"<p>{escape(self.title)}</p>"
        return {"text/plain": str(self), "text/html": self._html() if self.panels else html}

    def _html(self) -> str:
        name = f"checks-step-{self.number}"
        buttons: list[str] = []
        panels, rules = [], []
        for panel in self.panels:
            k = panel.number
            checked = " checked" if not buttons else ""
            buttons.append(
                f'<input type="radio" name="{name}" id="{name}-{k}"{checked} '
                # JupyterLab takes the arrow keys for itself, but not from an element so marked.
                'data-lm-suppress-shortcuts="true">'
                f'<label for="{name}-{k}" style="padding: 2px 10px 2px 2px">Step {k}</label>'
            )
            panels.append(f'<div class="{name}-{k}">{_panel_html(panel)}</div>')
            rules.append(f"#{name}-{k}:checked ~ .{name}-{k} {{display: block}}")
        hidden = ", ".join(f".{name}-{panel.number}" for panel in self.panels)
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
        A Walk, which shows itself in a notebook. It never raises for what it was given: a sentence
        stands in its place. Of a large graph, the steps in the middle are left out.
    """
    number = next(_numbers)
    try:
        variables = variables_of_the_cell()
        with undisturbed():
            return _walk(look(of, wrt, names, v, variables), number)
    except StateError as error:
        return Walk(str(error), (), number)
    except (Exception, SystemExit, GeneratorExit) as error:
        return Walk(f"There is nothing to walk through. {quoted(error)}", (), number)


def _walk(seen: Seen, number: int) -> Walk:
    nodes, known = seen.nodes, seen.known
    if known.seen is None:
        raise StateError(f"There is no backward pass to walk through: {seen.trouble}")
    steps = [node for node in nodes if not is_leaf(node)]
    panels = _panels(nodes, steps, known)
    title = f"The backward pass of {known.names.edges.get((nodes[0], 0), 'the result')}"
    left_out = len(steps) - len(panels)
    if left_out:
        title += f": {len(panels)} of its {len(steps)} steps ({left_out} in the middle left out)"
    return Walk(title, panels, number)


def _panels(nodes: Sequence[Node], steps: Sequence[Node], known: Known) -> list[Panel]:
    """A panel for each step that the folded graph shows."""
    assert known.seen is not None
    whole = fold(diagram(nodes, known, ""), most=_MOST_STEPS, last=_LAST)
    there = {step.key for step in whole.steps}
    keys, panels = keys_of(nodes), []
    # After which step the gradient of each tensor is complete: the last that uses it.
    complete = {place: k for k, node in enumerate(steps, 1) for place in node.next_functions}
    for k, node in enumerate(steps, start=1):
        if keys[node] not in there:
            continue
        open_ = {f"{keys[n]}_{out}" for (n, out), last in complete.items() if n and last > k}
        graph = _so_far(whole, open_, keys[node], f"After step {k} of {len(steps)}")
        heading = f"Step {k} of {len(steps)}: {_words(node, known)}"
        panels.append(Panel(k, heading, _sentences(node, known, known.seen), graph))
    return panels


def _so_far(whole: Diagram, open_: Collection[str], key: str, title: str) -> Diagram:
    """The graph in the middle of the pass: without the gradients that are still open."""
    wires = {k: replace(w, gradient="") if k in open_ else w for k, w in whole.wires.items()}
    steps = [replace(step, marked=step.key == key) for step in whole.steps]
    return Diagram(wires, steps, title)


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
    number = arriving.numel() == gradient.numel() == 1 and not arriving.is_meta
    if number and arriving != 0 and not arriving.is_complex():
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
    items = "".join(f"<li>{inline(sentence)}</li>" for sentence in panel.sentences)
    # A long graph is not even tried from left to right, for the sake of time.
    across = len(panel.graph.steps) <= _WIDE
    picture = (
        svg(panel.graph, mark="current", across=across) or f"<pre>{escape(panel.graph.text)}</pre>"
    )
    return f"<p><strong>{escape(panel.heading)}</strong></p><ul>{items}</ul>{picture}"
