"""Prints what was measured about a release."""

from __future__ import annotations

from collections.abc import Callable

from rich.table import Table

from anon_batch.cli.console import out
from anon_batch.formats.evidence_json import Cell, Evidence
from anon_batch.formats.evidence_json import Table as EvidenceTable
from anon_batch.stats.figure import Figure
from anon_batch.units import format_share

_NUMBERS = ("naturalness.", "utility.frechet", "utility.kernel", "groups.")  # figures that are no shares
_Format = Callable[[float | None], str]


def show_evidence(evidence: Evidence) -> None:
    """Print all figures, then all tables, then what was not measured."""
    sample = evidence.sample
    out.print(f"{sample.rows:,} of {sample.of:,} rows, seed {sample.seed}", markup=False)
    measured = {name: own for name, own in evidence.figures.items() if own.value is not None}
    missing = {name: own.note for name, own in evidence.figures.items() if own.value is None}
    if measured:
        out.print(_figures(measured))
        for name, figure in measured.items():
            if figure.note:
                out.print(f"{name}: {figure.note}", markup=False)
    for table in evidence.tables.values():
        if table.rows:
            out.print()
            out.print(table.title, markup=False)
            out.print(_table(table))
    out.print()
    for name, why in {**missing, **evidence.skipped}.items():
        out.print(f"not measured: {name}: {why.removeprefix('not measured: ')}", markup=False)


def _figures(figures: dict[str, Figure]) -> Table:
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("figure", no_wrap=True)
    for name in ("value", "95 % interval"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("of", overflow="fold")
    for name, figure in figures.items():
        of = "" if figure.n is None else f"{figure.n:,} {figure.unit}"
        show = format_number if name.startswith(_NUMBERS) else format_share
        table.add_row(name, show(figure.value), _interval(figure, show), of)
    return table


def _table(table: EvidenceTable) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(table.columns):
        is_text = all(isinstance(row[at], str) for row in table.rows)
        drawn.add_column(name, justify="left" if is_text else "right", no_wrap=at > 0, overflow="fold")
    for row in table.rows:
        drawn.add_row(*(_cell(cell) for cell in row))
    return drawn


def _cell(cell: Cell) -> str:
    if isinstance(cell, Figure):
        show = _of_cell(cell.value)
        interval = _interval(cell, show)
        return f"{show(cell.value)} ({interval})" if interval else show(cell.value)
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else _of_cell(cell)(cell)


def format_number(value: float | None) -> str:
    """Return a number with three digits, e.g. `0.96`; `-` for None."""
    return "-" if value is None else f"{value:,.3g}"


def _of_cell(value: float | None) -> _Format:
    """Return how a cell is shown: what may be a share as percent."""
    return format_share if value is None or 0 <= value <= 2 else format_number


def _interval(figure: Figure, show: _Format) -> str:
    low, high = figure.low, figure.high
    if low is None and high is None:
        return ""
    if low is None:
        return f"at most {show(high)}"
    if high is None:
        return f"at least {show(low)}"
    return f"{show(low)} to {show(high)}"
