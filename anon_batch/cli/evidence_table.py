"""Prints what was measured about a release."""

from __future__ import annotations

from rich.table import Table

from anon_batch.cli.console import out
from anon_batch.formats.evidence_json import Cell, Evidence
from anon_batch.formats.evidence_json import Table as EvidenceTable
from anon_batch.stats.figure import Figure
from anon_batch.units import format_share


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
        table.add_row(name, format_number(figure.value), _interval(figure), of)
    return table


def _table(table: EvidenceTable) -> Table:
    drawn = Table(box=None, pad_edge=False, header_style="bold")
    for at, name in enumerate(table.columns):
        is_text = all(isinstance(row[at], str) for row in table.rows)
        drawn.add_column(name, justify="left" if is_text else "right")
    for row in table.rows:
        drawn.add_row(*(_cell(cell) for cell in row))
    return drawn


def _cell(cell: Cell) -> str:
    if isinstance(cell, Figure):
        interval = _interval(cell)
        return f"{format_number(cell.value)} ({interval})" if interval else format_number(cell.value)
    if isinstance(cell, str):
        return cell
    return f"{cell:,}" if isinstance(cell, int) else format_number(cell)


def format_number(value: float | None) -> str:
    """Return a share up to 2 as percent, and any other number with four digits."""
    return format_share(value) if value is None or 0 <= value <= 2 else f"{value:,.4g}"


def _interval(figure: Figure) -> str:
    low, high = figure.low, figure.high
    if low is None and high is None:
        return ""
    if low is None:
        return f"at most {format_number(high)}"
    if high is None:
        return f"at least {format_number(low)}"
    return f"{format_number(low)} to {format_number(high)}"
