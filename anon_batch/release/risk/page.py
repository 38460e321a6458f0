"""risk.md: the worksheet for people, with every entry of risk.json and in its order."""

from __future__ import annotations

from importlib import resources
from itertools import groupby

from jinja2 import Environment, StrictUndefined

from anon_batch.formats import layout
from anon_batch.release.markdown import plain, prose
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.release.report.words import format_interval, format_number, format_percent
from anon_batch.release.risk.entries import Entry
from anon_batch.release.risk.framework import CLAUSES, CRITERIA, PROCESSING, SOURCES
from anon_batch.release.risk.worksheet import Worksheet, fill_worksheet
from anon_batch.stats.figure import Figure
from anon_batch.units import format_count

_TEMPLATE = "risk.md.jinja"
_TITLES = {criterion.name: criterion.title for criterion in CRITERIA}
_MISSING = {"not_measured": "not measured", "not_stated": "not stated by the owner"}


def write_risk(finished: FinishedRelease) -> None:
    """Write risk.json and risk.md.

    Raises:
        StorageError: one cannot be written.
    """
    worksheet = fill_worksheet(finished)
    finished.release.put(layout.RISK, worksheet.to_json())
    finished.release.put(layout.RISK_PAGE, render_risk(worksheet).encode("utf-8", errors="backslashreplace"))


def render_risk(worksheet: Worksheet) -> str:
    """Return risk.md; the same worksheet gives the same text."""
    environment = Environment(  # noqa: S701  the text is Markdown, and `plain` escapes what would be more
        undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True, keep_trailing_newline=True
    )
    environment.filters.update(plain=plain, count=format_count, value=_value, interval=_interval, basis=_basis)
    cells = {
        number: [
            (
                " and ".join(_TITLES[name].lower() for name in cell.criteria)
                if len(cell.criteria) < 3
                else "all three",
                entry,
            )
            for cell in own
            for entry in cell.entries
        ]
        for number, own in groupby(worksheet.cells, key=lambda cell: cell.clause)
    }
    return environment.from_string(resources.files(__package__).joinpath(_TEMPLATE).read_text(encoding="utf-8")).render(
        worksheet=worksheet,
        groups=[(group, list(clauses)) for group, clauses in groupby(CLAUSES, key=lambda clause: clause.group)],
        cells=cells,
        criteria=CRITERIA,
        processing=PROCESSING,
        sources=SOURCES,
        states=worksheet.states,
    )


def _value(entry: Entry) -> str:
    """Return the number as people say it, the owner's words, or that there is none."""
    if entry.value is None:
        return plain(entry.text or _MISSING[entry.state])
    return format_percent(entry.value) if entry.measure == "share" else format_number(entry.value)


def _interval(entry: Entry) -> str:
    """Return `12 % to 15 %`, `none, all counted`, or nothing."""
    if entry.state == "counted":
        return "all counted"
    if entry.value is None:
        return ""
    return format_interval(Figure(entry.value, entry.low, entry.high), entry.measure or "number") or "none"


def _basis(entry: Entry) -> str:
    """Return where the entry is from, or what it needs, with what a reader must know."""
    note = prose(entry.note.removeprefix("not measured: "))
    if not entry.is_answered:
        command = f" (`{entry.command}`)" if entry.command else ""
        return f"needs {entry.needs}{command}{f'; {note}' if note and not note.endswith('measures it') else ''}"
    source = f"`{entry.command}`" if entry.command else f"`{entry.source}`"
    return f"{source}: {note}" if note else source
