"""Plots as inline SVG in a style sheet's colours. The same plot gives the same bytes."""

from markupsafe import Markup

from anon_batch.release.report.plots.bars import draw_bars
from anon_batch.release.report.plots.histogram import draw_histogram
from anon_batch.release.report.plots.lines import draw_lines
from anon_batch.release.report.plots.plot import Axis, Bar, Bars, Histogram, Line, Lines, Mark, Plot

__all__ = [
    "Axis",
    "Bar",
    "Bars",
    "Histogram",
    "Line",
    "Lines",
    "Mark",
    "Plot",
    "draw",
]


def draw(plot: Plot, name: str) -> Markup:
    """Return the plot as an SVG element; `name` is unique on the page, because its parts refer to each other by it."""
    if isinstance(plot, Bars):
        return draw_bars(plot, name)
    if isinstance(plot, Histogram):
        return draw_histogram(plot, name)
    return draw_lines(plot, name)
