"""Draw the graph: forward values above the wire, gradients below, and the same as text."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from html import escape

import graphviz
import torch
from torch import Tensor

from checks import backward, truth
from checks.backward import Edge, Node, Pass
from checks.constants import find_constants, named
from checks.diagram import (
    Diagram,
    Known,
    Step,
    Wire,
    diagram,
    everything,
)
from checks.graph import names_for
from checks.recording import Recording, record
from checks.states import StateError, checked_input, quoted, reason
from checks.undisturbed import undisturbed
from checks.values import forward_values
from checks.wording import a, is_tensor

_MOST_STEPS = 30  # a larger graph is folded
_LAST, _FIRST = 12, 4  # steps that a folded graph keeps at its end and at its start
_WIDEST = 900  # pixels
_CHARACTER = 7.4 / 72  # width of a letter, in Graphviz's inches
_LONGEST = 8_000  # characters of the long description; Graphviz reads no text above 16384


@dataclass(frozen=True)
class Drawing:
    """A drawn graph, shown as SVG; its text says the same and stands where there is no SVG."""

    diagram: Diagram | None
    text: str

    def __str__(self) -> str:
        return self.text

    __repr__ = __str__

    def _repr_mimebundle_(self, include: object = None, exclude: object = None) -> dict[str, str]:
        picture = svg(self.diagram) if self.diagram else None
        html = picture or f"<pre>{escape(self.text)}</pre>"
        return {"text/plain": self.text, "text/html": html}


def draw(
    of: object,
    *,
    wrt: Mapping[str, object] | None = None,
    names: Mapping[str, object] | None = None,
    v: object = None,
) -> Drawing:
    """Draw the graph of a tensor, with forward values above the wires and gradients below.

    Args:
        of: a live tensor; or a function of the `wrt` tensors, which is recorded as it runs.
        wrt: for a function, its inputs by name; for a tensor, further names.
        names: names for tensors of the graph. Variables of the calling cell are known without it.
        v: upstream gradient of the shape of `of`; without it, the graph of more than one number is
            drawn without gradients.

    Returns:
        A Drawing, which shows itself in a notebook. It never raises for what it was given: a
        sentence stands in its place. The graph and every `.grad` stay as they are.
    """
    try:
        variables = variables_of_the_cell()
        with undisturbed():
            seen = look(of, wrt, names, v, variables)
            found = fold(diagram(seen.nodes, seen.known, seen.title))
            return Drawing(found, found.text)
    except StateError as error:
        return Drawing(None, str(error))
    except (Exception, SystemExit, GeneratorExit) as error:
        return Drawing(None, f"This graph cannot be drawn. {quoted(error)}")


def svg(found: Diagram, *, mark: str = "marked", across: bool = True) -> str | None:
    """Draw a diagram; None where it cannot be drawn.

    Args:
        found: what to draw.
        mark: how a step is marked.
        across: whether to try from left to right first. What would have to shrink to fit into a
            cell is drawn downwards instead.
    """
    try:
        from checks.card import Figure

        figure = Figure(dot(found, mark, across=across))
        if across and figure.width > _WIDEST:
            figure = Figure(dot(found, mark, across=False))
        return figure.svg()
    except Exception:  # the library is missing, or it stumbles: the text says the same
        return None


def dot(found: Diagram, mark: str, *, across: bool) -> str:
    """Write a diagram in Graphviz's language, with the classes that `checks.card` knows."""
    graph = graphviz.Digraph(
        graph_attr={
            "rankdir": "LR" if across else "TB",
            "nodesep": "0.3",
            "ranksep": "0.15",
            "tooltip": _quoted(found.title),
            "comment": _quoted(_description(found)),
        },
        node_attr={"fixedsize": "true", "label": ""},
    )
    made = {key for step in found.steps for key in step.outputs}
    for wire in found.wires.values():
        _add_wire(graph, wire, across, made=wire.key in made)
    for step in found.steps:
        _box(graph, step.key, mark if step.marked else "operation", step.symbol, round_=True)
        for key in step.inputs:
            graph.edge(f"{key}:e" if across else key, step.key)
        for key in step.outputs:
            graph.edge(step.key, f"{key}:w" if across else key, arrowhead="none")
    return str(graph.source)


def fold(found: Diagram, *, most: int = _MOST_STEPS, last: int = _LAST) -> Diagram:
    """Fold the middle of a large graph into one step, and the leaves that only it uses into one.

    A graph of at most so many steps is not folded, and so many of its last steps are kept.

    The steps stand in the order of the forward pass, so what lies between two places of that order
    can be taken together without a circle.
    """
    if len(found.steps) <= most:
        return found
    middle = found.steps[_FIRST : len(found.steps) - last]
    kept = [*found.steps[:_FIRST], *found.steps[len(found.steps) - last :]]
    inside = {key for step in middle for key in step.outputs}
    outside = {key for step in kept for key in (*step.inputs, *step.outputs)}
    entering = {key for step in middle for key in step.inputs} - inside
    own = {key for key in entering if key not in outside}
    inputs = [key for key in found.wires if key in entering and key not in own]
    wires = {
        k: w for k, w in found.wires.items() if k not in own and (k not in inside or k in outside)
    }
    leaves = sum(found.wires[key].role == "leaf" for key in own)
    if leaves:
        wires = {"folded": Wire("folded", "leaf", f"{leaves} leaves"), **wires}
        inputs.append("folded")
    outputs = tuple(key for key in found.wires if key in inside and key in outside)
    says = f"… {len(middle)} steps"
    step = Step("middle", says, says, tuple(inputs), outputs)
    return replace(found, wires=wires, steps=[*kept[:_FIRST], step, *kept[_FIRST:]])


