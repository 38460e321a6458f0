"""The document that keeps the figures: a block a section, between two marker comments, made anew by a later run."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from benchmarks import tables
from benchmarks.sections import SECTIONS

SUMMARY = "summary"
_BUSY = 0.1  # share of the machine that others may take before a figure is called noisy

Figures = Mapping[str, Mapping[str, Any]]
"""Section -> its figures, as `sections.SECTIONS[name].measure` gave them, with `circumstances`."""


class MarkerError(Exception):
    """A document without the place for a block; the message says what is missing."""


def markdown(sections: Figures) -> str:
    """All sections as a document of their own."""
    parts = [f"## Summary\n\n{_summary(sections).markdown()}"]
    parts += [f"## {SECTIONS[name].title}\n\n{section(name, figures)}" for name, figures in sections.items()]
    return "\n\n".join(parts) + "\n"


def section(name: str, figures: Mapping[str, Any]) -> str:
    """Tables of one section in Markdown, and where and when they were measured."""
    found = [table.markdown() for table in SECTIONS[name].tables(figures)]
    return "\n\n".join([*found, *_notes(figures)])


def terminal(sections: Figures) -> str:
    """Tables of all sections for a terminal; what matters most comes last."""
    parts = []
    for name, figures in sections.items():
        lines = [f"{SECTIONS[name].title} ({name})", *(table.text() for table in SECTIONS[name].tables(figures))]
        parts.append("\n".join([*lines, *(f"  {note}" for note in _notes(figures))]))
    parts.append(f"Ratios (median of the rounds, least to most) and limits\n{_summary(sections).text()}")
    return "\n\n".join(parts)


def filled(text: str, sections: Figures) -> str:
    """The document with the blocks of these sections made anew, and the summary when all sections but `gpu` are there.

    Raises:
        MarkerError: a block has no place, or two.
    """
    for name, figures in sections.items():
        text = _replaced(text, name, section(name, figures))
    if set(SECTIONS) - {"gpu"} <= set(sections):
        text = _replaced(text, SUMMARY, _summary(sections).markdown())
    return text


def check_places(text: str, names: Iterable[str]) -> None:
    """Whether the document has a place for the blocks of these sections.

    Raises:
        MarkerError: one has none, or two.
    """
    for name in names:
        _replaced(text, name, "")


def _summary(sections: Figures) -> tables.Table:
    noisy = [name for name, figures in sections.items() if _is_noisy(figures)]
    said = (f"NOISY, as other programs were at work meanwhile: {', '.join(noisy)}. No evidence; measure again.",)
    return tables.summary(sections, said if noisy else ())


def _replaced(text: str, name: str, block: str) -> str:
    begin, end = markers(name)
    if text.count(begin) != 1 or text.count(end) != 1 or text.index(begin) > text.index(end):
        raise MarkerError(f"no place for section {name}: the document needs the lines {begin} and {end}, each once")
    head, _, rest = text.partition(begin)
    _, _, tail = rest.partition(end)
    return f"{head}{begin}\n{block}\n{end}{tail}"


def markers(name: str) -> tuple[str, str]:
    """The two comments around a block."""
    return f"<!-- bench:{name}:begin -->", f"<!-- bench:{name}:end -->"


def _notes(figures: Mapping[str, Any]) -> list[str]:
    if "circumstances" not in figures:
        return []
    known = figures["circumstances"]
    machine, others = known["machine"], known["others_share"]
    place = (
        f"{known['measured_at'][:10]}, {machine['cpu_count']} x {machine['cpu']}, {machine['memory_bytes'] / 2**30:.0f} GiB, "
        f"Python {machine['python']}, anon-batch {machine['versions']['anon-batch']}, rounds: {known['rounds']}"
    )
    if others is None:
        return [f"Measured {place}."]
    said = f"other programs took {tables.share(others)} of the machine meanwhile"
    return [f"Measured {place}; {said}{': NOISY, measure again' if _is_noisy(figures) else ''}."]


def _is_noisy(figures: Mapping[str, Any]) -> bool:
    others = figures.get("circumstances", {}).get("others_share")
    return "ratios" in figures and others is not None and others > _BUSY  # without a GPU nothing was measured there
