"""Render the report: one HTML file that loads nothing and runs no script, and the same numbers as JSON."""

from __future__ import annotations

import re
from collections.abc import Sequence
from importlib import resources
from typing import Any

from jinja2 import Environment, StrictUndefined
from markupsafe import Markup, escape

from anon_batch.formats import layout
from anon_batch.formats.release import Release
from anon_batch.release.report import plots
from anon_batch.release.report.document import Block, Drawn, Figures, NamedFigure, Report, Rows, Text
from anon_batch.release.report.plots.lines import STYLES
from anon_batch.release.report.plots.plot import columns_of, rows_of, units_of
from anon_batch.release.report.words import SPACE, clean, format_interval, format_time, format_value
from anon_batch.stats.figure import Figure

_TEMPLATE, _STYLE = "page.html", "page.css"
_MOST_ROWS = 50  # of a plot's data on the page
_QUANTITY = re.compile(r"(\d) (%|px\b)")
_CODE = re.compile(r"`([^`]*)`")


def render(report: Report) -> str:
    """Return the page as HTML; equal reports give the same bytes."""
    environment = Environment(
        autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, finalize=_finalize
    )
    environment.filters.update(
        value=format_value,
        interval=format_interval,
        rich=_rich,
        time=format_time,
        big=_big,
        draw=lambda block: plots.draw(block.plot, block.name),
        lines=_lines,
        plot_rows=lambda plot: list(rows_of(plot)),
        plot_columns=columns_of,
        plot_units=units_of,
        alone=_is_alone,
    )
    environment.tests.update(
        figure=lambda value: isinstance(value, Figure),
        text_block=lambda block: isinstance(block, Text),
        figures_block=lambda block: isinstance(block, Figures),
        rows_block=lambda block: isinstance(block, Rows),
    )
    folder = resources.files(__package__)
    style = Markup(folder.joinpath(_STYLE).read_text(encoding="utf-8"))  # noqa: S704 - a file of this package
    text = folder.joinpath(_TEMPLATE).read_text(encoding="utf-8")
    return environment.from_string(text).render(report=report, style=style, most_rows=_MOST_ROWS)


def write_report(release: Release, report: Report) -> str:
    """Write the page and its numbers into the release; return the address of the page.

    Raises:
        StorageError: they cannot be written.
    """
    release.put(layout.REPORT_JSON, report.to_json())
    release.put(layout.REPORT, render(report).encode("utf-8"))
    return release.address(layout.REPORT)


def _finalize(value: Any) -> Any:
    return _unbroken(clean(value)) if isinstance(value, str) and not isinstance(value, Markup) else value


def _unbroken(text: str) -> str:
    """Return the text with spaces that do not break between a number and its unit."""
    return _QUANTITY.sub(rf"\1{SPACE}\2", text)


def _rich(text: str) -> Markup:
    """Return text with what stands between backticks as code."""
    return Markup(_CODE.sub(r"<code>\1</code>", str(escape(_unbroken(clean(text))))))  # noqa: S704 - escaped before


def _big(own: NamedFigure) -> str:
    """Return the number that stands for an answer: the bound where only that is proven."""
    figure = own.figure
    if figure.low is None and figure.high is not None:
        return f"≤ {format_value(figure.high, own.unit)}"
    return format_value(figure.value, own.unit)


def _lines(plot: plots.Plot) -> Sequence[plots.Line]:
    """Return the lines that a legend explains."""
    return plot.lines[:STYLES] if isinstance(plot, plots.Lines) else ()


def _is_alone(blocks: Sequence[Block], at: int) -> bool:
    """Return whether a plot has no other plot beside it, so that it may be wider."""
    first = at
    while first > 0 and isinstance(blocks[first - 1], Drawn):
        first -= 1
    last = at
    while last + 1 < len(blocks) and isinstance(blocks[last + 1], Drawn):
        last += 1
    return (last - first) % 2 == 0 and at == last