# -- looking at a graph ---------------------------------------------------------------------------


@dataclass(frozen=True)
class Seen:
    """A graph that was looked at; `trouble` says why there is no backward pass where none is."""

    known: Known
    nodes: list[Node]
    title: str
    trouble: str


def variables_of_the_cell() -> dict[str, object]:
    """The variables of the cell that called `draw` or `step`."""
    try:
        frame = sys._getframe(2)
    except ValueError:  # a thread that begins with the call has no cell
        return {}
    return {**frame.f_globals, **frame.f_locals}


def look(
    of: object, wrt: object, names: object, v: object, variables: Mapping[str, object]
) -> Seen:
    """Find out what is known of a graph: for `draw` and `step`.

    Raises:
        StateError: there is no graph to look at.
    """
    wrt, names = _by_name("wrt", wrt), _by_name("names", names)
    recording = Recording()
    if not is_tensor(of) and callable(of):
        inputs = {name: truth.fresh(checked_input(name, t)) for name, t in wrt.items()}
        of, recording = record(of, inputs)
        wrt = inputs
    if not is_tensor(of):
        raise StateError(f"`draw` needs a tensor, or a function of `wrt`, but {a(of)} came.")
    assert isinstance(of, Tensor)
    if not of.requires_grad:
        raise StateError("This tensor has no graph: nothing was tracked when it was computed.")
    root = backward.edge(of)
    try:
        nodes = everything(root[0])
    except backward.TooLargeError as error:
        raise StateError(f"This graph is too large to be looked at: it has {error}.") from None
    pairs = [*names.items(), *variables.items(), *wrt.items()]
    tensors = [of, *(t for _, t in pairs if isinstance(t, Tensor) and is_tensor(t))]
    values = {**forward_values(nodes, tensors, frozenset(nodes)), **recording.values}
    constants = find_constants(nodes, values, recording)
    called = named(
        names_for(nodes, pairs), constants, variables.items(), given=names, recording=recording
    )
    seen, trouble = _gradients(of, root, nodes, v, called.edges.get(root, "of"))
    title = f"The graph of {called.edges.get(root, 'the result')}"
    return Seen(Known(called, values, seen, constants), nodes, title, trouble)


def _by_name(argument: str, value: object) -> Mapping[str, object]:
    """What was given as `wrt` or `names`, if it is a dict.

    Raises:
        StateError: it is none.
    """
    if value is None:
        return {}
    if not issubclass(type(value), Mapping):
        raise StateError(f'`{argument}` must be a dict such as {{"w": w}}, but it is {a(value)}.')
    return value  # type: ignore[return-value]


def _gradients(
    of: Tensor, root: Edge, nodes: Sequence[Node], v: object, called: str
) -> tuple[Pass | None, str]:
    """A backward pass over the whole graph; where there is none to be had, the reason."""
    if v is None and of.numel() != 1:
        return None, "the result is not a single number, and `v` is missing."
    upstream = torch.ones_like(of) if v is None else v
    if not isinstance(upstream, Tensor) or upstream.shape != of.shape:
        raise StateError("`v` must be a tensor of the shape of the result.")
    try:
        return backward.run(root, upstream.detach().to(of.dtype), nodes), ""
    except Exception as error:  # the forward pass can still be drawn
        return None, reason(error, called)


# -- Graphviz --------------------------------------------------------------------------------------


def _add_wire(graph: graphviz.Digraph, wire: Wire, across: bool, *, made: bool) -> None:
    name = f"{wire.name} = " if wire.name and wire.value else wire.name
    above = f"{name}{wire.value}"
    if not made:
        above = wire.value if wire.name or wire.role == "leaf" else ""
    below = f"grad {wire.gradient}" if wire.gradient else ""
    width = max(0.6, _CHARACTER * max(len(above), len(below)) + 0.15)
    kind = "wire" if across else "tag"
    rows = 2 if above and below else 1 if above or below else 0
    height = 0.6 if across else 0.05 + 0.25 * rows
    graph.node(
        wire.key, _label(above, below), _attributes={"class": kind, "shape": "plaintext"},
        width=f"{width:.2f}", height=f"{height:.2f}",
    )  # fmt: skip
    end = f"{wire.key}_end"
    if not made:
        _box(graph, end, wire.role, wire.name or ("leaf" if wire.role == "leaf" else wire.value))
        graph.edge(end, f"{wire.key}:w" if across else wire.key, arrowhead="none")
    elif wire.role == "result":
        _box(graph, end, "result", wire.name or "result")
        graph.edge(f"{wire.key}:e" if across else wire.key, end)


def _box(graph: graphviz.Digraph, key: str, kind: str, words: str, *, round_: bool = False) -> None:
    wide = max(0.5, _CHARACTER * len(words) + 0.25)
    shape = "circle" if round_ and wide <= 0.62 else "box"
    size = {"width": "0.55", "height": "0.55"} if shape == "circle" else {
        "width": f"{wide:.2f}", "height": "0.45",
    }  # fmt: skip
    graph.node(key, _quoted(words), _attributes={"class": kind, "shape": shape}, **size)


def _label(above: str, below: str) -> str:
    return f"{_quoted(above)}\\n{_quoted(below)}"


def _description(found: Diagram) -> str:
    """The lines of a diagram's text in one, for those who cannot see the picture."""
    text = "; ".join(line.strip() for line in found.text.splitlines()[1:])
    return text if len(text) <= _LONGEST else f"{text[:_LONGEST]} …"


def _quoted(words: str) -> str:
    return str(graphviz.escape(words))
