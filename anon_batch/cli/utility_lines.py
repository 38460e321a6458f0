"""Utility in what `anon-batch evaluate` prints: rows of its table, and what a reader must not miss below it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

from anon_batch.stats.figure import Figure

if TYPE_CHECKING:
    from anon_batch.evaluate.measures import Measures
    from anon_batch.evaluate.utility.findings import Findings

_MOST_LINES = 8  # for one method
_NUMBERS = {
    "utility.kernel": "kernel distance, images",
    "utility.kernel.faces": "kernel distance, faces",
    "utility.frechet": "Frechet distance, images",
    "utility.frechet.faces": "Frechet distance, faces",
}


def utility_rows(findings: Findings | None) -> dict[tuple[str, str], str]:
    """Return (section, label) -> text, of what was measured."""
    if findings is None:
        return {}
    figures, rows = findings.figures, {}
    if figures["utility.canary"].value is not None:
        rows = {
            ("canary", "canary: accuracy, learnt from originals"): _percent(figures["utility.canary.before"]),
            ("canary", "  learnt from anonymized images"): _percent(figures["utility.canary.after"]),
            ("canary", "  change"): _points(figures["utility.canary"]),
            ("canary", "  change, tested on anonymized images"): _points(figures["utility.canary.anonymized"]),
            ("canary", "  classes that changed"): _of(figures["utility.classes.changed"]),
        }
    for name, label in _NUMBERS.items():
        if (own := figures.get(name)) is not None and own.value is not None:
            rows[name, label] = f"{own.value:.3g}"
    if figures["groups.gap"].value is not None:
        rows["groups", "faces found again: largest gap of groups"] = _percent(figures["groups.gap"])
    return rows


def utility_lines(measures: Measures) -> Iterator[str]:
    """Yield a line for each class and each group of generated faces that differs more than chance explains."""
    for method, own in measures.methods.items():
        if own.utility is not None:
            lines = [*_classes(own.utility), *_groups(own.utility)]
            yield from (f"{method}: {line}" for line in lines[:_MOST_LINES])
            if len(lines) > _MOST_LINES:
                yield f"{method}: and {len(lines) - _MOST_LINES} more in measures.json"


def _classes(findings: Findings) -> Iterator[str]:
    for cells in _rows(findings, "utility.classes"):
        if cells["verdict"]:
            change = cells["change"]
            yield (
                f"class {cells['class']}: accuracy {cells['before']:.0%} -> {cells['after']:.0%} "
                f"({change.n} images, corrected p = {cells['corrected p']:.2g})"
            )


def _groups(findings: Findings) -> Iterator[str]:
    for name in findings.tables:
        if not name.startswith("groups."):
            continue
        for cells in _rows(findings, name):
            for measure in cells["verdict"].removeprefix("worse: ").split(", ") if cells["verdict"] else ():
                yield (
                    f"generated faces, {name.removeprefix('groups.')} {cells['group']}: worse than the others, {measure} "
                    f"{cells[measure].value:.2f} (corrected p = {cells[f'{measure}: p']:.2g})"
                )


def _rows(findings: Findings, name: str) -> Iterator[Mapping[str, Any]]:
    table = findings.tables.get(name)
    if table is not None:
        for row in table.rows:
            yield dict(zip(table.columns, row, strict=True))


def _percent(figure: Figure) -> str:
    return "" if figure.value is None else f"{figure.value:.1%}"


def _points(figure: Figure) -> str:
    if figure.value is None:
        return ""
    interval = (
        "" if figure.low is None or figure.high is None else f" ({100 * figure.low:+.1f} to {100 * figure.high:+.1f})"
    )
    return f"{100 * figure.value:+.1f}{interval}"


def _of(figure: Figure) -> str:
    return "" if figure.value is None else f"{figure.value:.0f} of {figure.n}"
