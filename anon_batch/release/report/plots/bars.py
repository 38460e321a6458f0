"""Horizontal bars with whiskers."""

from __future__ import annotations

from markupsafe import Markup

from anon_batch.release.report.plots.plot import Bar, Bars, is_finite
from anon_batch.release.report.plots.scale import Scale, scale_over
from anon_batch.release.report.plots.svg import WIDTH, element, shortened, whole_image, width_of, x_axis
from anon_batch.release.report.words import SPACE, format_value

_TOP, _ROW, _BAR, _LABEL = 8, 22, 12, 20
_MOST_NAMES, _VALUES = 150, 66  # px at the left and the right


def draw_bars(plot: Bars, name: str) -> Markup:
    """Return the bars, one below the other, with their values at the right; long names are above their bars."""
    widest = 14 + max((width_of(bar.name) for bar in plot.bars), default=0)
    above = widest > _MOST_NAMES
    row, names = (_ROW + _LABEL, 4.0) if above else (_ROW, widest)
    bottom = _TOP + row * len(plot.bars) + 4
    numbers = [v for bar in plot.bars for v in (bar.value, bar.low, bar.high) if v is not None and is_finite(v)]
    numbers += [mark.value for mark in plot.marks]
    scale = scale_over(numbers, names, WIDTH - _VALUES, zero=True)
    content: list[str] = [x_axis(plot.axis, scale, _TOP, bottom)]
    for index, bar in enumerate(plot.bars):
        top = _TOP + row * index
        y = top + row - _ROW / 2 + 2
        content.append(_label(bar.name, 4 if above else names - 8, top + 17 if above else y + 4, above=above))
        content.append(_bar(bar, plot, scale, y))
    content.append(element("line", x1=scale.place(0), x2=scale.place(0), y1=_TOP, y2=bottom, class_="zero"))
    for mark in plot.marks:
        x = scale.place(mark.value)
        content.append(element("line", x1=x, x2=x, y1=_TOP - 4, y2=bottom, class_="mark"))
    return whole_image(name, plot.title, plot.about, bottom + 44, *content)


def _label(text: str, x: float, y: float, *, above: bool) -> Markup:
    if above:
        return element("text", shortened(text, WIDTH - 8), x=x, y=y, class_="name above")
    return element("text", text, x=x, y=y, text_anchor="end", class_="name")


def _bar(bar: Bar, plot: Bars, scale: Scale, y: float) -> Markup:
    if bar.value is None:
        return element("text", "not measured", x=scale.place(0) + 6, y=y + 4, class_="tick")
    ends = sorted((scale.place(0), scale.place(bar.value)))
    parts: list[str] = [
        element("rect", x=ends[0], y=y - _BAR / 2, width=max(0.8, ends[1] - ends[0]), height=_BAR, class_="bar"),
    ]
    if bar.low is not None or bar.high is not None:
        low = scale.place(bar.value if bar.low is None else bar.low)
        high = scale.place(bar.value if bar.high is None else bar.high)
        parts.append(element("path", d=f"M{low:.1f} {y:.1f}H{high:.1f}", class_="whisker"))
        parts += [element("path", d=f"M{x:.1f} {y - 4:.1f}V{y + 4:.1f}", class_="whisker") for x in (low, high)]
    value = format_value(bar.value, plot.axis.unit).removesuffix(f"{SPACE}points")
    parts.append(element("text", value, x=WIDTH, y=y + 4, text_anchor="end", class_="value"))
    return element("g", *parts)
