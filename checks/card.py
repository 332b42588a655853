"""A graph on a card: Graphviz says where things go, the text is set here.

All nodes have a fixed size and are laid out without their labels, so that no font of the machine
moves anything: the same source gives the same bytes everywhere, and notebooks can be compared.

What a node is, its `class` says:

- `leaf`, `constant`, `result`, `operation`: told apart by shape and frame as well as by colour;
- `marked`, `current`: an operation that a verdict points at, or that is just being stepped through;
- `note`: small print that belongs to a node;
- `wire`: a stretch of wire. The first line of its label is the forward value and stands above the
  wire; the second is the gradient and stands below it. Either may be empty;
- `tag`: the same beside a wire that runs downwards, without a line of its own.

The graph's `tooltip` is the title of the picture and its `comment` the long description.
"""

from __future__ import annotations

import math
import os
from collections.abc import Iterator
from contextlib import contextmanager
from html import escape
from itertools import pairwise

import pygraphviz

# On the pale card all of these have a contrast of at least 4.5:1, whatever the theme around it.
CARD, FRAME = "#fdfcf7", "#b9b3a2"
INK, NOTE, VALUE, GRADIENT = "#222222", "#555555", "#0b5cad", "#a83c00"
FILL = {
    "leaf": "#e8f0f8",
    "constant": "#fdfcf7",
    "result": "#e8f0f8",
    "operation": "#f1ede0",
    "marked": "#fbe3d6",
    "current": "#fbe3d6",
}

WORDS = 75.0  # width of the words of a mark
MARKS = {"marked": "look here", "current": "this step"}
MARGIN, LEGEND, NARROWEST = 16.0, 34.0, 430.0
FULL_LEGEND = 540.0  # on a narrower card its two halves would run into each other
SIZE = {
    "leaf": 16,
    "constant": 16,
    "result": 16,
    "operation": 16,
    "marked": 16,
    "current": 16,
    "wire": 13,
    "note": 12,
}

Point = tuple[float, float]


def number(value: float) -> str:
    """Return `value` with at most one decimal: the same text on every machine."""
    return f"{round(value, 1) + 0:g}"


def text(x: float, y: float, words: str, *, size: int, fill: str, extra: str = "") -> str:
    """Return one centred line of text whose optical middle is at height `y`."""
    where = f'x="{number(x)}" y="{number(y + 0.35 * size)}"'
    return f'<text {where} font-size="{size}" fill="{fill}"{extra}>{escape(words)}</text>'


def points(path: str) -> tuple[list[Point], Point | None]:
    """Split Graphviz's `e,x,y x,y x,y …` into the points of the curve and the arrow's tip."""
    curve: list[Point] = []
    tip = None
    for word in path.split():
        *mark, x, y = word.split(",")
        if mark == ["e"]:
            tip = (float(x), float(y))
        else:
            curve.append((float(x), float(y)))
    return curve, tip


def polyline(path: str) -> Iterator[Point]:
    """Yield points along Graphviz's curve: on the lines that join its points, which keep near."""
    curve, _ = points(path)
    for (x0, y0), (x1, y1) in pairwise(curve):
        yield from ((x0 + (x1 - x0) * k / 8, y0 + (y1 - y0) * k / 8) for k in range(8))


