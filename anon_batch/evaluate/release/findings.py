"""Figures, tables and curves by the names of the evidence."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anon_batch.formats.evidence_json import Curve, Table
from anon_batch.stats.figure import Figure


@dataclass(frozen=True, slots=True)
class Findings:
    """What a measure tells.

    Args:
        figures, tables, curves: as in `Evidence`.
        models: `name@sha256` of the networks that measured.
    """

    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    models: tuple[str, ...] = ()
