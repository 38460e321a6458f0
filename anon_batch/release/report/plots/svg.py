"""Write SVG: elements, escaped, with short numbers."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Sequence

from markupsafe import Markup, escape

from anon_batch.release.report.plots.plot import Axis
from anon_batch.release.report.plots.scale import Scale
from anon_batch.release.report.words import clean, format_tick

WIDTH = 420
_LETTER = 6.6  # px; mean width of a letter at the size of the labels


def element(tag: str, *content: str, **attributes: str | float | None) -> Markup:
    """Return an element; `class_` and `aria_hidden` are written as `class` and `aria-hidden`, None leaves one out."""
    written = "".join(
        f' {name.rstrip("_").replace("_", "-")}="{escape(_short(value))}"'
        for name, value in attributes.items()
        if value is not None
    )
    inner = "".join(own if isinstance(own, Markup) else escape(clean(own)) for own in content)
    return Markup(f"<{tag}{written}>{inner}</{tag}>")  # noqa: S704 - all parts are escaped


def _short(value: str | float) -> str:
    if isinstance(value, str):
        return value
    text = f"{value:.1f}".removesuffix(".0")
    return "0" if text == "-0" else text


def path(points: Iterable[tuple[float, float]], *, closed: bool = False) -> str:
    """Return the data of a path through points; those that fall on their predecessor are left out."""
    places = list(dict.fromkeys(f"{_short(x)} {_short(y)}" for x, y in points))
    return "M" + "L".join(places) + ("Z" if closed else "") if places else ""


def whole_image(name: str, title: str, about: str, height: float, *content: str) -> Markup:
    """Return the whole SVG with title and description for those who cannot see it."""
    return element(
        "svg",
        element("title", title, id=f"{name}-t"),
        element("desc", about.replace("`", ""), id=f"{name}-d"),
        *content,
        viewBox=f"0 0 {WIDTH} {_short(height)}",
        role="img",
        aria_labelledby=f"{name}-t {name}-d",
    )


def x_axis(axis: Axis, scale: Scale, top: float, bottom: float, ticks: Sequence[float] | None = None) -> Markup:
    """Return grid lines, tick labels and the title of a horizontal axis; None for `ticks` chooses round values."""
    parts: list[str] = []
    last = -1e9
    for value in scale.ticks() if ticks is None else ticks:
        x, text = scale.place(value), format_tick(value, axis.unit)
        parts.append(element("line", x1=x, x2=x, y1=top, y2=bottom, class_="grid"))
        half = width_of(text) / 2
        x = min(max(x, half), WIDTH - half)
        if x - half > last + 6:
            parts.append(element("text", text, x=x, y=bottom + 20, text_anchor="middle", class_="tick"))
            last = x + half
    middle = (scale.start + scale.end) / 2
    parts.append(element("text", axis.title, x=middle, y=bottom + 37, text_anchor="middle", class_="axis-title"))
    return element("g", *parts, class_="axis", aria_hidden="true")


def y_axis(axis: Axis, scale: Scale, left: float, right: float) -> Markup:
    """Return grid lines, tick labels and, above the plot, the title of a vertical axis."""
    parts: list[str] = [element("text", axis.title, x=0, y=scale.end - 10, class_="axis-title")]
    for value in scale.ticks():
        y = scale.place(value)
        parts.append(element("line", x1=left, x2=right, y1=y, y2=y, class_="grid"))
        text = format_tick(value, axis.unit)
        parts.append(element("text", text, x=left - 6, y=y + 4, text_anchor="end", class_="tick"))
    return element("g", *parts, class_="axis", aria_hidden="true")


def width_of(text: str) -> float:
    """Return about how wide a label is, px."""
    return sum(map(_letter_px, clean(text)))


def shortened(text: str, px: float) -> str:
    """Return a label that fits into so many px; what is cut off ends in an ellipsis, and is whole in the plot's table."""
    text, width = clean(text), 0.0
    if width_of(text) <= px:
        return text
    for index, letter in enumerate(text):
        width += _letter_px(letter)
        if width > px - 12:
            return text[:index].rstrip() + "…"
    return text


def _letter_px(letter: str) -> float:
    if unicodedata.east_asian_width(letter) in "WF":
        return 13.0
    return 12.5 if letter in "WM@%" else 9.5 if letter.isupper() or not letter.isascii() else _LETTER
