"""Histograms."""

from __future__ import annotations

from markupsafe import Markup

from anon_batch.release.report.plots.plot import Histogram
from anon_batch.release.report.plots.scale import Scale, scale_over
from anon_batch.release.report.plots.svg import WIDTH, element, whole_image, x_axis, y_axis

_LEFT, _RIGHT, _TOP, _HEIGHT = 52, 12, 30, 180


def draw_histogram(plot: Histogram, name: str) -> Markup:
    """Return the bins as bars side by side."""
    bottom = _TOP + _HEIGHT
    x = _x_scale(plot)
    y = scale_over(plot.counts, bottom, _TOP, zero=True)
    content: list[str] = [
        y_axis(plot.y, y, _LEFT, WIDTH - _RIGHT),
        x_axis(plot.x, x, _TOP, bottom, plot.borders if plot.x.log else None),
    ]
    for low, high, count in zip(plot.borders, plot.borders[1:], plot.counts, strict=False):
        left, right, top = x.place(low), x.place(high), y.place(count)
        if count:
            gap = min(1.0, (right - left) / 6)
            content.append(
                element(
                    "rect",
                    x=left + gap / 2,
                    y=min(top, bottom - 1),
                    width=max(0.4, right - left - gap),
                    height=max(1.0, bottom - top),
                    class_="bar",
                )
            )
    content.append(element("line", x1=_LEFT, x2=WIDTH - _RIGHT, y1=bottom, y2=bottom, class_="zero"))
    return whole_image(name, plot.title, plot.about, bottom + 44, *content)


def _x_scale(plot: Histogram) -> Scale:
    """Return a scale from the first border to the last, because rounder ends would show bins that do not exist."""
    first, last = plot.borders[0], plot.borders[-1]
    if plot.x.log:
        return Scale(
            max(first, min(border for border in plot.borders if border > 0)), last, _LEFT, WIDTH - _RIGHT, True
        )
    return Scale(first, last, _LEFT, WIDTH - _RIGHT)
