"""Open a finished release for its report."""

from __future__ import annotations

from dataclasses import dataclass, field

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.current_run import current_run
from anon_batch.formats.destroyed_json import Destroyed
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline.kept_evidence import KeptEvidence, read_kept_evidence
from anon_batch.release.report.timeline import Timeline, read_timeline


@dataclass(frozen=True, slots=True)
class FinishedRelease:
    """A finished release with its public descriptions.

    Args:
        release: on storage.
        run: its run.json, with the settings of the current version.
        stats: its stats.json.
        gates: its gates.json.
        evidence: what was measured about it after its run.
        timeline: when its rows were committed; None if that cannot be read.
        destroyed: what is recorded as destroyed of its ledger and its keys.
    """

    release: Release
    run: RunJson
    stats: StatsJson
    gates: Gates
    evidence: KeptEvidence = field(default_factory=KeptEvidence)
    timeline: Timeline | None = None
    destroyed: Destroyed = field(default_factory=lambda: Destroyed(""))


def read_finished(release: Release) -> FinishedRelease:
    """Read the descriptions of a finished release.

    Raises:
        ConfigError: there is no release, or it is not finished.
        IntegrityError: run.json, stats.json or gates.json is damaged or missing, or destroyed.json is damaged.
    """
    record = release.read_run_json()
    if not record.is_finished:
        raise ConfigError(
            f"{release.uri}: this run is not finished, so there is nothing to report yet; run the same job again to "
            "resume it (`anon-batch status` shows its progress)"
        )
    gates = release.read_gates()
    if gates is None:
        raise IntegrityError(f"{release.address(layout.GATES)}: missing; run the same job again to write it")
    stats = release.read_stats()
    return FinishedRelease(
        release,
        current_run(record, release.versions),
        stats,
        gates,
        read_kept_evidence(release, record.run_id, stats),
        read_timeline(release, record),
        release.read_destroyed(record.run_id),
    )
