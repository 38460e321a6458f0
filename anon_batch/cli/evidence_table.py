"""Prints what was measured about a release: plain lines that are never cut, because a log has no width."""

from __future__ import annotations

from collections.abc import Sequence

from anon_batch.cli.console import out
from anon_batch.formats.evidence_json import Cell, Evidence, Table
from anon_batch.release.report.vocabulary import unit_of, unit_of_column
from anon_batch.release.report.words import format_interval, format_value
from anon_batch.stats.figure import Figure

_NOT_MEASURED = "not measured: "


def show_evidence(evidence: Evidence) -> None:
    """Print all figures, what must be known about them, all tables, and what was not measured."""
    sample = evidence.sample
    out.print(f"{sample.rows:,} of {sample.of:,} rows, seed {sample.seed}\n", markup=False)
    measured = {name: own for name, own in evidence.figures.items() if own.value is not None}
    if measured:
        _print(("figure", "value", "95 % interval", "of"), [_row(*item) for item in measured.items()], {1, 2})
        out.print()
    for note, names in _by_text({name: own.note for name, own in measured.items() if own.note}):
        out.print(f"{names}: {note}", markup=False)
    for name, table in evidence.tables.items():
        if table.rows:
            _print_table(name, table)
    out.print()
    missing = {name: own.note for name, own in evidence.figures.items() if own.value is None}
    for why, names in _by_text({**missing, **evidence.skipped}):
        out.print(f"not measured: {names}: {why.removeprefix(_NOT_MEASURED)}", markup=False)


def _by_text(texts: dict[str, str]) -> list[tuple[str, str]]:
    """Return each text once, with all names that it is about."""
    names: dict[str, list[str]] = {}
    for name, text in texts.items():
        names.setdefault(text, []).append(name)
    return [(text, ", ".join(own)) for text, own in names.items()]


def _row(name: str, figure: Figure) -> tuple[str, ...]:
    unit = unit_of(name, figure.value, figure.low, figure.high)
    of = "" if figure.n is None else f"{figure.n:,} {figure.unit}"
    return name, format_value(figure.value, unit), format_interval(figure, unit), of


def _print_table(name: str, table: Table) -> None:
    columns = [_column(name, heading, [row[at] for row in table.rows]) for at, heading in enumerate(table.columns)]
    right = {at for at in range(len(columns)) if not all(isinstance(row[at], str) for row in table.rows)}
    out.print(f"\n{table.title}", markup=False)
    _print(table.columns, list(zip(*columns, strict=True)), right)


def _column(name: str, heading: str, cells: Sequence[Cell]) -> list[str]:
    whole = all(isinstance(cell, int | str | None) for cell in cells)
    unit = "count" if whole else unit_of_column(name, heading, *map(_number, cells))
    return [_cell(cell, unit) for cell in cells]


def _cell(cell: Cell, unit: str) -> str:
    if not isinstance(cell, Figure):
        return format_value(cell, unit)
    interval = format_interval(cell, unit)
    return f"{format_value(cell.value, unit)} ({interval})" if interval else format_value(cell.value, unit)


def _number(cell: Cell) -> float | None:
    value = cell.value if isinstance(cell, Figure) else cell
    return None if isinstance(value, str) else value


def _print(headings: Sequence[str], rows: Sequence[Sequence[str]], right: set[int]) -> None:
    """Print aligned columns; those in `right` to the right."""
    widths = [max(len(row[at]) for row in (headings, *rows)) for at in range(len(headings))]
    for row in (headings, *rows):
        cells = [
            cell.rjust(n) if at in right else cell.ljust(n)
            for at, (cell, n) in enumerate(zip(row, widths, strict=True))
        ]
        out.print("  ".join(cells).rstrip(), markup=False, style="bold" if row is headings else None)
