"""Lines with interval bands."""

from __future__ import annotations

from itertools import chain

from markupsafe import Markup

from anon_batch.release.report.plots.plot import Line, Lines
from anon_batch.release.report.plots.scale import Scale, scale_over
from anon_batch.release.report.plots.svg import WIDTH, element, path, whole_image, x_axis, y_axis

STYLES = 6  # colours with dashes that the style sheet has
_LEFT, _RIGHT, _TOP, _HEIGHT = 52, 14, 30, 210


def draw_lines(plot: Lines, name: str) -> Markup:
    """Return the first six lines, each with its own colour and dashes; a legend is drawn beside by the page."""
    bottom, shown = _TOP + _HEIGHT, plot.lines[:STYLES]
    points = list(chain.from_iterable(line.points for line in shown))
    bounds = [bound for line in shown for _, *band in line.band for bound in band]
    x = scale_over((own for own, _ in points), _LEFT, WIDTH - _RIGHT, log=plot.x.log)
    levels = [*(own for _, own in points), *bounds, *(mark.value for mark in plot.marks)]
    y = scale_over(levels, bottom, _TOP, log=plot.y.log, zero=not plot.y.log)
    content: list[str] = [y_axis(plot.y, y, _LEFT, WIDTH - _RIGHT), x_axis(plot.x, x, _TOP, bottom)]
    for index, line in enumerate(shown, 1):
        content += _line(line, index, x, y)
    for mark in plot.marks:
        place = y.place(mark.value)
        content.append(element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=place, y2=place, class_="mark"))
    return whole_image(name, plot.title, plot.about, bottom + 44, *content)


def _line(line: Line, index: int, x: Scale, y: Scale) -> list[str]:
    drawn = sorted((a, b) for a, b in line.points if not (x.log and a <= 0) and not (y.log and b <= 0))
    parts: list[str] = []
    if band := sorted(own for own in line.band if not (x.log and own[0] <= 0) and not (y.log and own[2] <= 0)):
        upper = [(x.place(a), y.place(high)) for a, _, high in band]
        lower = [(x.place(a), y.place(max(low, y.low))) for a, low, _ in reversed(band)]
        parts.append(element("path", d=path([*upper, *lower], closed=True), class_=f"band s{index}"))
    places = [(x.place(a), y.place(b)) for a, b in drawn]
    if len(places) == 1:
        parts.append(element("circle", cx=places[0][0], cy=places[0][1], r=4, class_=f"dot s{index}"))
    elif places:
        parts.append(element("path", d=path(places), class_=f"line s{index}"))
    return parts
