"""Measures as blocks of the page: figures as a table, tables with bars, curves as lines; known names get words."""

from __future__ import annotations

from collections.abc import Iterator

from anon_batch.formats.evidence_json import Cell, Curve, Table
from anon_batch.release.report.document import Block, Drawn, Figures, NamedFigure, Rows, Text
from anon_batch.release.report.measures import Measures
from anon_batch.release.report.plots import Axis, Bar, Bars, Line, Lines
from anon_batch.release.report.vocabulary import label_of, unit_of, unit_of_column
from anon_batch.stats.figure import Figure
from anon_batch.units import format_count

MOST_BARS = 20
# Tables that hold the figures whose names begin with theirs.
_TABLED = ("missed.", "residual.recall")
# Tables whose worst rows are shown first: whether a high value is bad.
_WORST_IS_HIGH = {"missed": True, "utility": False}


def named(name: str, figure: Figure) -> NamedFigure:
    """Return a figure with its words and its unit."""
    return NamedFigure(name, label_of(name), figure, unit_of(name, figure.value, figure.low, figure.high))


def blocks_of(measures: Measures, anchor: str, title: str) -> Iterator[Block]:
    """Yield all measures: figures in one table, named by anchor and title, then each table with its bars, then each curve."""
    # Because a table, with its bars, shows the figures of its values already.
    tabled = tuple(f"{name}." for name in measures.tables if name.startswith(_TABLED))
    if figures := {name: own for name, own in measures.figures.items() if not tabled or not name.startswith(tabled)}:
        yield Figures(f"figures-{anchor}", title, tuple(map(named, figures, figures.values())))
    for name, curve in measures.curves.items():
        yield from curve_blocks(name, curve)
    for name, found in measures.tables.items():
        yield from table_blocks(name, found)
    for name, why in measures.skipped.items():
        yield Text(f"Not measured: {label_of(name)}: {why}", "note")


def table_blocks(name: str, found: Table) -> Iterator[Block]:
    """Yield the bars of a table's first column of figures, or the table if it has none; of many rows only the worst."""
    at = _figures_column(found)
    rows = list(found.rows)
    worst_is_high = _WORST_IS_HIGH.get(name.partition(".")[0])
    note = found.note
    if len(rows) > MOST_BARS:
        which = "first"
        if at is not None and worst_is_high is not None:
            rows.sort(key=lambda row: _badness(row[at], worst_is_high))
            which = "worst"
        rows = rows[:MOST_BARS]
        note = f"The {which} {MOST_BARS} of {format_count(len(found.rows))} rows. {note}".strip()
    units = tuple(_column_unit(name, found, index) for index in range(len(found.columns)))
    whole = Rows(f"table-{_anchor(name)}", Table(_titled(found), found.columns, tuple(rows), note), units)
    if at is None or sum(_figure(row[at]).value is not None for row in rows) < 2:
        yield whole
    else:
        yield Drawn(f"plot-{_anchor(name)}", _bars(name, found, at, rows, note), whole)


def curve_blocks(name: str, curve: Curve) -> Iterator[Block]:
    """Yield a curve as lines."""
    lines = tuple(
        Line(own, tuple((float(x), float(y)) for x, y in points)) for own, points in curve.lines.items() if points
    )
    if not lines:
        yield Text(f"{curve.title}: no points.", "note")
        return
    x = unit_of(name, *(x for line in lines for x, _ in line.points))
    y = unit_of(name, *(y for line in lines for _, y in line.points))
    about = f"{curve.y} over {curve.x}"
    axes = Axis(curve.x, x, curve.log_x), Axis(curve.y, y, curve.log_y)  # type: ignore[arg-type]
    yield Drawn(f"plot-{_anchor(name)}", Lines(_titled(curve), about, *axes, lines))


def _figures_column(found: Table) -> int | None:
    return next(
        (index for index in range(len(found.columns)) if any(isinstance(row[index], Figure) for row in found.rows)),
        None,
    )


def _bars(name: str, found: Table, at: int, rows: list[tuple[Cell, ...]], note: str) -> Bars:
    bars: list[Bar] = []
    said = _telling_columns(rows, at)
    for row in rows:
        cell = _figure(row[at])
        label = ", ".join(str(row[column]) for column in said) or str(len(bars) + 1)
        bars.append(Bar(label, cell.value, cell.low, cell.high, cell.n))
    unit = _column_unit(name, found, at)
    about = note or "Whiskers are the intervals, where there are any."
    return Bars(_titled(found), about, Axis(found.columns[at], unit), tuple(bars))  # type: ignore[arg-type]


def _telling_columns(rows: list[tuple[Cell, ...]], at: int) -> list[int]:
    """Return the columns of text before column `at` that differ between rows, or else the first."""
    texts = [column for column in range(at) if all(isinstance(row[column], str) for row in rows)]
    return [column for column in texts if len({row[column] for row in rows}) > 1] or texts[:1]


def _figure(cell: Cell) -> Figure:
    return cell if isinstance(cell, Figure) else Figure.missing("empty")


def _badness(cell: Cell, high_is_bad: bool) -> tuple[bool, float]:
    value = _figure(cell).value
    if value is None:
        return True, 0.0
    return False, -value if high_is_bad else value


def _column_unit(name: str, found: Table, index: int) -> str:
    cells = [row[index] for row in found.rows if row[index] is not None]
    heading = found.columns[index]
    if figures := [cell for cell in cells if isinstance(cell, Figure)]:
        return unit_of_column(name, heading, *(value for own in figures for value in (own.value, own.low, own.high)))
    if cells and all(type(cell) is int for cell in cells):
        return "count"
    if cells and all(type(cell) in (int, float) for cell in cells):
        return unit_of_column(name, heading, *map(float, cells))  # type: ignore[arg-type]
    return "text"


def _titled(found: Table | Curve) -> str:
    return found.title.rstrip(".")


def _anchor(name: str) -> str:
    return "".join(letter if letter.isascii() and letter.isalnum() else "-" for letter in name.lower())
