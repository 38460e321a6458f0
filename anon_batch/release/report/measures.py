"""What was measured, from the run, the review and the evaluation, in one place: figures, tables and curves by dotted name."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from anon_batch.formats import layout
from anon_batch.formats.evidence_json import Curve, Evidence, Sample, Table
from anon_batch.pipeline.kept_evidence import KeptEvidence
from anon_batch.stats.figure import Figure

_ORIGINS = {layout.REVIEW: "review", layout.EVALUATION: "evaluation"}


@dataclass(frozen=True, slots=True)
class Measures:
    """Measures of a release.

    Args:
        figures, tables, curves: by dotted name; the first part of a name is its subject, for example `missed`.
        skipped: measure -> why it was not taken.
        samples: `review` or `evaluation` -> (which rows were measured, when).
        models: `name@sha256` of the networks that measured.
        refused: file -> why its measures do not count.
    """

    figures: Mapping[str, Figure] = field(default_factory=dict)
    tables: Mapping[str, Table] = field(default_factory=dict)
    curves: Mapping[str, Curve] = field(default_factory=dict)
    skipped: Mapping[str, str] = field(default_factory=dict)
    samples: Mapping[str, tuple[Sample, str]] = field(default_factory=dict)
    models: tuple[str, ...] = ()
    refused: Mapping[str, str] = field(default_factory=dict)

    def of(self, subjects: Iterable[str]) -> Measures:
        """Return the figures, tables, curves and skipped measures of some subjects."""
        wanted = frozenset(subjects)

        def own(named: Mapping[str, Any]) -> dict[str, Any]:
            return {name: value for name, value in named.items() if subject_of(name) in wanted}

        return Measures(own(self.figures), own(self.tables), own(self.curves), own(self.skipped))

    def measured(self, name: str) -> Figure | None:
        """Return a figure that has a value, else None."""
        figure = self.figures.get(name)
        return None if figure is None or figure.value is None else figure

    @property
    def subjects(self) -> frozenset[str]:
        """All subjects, in no order."""
        return frozenset(map(subject_of, (*self.figures, *self.tables, *self.curves, *self.skipped)))


def subject_of(name: str) -> str:
    """Return the first part of a dotted name."""
    return name.partition(".")[0]


def gather(
    figures: Mapping[str, Figure], tables: Mapping[str, Table], curves: Mapping[str, Curve], kept: KeptEvidence
) -> Measures:
    """Return what the run counted together with what was measured after it; of two figures of one name, the later counts."""
    merged = Measures(dict(figures), dict(tables), dict(curves), refused=dict(kept.refused))
    for file, origin in _ORIGINS.items():
        if (evidence := kept.files.get(file)) is not None:
            merged = _with(merged, origin, evidence)
    return merged


def _with(known: Measures, origin: str, evidence: Evidence) -> Measures:
    return Measures(
        {**known.figures, **evidence.figures},
        {**known.tables, **evidence.tables},
        {**known.curves, **evidence.curves},
        {**known.skipped, **evidence.skipped},
        {**known.samples, origin: (evidence.sample, evidence.created_at)},
        tuple(dict.fromkeys((*known.models, *evidence.models))),
        known.refused,
    )
