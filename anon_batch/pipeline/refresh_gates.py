"""Evaluate the gates of a finished release again, because its evidence has changed."""

from __future__ import annotations

from anon_batch.config import GatesConfig, validate
from anon_batch.formats import layout
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.release import Release
from anon_batch.pipeline.gates import evaluate_gates
from anon_batch.pipeline.kept_evidence import read_kept_evidence


def refresh_gates(release: Release) -> Gates:
    """Evaluate the gates of a finished release with the evidence that it has now; write and return them.

    Every command that writes evaluation.json or review.json calls it.

    Raises:
        ConfigError: there is no release.
        IntegrityError: run.json or stats.json is damaged or missing.
    """
    record, stats = release.read_run_json(), release.read_stats()
    limits = validate(GatesConfig, record.gates, f"{layout.RUN}: gates")
    gates = evaluate_gates(stats, limits, read_kept_evidence(release, record.run_id, stats))
    release.write_gates(gates)
    return gates
