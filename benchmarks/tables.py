"""Figures as tables, for a terminal and in Markdown."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from benchmarks.accuracy import BANDS, Scores

NONE = "-"


@dataclass(frozen=True, slots=True)
class Table:
    """Cells of text.

    Args:
        columns: names.
        rows: as long as `columns`.
        notes: lines below.
        texts: how many of the columns, from the first, hold text and not figures.
    """

    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    notes: tuple[str, ...] = ()
    texts: int = 1

    def __post_init__(self) -> None:
        if any(len(row) != len(self.columns) for row in self.rows):
            raise ValueError(f"rows of {sorted({len(row) for row in self.rows})} cells, {len(self.columns)} columns")

    def text(self) -> str:
        """Aligned columns."""
        lines = (self.columns, *self.rows) if self.rows else ()
        widths = [max(map(len, cells)) for cells in zip(*lines, strict=True)]
        shown = ["  ".join(self._padded(line, widths)).rstrip() for line in lines]
        return "\n".join(f"  {line}" for line in [*shown, *self.notes])

    def markdown(self) -> str:
        """A table in Markdown, notes as paragraphs."""
        lines = []
        if self.rows:
            marks = ["---" if at < self.texts else "---:" for at in range(len(self.columns))]
            lines = [f"| {' | '.join(_escaped(line))} |" for line in (self.columns, marks, *self.rows)]
        return "\n\n".join(part for part in ("\n".join(lines), *self.notes) if part)

    def _padded(self, cells: Sequence[str], widths: Sequence[int]) -> list[str]:
        pairs = enumerate(zip(cells, widths, strict=True))
        return [cell.ljust(width) if at < self.texts else cell.rjust(width) for at, (cell, width) in pairs]


def _escaped(cells: Sequence[str]) -> list[str]:
    return [cell.replace("|", "\\|") for cell in cells]


def number(value: float | None, digits: int = 1) -> str:
    """With thousands separated; a dash for None."""
    return NONE if value is None else f"{value:,.{digits}f}"


def share(value: float | None) -> str:
    """Percent with one digit; a dash for None."""
    return NONE if value is None else f"{value:.1%}"


def ratio_cell(found: Mapping[str, Any] | None) -> str:
    """Median of the rounds, and their least and most where there are several."""
    if found is None:
        return NONE
    if len(found["each"]) == 1:
        return f"{found['median']:.2f}"
    return f"{found['median']:.2f} ({found['least']:.2f} to {found['most']:.2f})"


def contender_rows(figures: Mapping[str, Any], labels: Mapping[str, str], under: str) -> tuple[tuple[str, ...], ...]:
    """A row a contender: label, images/s, CPU ms a picture, ratio to the contender `under`."""
    return tuple(
        (
            label,
            number(figures["contenders"][name]["median_images_per_s"], _digits(figures, name)),
            number(figures["contenders"][name]["median_cpu_ms"]),
            "1" if name == under else ratio_cell(figures["ratios"].get(f"{name} / {under}")),
        )
        for name, label in labels.items()
    )


def _digits(figures: Mapping[str, Any], name: str) -> int:
    return 1 if figures["contenders"][name]["median_images_per_s"] >= 10 else 2


def score_rows(scores: Mapping[str, Scores], labels: Mapping[str, str]) -> tuple[tuple[str, ...], ...]:
    """A row a contender: label, then recall and precision among faces of all sizes, recall from 16 px."""
    every, large = BANDS
    return tuple(
        (
            label,
            number(scores[name][every]["recall"], 3),
            number(scores[name][large]["recall"], 3),
            number(scores[name][every]["precision"], 3),
        )
        for name, label in labels.items()
        if name in scores
    )


def summary(sections: Mapping[str, Mapping[str, Any]], notes: tuple[str, ...] = ()) -> Table:
    """Every ratio and check of every section, with its target and whether it is met."""
    rows: list[tuple[str, ...]] = []
    for section, figures in sections.items():
        rows += [(section, name, *_ratio_cells(found)) for name, found in figures.get("ratios", {}).items()]
        rows += [(section, name, *_check_cells(found)) for name, found in figures.get("checks", {}).items()]
    return Table(("section", "figure", "measured", "target", ""), tuple(rows), notes, texts=2)


def _ratio_cells(found: Mapping[str, Any]) -> Iterable[str]:
    target = f"at least {found['target']:g}" if "target" in found else ""
    return ratio_cell(found), target, _verdict(found)


def _check_cells(found: Mapping[str, Any]) -> Iterable[str]:
    word = "at most" if found["at_most"] else "at least"
    return (
        _quantity(found["value"], found["unit"]),
        f"{word} {_quantity(found['limit'], found['unit'])}",
        _verdict(found),
    )


def _quantity(value: float, unit: str) -> str:
    return (
        share(value)
        if unit == "share"
        else f"{value:.3g} {unit}".strip()
        if value < 100
        else f"{value:,.0f} {unit}".strip()
    )


def _verdict(found: Mapping[str, Any]) -> str:
    return {True: "met", False: "MISSED"}.get(found.get("met"), "")  # type: ignore[arg-type]
