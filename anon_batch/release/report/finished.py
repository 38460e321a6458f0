"""Open a finished release for its report."""

from __future__ import annotations

from dataclasses import dataclass

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.formats.stats_json import StatsJson


@dataclass(frozen=True, slots=True)
class FinishedRelease:
    """A finished release with its public descriptions.

    Args:
        release: on storage.
        run: its run.json.
        stats: its stats.json.
        gates: its gates.json.
    """

    release: Release
    run: RunJson
    stats: StatsJson
    gates: Gates


def read_finished(release: Release) -> FinishedRelease:
    """Read the descriptions of a finished release.

    Raises:
        ConfigError: there is no release, or it is not finished.
        IntegrityError: run.json, stats.json or gates.json is damaged or missing.
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
    return FinishedRelease(release, record, release.read_stats(), gates)
