"""The verdict of the last check of a release, kept beside its report. It holds numbers only, because the report is public."""

from __future__ import annotations

import dataclasses
import json
from typing import Any

from anon_batch.errors import ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson, now
from anon_batch.formats.stats_json import StatsJson
from anon_batch.release.verification import Verification
from anon_batch.release.verify import verify


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """Result of a check of a release.

    Args:
        run_id: of the release that was checked.
        stats_sha256: of its stats.json, so that a verdict on another state is recognized.
        checked_at: UTC, ISO 8601.
        rows, accounted, objects: rows of the release, rows with a commit, images read.
        faults_count: number of faults.
        with_ledger: whether the rows were compared with those of the ledger.
    """

    run_id: str
    stats_sha256: str
    checked_at: str
    rows: int
    accounted: int
    objects: int
    faults_count: int
    with_ledger: bool


def check_release(release: Release, ledger: Ledger | None) -> tuple[Verdict, list[str]]:
    """Verify a release and keep the verdict.

    Args:
        release: a finished release.
        ledger: its ledger; None checks the public files alone.

    Returns:
        The verdict, and the faults as text. The text may name the ledger, so it does not belong into the report.

    Raises:
        StorageError, IntegrityError: as `verify`.
    """
    for step in verify(release, ledger, described=False):  # because the report that this stands in is described too
        found = step
    return keep_verdict(release, found, with_ledger=ledger is not None), found.faults


def keep_verdict(release: Release, found: Verification, *, with_ledger: bool) -> Verdict:
    """Write and return the verdict on the state that a release is in now.

    Args:
        release: a finished release.
        found: by `verify`.
        with_ledger: whether that compared it with the ledger.

    Raises:
        StorageError, IntegrityError: run.json or stats.json cannot be read, or the verdict not written.
    """
    record, stats = release.read_run_json(), release.read_stats()
    verdict = Verdict(
        record.run_id,
        stats.sha256,
        now(),
        found.rows,
        found.accounted,
        found.objects,
        found.faults_count,
        with_ledger,
    )
    release.put(layout.REPORT_VERDICT, json.dumps(dataclasses.asdict(verdict), indent=1).encode())
    return verdict


def kept_verdict(release: Release, record: RunJson, stats: StatsJson) -> Verdict | None:
    """Return the verdict of the last check; None if there was none, or if it was on another state of the release."""
    try:
        fields: Any = json.loads(release.read(layout.REPORT_VERDICT))
        verdict = Verdict(**fields)
    except (ObjectNotFoundError, ValueError, TypeError):
        return None
    kinds = {"str": str, "int": int, "bool": bool}
    if any(type(getattr(verdict, f.name)) is not kinds[str(f.type)] for f in dataclasses.fields(Verdict)):
        return None
    return verdict if (verdict.run_id, verdict.stats_sha256) == (record.run_id, stats.sha256) else None
