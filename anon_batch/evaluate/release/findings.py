"""Figures and tables by the names of the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anon_batch.formats.evidence_json import Table
from anon_batch.stats.figure import Figure


@dataclass(frozen=True, slots=True)
class Findings:
    """What a measure tells.

    Args:
        figures, tables: as in `Evidence`.
    """

    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
