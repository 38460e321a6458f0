"""What plots show: data alone."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Literal

Unit = Literal["number", "share", "points", "px", "seconds"]


@dataclass(frozen=True, slots=True)
class Axis:
    """An axis: what it shows, in which unit, and whether it is logarithmic."""

    title: str
    unit: Unit = "number"
    log: bool = False


@dataclass(frozen=True, slots=True)
class Mark:
    """A line across the plot at a value, for example a limit of the job."""

    value: float
    text: str


@dataclass(frozen=True, slots=True)
class Bar:
    """One bar: `low` and `high` are the ends of its interval, None where there is none."""

    name: str
    value: float | None
    low: float | None = None
    high: float | None = None
    n: int | None = None


@dataclass(frozen=True, slots=True)
class Bars:
    """Horizontal bars with whiskers, for named things."""

    title: str
    about: str
    axis: Axis
    bars: tuple[Bar, ...]
    marks: tuple[Mark, ...] = ()


@dataclass(frozen=True, slots=True)
class Histogram:
    """Counts of bins side by side: bin i reaches from borders[i] to borders[i + 1]."""

    title: str
    about: str
    x: Axis
    y: Axis
    borders: tuple[float, ...]
    counts: tuple[float, ...]

    def __post_init__(self) -> None:
        if len(self.borders) != len(self.counts) + 1 or not self.counts:
            raise ValueError(f"histogram {self.title!r}: {len(self.counts)} bins and {len(self.borders)} borders")


@dataclass(frozen=True, slots=True)
class Line:
    """Points of a line; `band` has (x, low, high) for the points that have an interval."""

    name: str
    points: tuple[tuple[float, float], ...]
    band: tuple[tuple[float, float, float], ...] = ()


@dataclass(frozen=True, slots=True)
class Lines:
    """Lines over a common axis; on a logarithmic axis, values of 0 and less are not drawn."""

    title: str
    about: str
    x: Axis
    y: Axis
    lines: tuple[Line, ...]
    marks: tuple[Mark, ...] = ()  # of y


Plot = Bars | Histogram | Lines


def columns_of(plot: Plot) -> tuple[str, ...]:
    """Return the headings of the table with the plot's data."""
    if isinstance(plot, Bars):
        return ("name", plot.axis.title, "from", "to", "n")
    if isinstance(plot, Histogram):
        return ("from", "to", plot.y.title)
    return ("line", plot.x.title, plot.y.title, "from", "to")


def rows_of(plot: Plot) -> Iterator[tuple[Any, ...]]:
    """Yield the rows of the table with the plot's data."""
    if isinstance(plot, Bars):
        yield from ((bar.name, bar.value, bar.low, bar.high, bar.n) for bar in plot.bars)
    elif isinstance(plot, Histogram):
        yield from zip(plot.borders, plot.borders[1:], plot.counts, strict=False)
    else:
        for line in plot.lines:
            band = {x: (low, high) for x, low, high in line.band}
            yield from ((line.name, x, y, *band.get(x, (None, None))) for x, y in line.points)


def units_of(plot: Plot) -> tuple[str, ...]:
    """Return the unit of each column of that table."""
    if isinstance(plot, Bars):
        return ("text", plot.axis.unit, plot.axis.unit, plot.axis.unit, "count")
    if isinstance(plot, Histogram):
        return (plot.x.unit, plot.x.unit, plot.y.unit)
    return ("text", plot.x.unit, plot.y.unit, plot.y.unit, plot.y.unit)


def is_finite(*values: float | None) -> bool:
    """Return whether all values are finite numbers."""
    return all(value is not None and math.isfinite(value) for value in values)
