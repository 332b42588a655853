"""Where marks are given, figures are made and not drawn."""

from __future__ import annotations

import io

import pytest

pytest.importorskip("resource", reason="marking needs Linux or macOS")

from matplotlib import pyplot
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from checks.classroom import undrawn


def test_a_figure_is_left_undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    # The mistakes: a cell that draws raises; it draws after all.
    before = pyplot.get_backend()
    monkeypatch.setattr(Figure, "savefig", Figure.savefig)
    monkeypatch.setattr(FigureCanvasAgg, "draw", FigureCanvasAgg.draw)
    undrawn.leave_undrawn()
    written = io.BytesIO()
    figure = pyplot.figure()
    assert figure.savefig(written) is figure.canvas.draw() is None
    assert pyplot.savefig(written, format="png") is None
    assert written.getvalue() == b""
    pyplot.close(figure)
    pyplot.switch_backend(before)


def test_what_is_slow_the_first_time_is_done_before_the_forks(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    # The mistake: each submission reads the fonts and the grammar of formulas anew.
    drawn: list[set[str]] = []

    def draw(canvas: FigureCanvasAgg) -> None:
        drawn.append({type(artist).__name__ for artist in canvas.figure.findobj()})

    monkeypatch.setattr(FigureCanvasAgg, "draw", draw)
    undrawn._draw_once()
    (all_,) = drawn
    assert all_ >= {"Line2D", "Legend", "QuadContourSet", "XAxis"}
    assert pyplot.get_fignums() == []