class Figure:
    """One figure: the layout of a Graphviz graph, drawn on a card of its own."""

    def __init__(self, dot: str) -> None:
        """Lay out the graph of the text `dot`; its nodes must have a fixed size."""
        self.graph = pygraphviz.AGraph(string=dot)
        # Not a copy(): that loses the subgraphs, and with them `rank=same`.
        bare = pygraphviz.AGraph(string=dot)
        for node in bare.nodes():
            node.attr["label"] = ""
        with quiet():
            bare.layout(prog="dot")
        self.placed = bare
        _, _, width, self.height = (float(word) for word in bare.graph_attr["bb"].split(","))
        self.shift = max(0.0, (NARROWEST - width) / 2)  # the legend needs its room
        self.width = max(width, NARROWEST)

    def at(self, point: Point) -> Point:
        """Turn Graphviz's coordinates (y upwards) into those of the card (y downwards)."""
        return point[0] + MARGIN + self.shift, self.height - point[1] + MARGIN + LEGEND

    def edge(self, edge: pygraphviz.Edge) -> str:
        """Return one edge: its curve, and the arrow if it has one."""
        curve, tip = points(self.placed.get_edge(*edge).attr["pos"])
        start, *rest = [self.at(point) for point in curve]
        if tip is not None and edge.attr["arrowhead"] == "none":
            rest[-1] = self.at(tip)
        bends = " ".join(f"{number(x)},{number(y)}" for x, y in rest)
        dashes = ' stroke-dasharray="2 3"' if edge.attr["style"] == "dotted" else ""
        line = f'<path d="M{number(start[0])},{number(start[1])} C{bends}"{dashes}/>'
        if tip is None or edge.attr["arrowhead"] == "none":
            return line
        return line + arrow(rest[-1], self.at(tip))

    def wire(self, x: float, y: float, width: float, label: list[str]) -> list[str]:
        """Return a stretch of wire with the value above it and the gradient below it."""
        value, gradient = label
        ends = f'x1="{number(x - width / 2)}" x2="{number(x + width / 2)}"'
        size = SIZE["wire"]
        asked = gradient.startswith("grad")
        style = ' font-style="italic"'
        line = f'<line {ends} y1="{number(y)}" y2="{number(y)}" stroke="{INK}" stroke-width="1.3"/>'
        below = GRADIENT if asked else NOTE
        return [
            line,
            *([text(x, y - 13, value, size=size, fill=VALUE)] if value else []),
            *([text(x, y + 13, gradient, size=size, fill=below, extra=style)] if gradient else []),
        ]

    def tag(self, x: float, y: float, label: list[str]) -> list[str]:
        """Return the value, and the gradient under it, beside a wire that runs downwards."""
        value, gradient = label
        size, apart = SIZE["wire"], 9 if value and gradient else 0
        style = ' font-style="italic"'
        return [
            *([text(x, y - apart, value, size=size, fill=VALUE)] if value else []),
            *(
                [text(x, y + apart, gradient, size=size, fill=GRADIENT, extra=style)]
                if gradient
                else []
            ),
        ]

    def node(self, node: pygraphviz.Node) -> list[str]:
        """Return one node with its label."""
        kind = node.attr["class"]
        label = node.attr["label"].split("\\n")
        middle = self.placed.get_node(node).attr["pos"].split(",")
        x, y = self.at((float(middle[0]), float(middle[1])))
        width, height = (72 * float(node.attr[side]) for side in ("width", "height"))
        if kind == "wire":
            return self.wire(x, y, width, label)
        if kind == "tag":
            return self.tag(x, y, label)
        if kind == "note":
            top = y - 8 * (len(label) - 1)
            return [
                text(x, top + 16 * row, words, size=SIZE[kind], fill=NOTE)
                for row, words in enumerate(label)
            ]
        paint = f'fill="{FILL[kind]}" stroke="{INK}" stroke-width="{3 if kind in MARKS else 1.3}"'
        if kind == "constant":
            paint += ' stroke-dasharray="4 3"'
        if node.attr["shape"] == "circle":
            shape = f'<circle cx="{number(x)}" cy="{number(y)}" r="{number(width / 2)}" {paint}/>'
        else:
            shape = (
                f'<rect x="{number(x - width / 2)}" y="{number(y - height / 2)}" rx="4" '
                f'width="{number(width)}" height="{number(height)}" {paint}/>'
            )
        size = SIZE[kind] if len(label[0]) < 6 else SIZE["wire"]
        drawn = [shape, text(x, y, label[0], size=size, fill=INK)]
        if kind == "result":  # a second frame
            inner = f'width="{number(width - 6)}" height="{number(height - 6)}" rx="3" fill="none"'
            place = f'x="{number(x - width / 2 + 3)}" y="{number(y - height / 2 + 3)}"'
            drawn.insert(1, f'<rect {place} {inner} stroke="{INK}" stroke-width="1"/>')
        if kind in MARKS:
            drawn.append(self.mark(MARKS[kind], x, y, width, height))
        return drawn

    def mark(self, words: str, x: float, y: float, width: float, height: float) -> str:
        """Return the words that point at a node, where the fewest wires and numbers are."""
        down, right = height / 2 + 12, width / 2 + 8
        places = {"▲": (x - 5, y + down), "▼": (x - 5, y - down)}
        if self.graph.graph_attr["rankdir"] != "LR":
            places = {"◀": (x + right, y), "▶": (x - right - WORDS, y)}
        sign = min(places, key=lambda sign: self.covered(*places[sign]))
        line = f"{words} {sign}" if sign == "▶" else f"{sign} {words}"
        # A halo in the colour of the card keeps the words apart from what is behind them.
        style = f' font-weight="bold" paint-order="stroke" stroke="{CARD}" stroke-width="5"'
        style += ' style="text-anchor:start"'
        return text(*places[sign], line, size=SIZE["note"], fill=GRADIENT, extra=style)

    def covered(self, left: float, y: float) -> int:
        """How much of the graph the words of a mark would cover: points of wires, and labels."""

        def inside(point: Point, wide: float = 0.0, high: float = 0.0) -> bool:
            beside = left - wide < point[0] < left + WORDS + wide
            return beside and abs(point[1] - y) < SIZE["note"] / 2 + high

        along = (p for edge in self.placed.edges() for p in polyline(edge.attr["pos"]))
        near = sum(inside(self.at(point)) for point in along)
        for node in self.placed.nodes():
            middle = node.attr["pos"].split(",")
            wide, high = (36 * float(node.attr[side]) for side in ("width", "height"))
            near += inside(self.at((float(middle[0]), float(middle[1]))), wide, min(high, 19))
        return near

    def legend(self) -> list[str]:
        """Return the line at the top that says how to read the picture."""
        y = MARGIN + 4
        end = self.width + 2 * MARGIN
        first = ' style="text-anchor:start"'
        last = ' font-style="italic" style="text-anchor:end"'
        above, below = "forward pass →  value: above", "grad: below  ← backward pass"
        if self.graph.graph_attr["rankdir"] == "LR" and self.width >= FULL_LEGEND:
            above = "forward pass →  value: above the wire"
            below = "grad: below the wire  ← backward pass"
        return [
            text(MARGIN, y, above, size=SIZE["wire"], fill=VALUE, extra=first),
            text(end - MARGIN, y, below, size=SIZE["wire"], fill=GRADIENT, extra=last),
        ]

    def svg(self) -> str:
        """Return the whole picture."""
        width, height = self.width + 2 * MARGIN, self.height + 2 * MARGIN + LEGEND
        height += 8 * any(node.attr["class"] in MARKS for node in self.graph.nodes())
        about = self.graph.graph_attr
        nodes = [line for node in self.graph.nodes() for line in self.node(node)]
        lines = [
            '<svg xmlns="http://www.w3.org/2000/svg" role="img" '
            f'aria-label="{escape(about["tooltip"])}. {escape(about["comment"])}" '
            f'width="{math.ceil(width)}" height="{math.ceil(height)}" '
            f'viewBox="0 0 {number(width)} {number(height)}" '
            'style="max-width: 100%; height: auto">',
            f"<title>{escape(about['tooltip'])}</title>",
            f"<desc>{escape(about['comment'])}</desc>",
            f'<rect x="0.5" y="0.5" width="{number(width - 1)}" height="{number(height - 1)}" '
            f'rx="10" fill="{CARD}" stroke="{FRAME}"/>',
            f'<g fill="none" stroke="{INK}" stroke-width="1.3">',
            *[self.edge(edge) for edge in self.graph.edges()],
            "</g>",
            '<g font-family="Helvetica, Arial, \'DejaVu Sans\', sans-serif" text-anchor="middle">',
            *self.legend(),
            *nodes,
            "</g>",
            "</svg>",
        ]
        return "\n".join(lines) + "\n"


def arrow(back: Point, tip: Point) -> str:
    """Return the head of an arrow that points from `back` to `tip`."""
    (x0, y0), (x1, y1) = back, tip
    length = math.hypot(x1 - x0, y1 - y0)
    side_x, side_y = 3.5 * (y1 - y0) / length, 3.5 * (x0 - x1) / length
    corners = [(x0 + side_x, y0 + side_y), (x1, y1), (x0 - side_x, y0 - side_y)]
    outline = " ".join(f"{number(x)},{number(y)}" for x, y in corners)
    return f'<polygon points="{outline}" fill="{INK}" stroke="none"/>'


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what Graphviz's libraries write to the error stream (fonts that are missing) to them."""
    kept = os.dup(2)
    nowhere = os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(nowhere)
        os.close(kept)
