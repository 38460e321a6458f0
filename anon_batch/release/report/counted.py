"""What the run itself counted, as measures: missed faces and what the residual check left."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anon_batch.formats.evidence_json import Table
from anon_batch.stats.figure import Figure
from anon_batch.stats.missed_figures import missed_figures
from anon_batch.stats.residual import residual_figures

_RECALL = "residual.recall"


def counted(summary: Mapping[str, Any]) -> tuple[dict[str, Figure], dict[str, Table]]:
    """Return figures and tables by name.

    Raises:
        KeyError, TypeError, ValueError: `summary` is not one of stats.json.
    """
    figures, tables = missed_figures(summary)
    residual = residual_figures(summary)
    return {**figures, **residual}, {**tables, **recall_by_size(residual)}


def recall_by_size(figures: Mapping[str, Figure]) -> dict[str, Table]:
    """Return a table of the figures `residual.recall.FROM_TO`, shares of planted faces by size; none without them."""
    bands = {name.removeprefix(f"{_RECALL}."): own for name, own in figures.items() if name.startswith(f"{_RECALL}.")}
    if not bands:
        return {}
    rows = tuple((f"{band.replace('_', ' to ')} px", own) for band, own in bands.items())
    note = "Synthetic faces planted on copies that are not published. What the check misses here, it misses in the release too."
    return {_RECALL: Table("Planted faces that the residual check found, by size", ("size", "found"), rows, note)}
