"""What the last check of a release found, kept beside its report: numbers only, as the report is public."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from typing import Any

from anon_batch.errors import ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.pipeline.run import now
from anon_batch.release.verify import verify
from anon_batch.storage import Storage, join


@dataclasses.dataclass(frozen=True, slots=True)
class Verdict:
    """A check of a release.

    Args:
        run_id: of the release that was checked.
        stats_sha256: of its stats.json, so that a verdict on another state is known as such.
        checked_at: UTC, ISO 8601.
        rows, accounted, objects: rows of the release, those that a commit accounts for, pictures read.
        faults_count: what was wrong.
        with_ledger: whether its rows were held against the ledger's.
    """

    run_id: str
    stats_sha256: str
    checked_at: str
    rows: int
    accounted: int
    objects: int
    faults_count: int
    with_ledger: bool


def check_release(
    storage: Storage, output: str, ledger: str | None, run_id: str, stats: bytes
) -> tuple[Verdict, list[str]]:
    """Verifies a release and keeps the verdict.

    Args:
        storage: where it lies.
        output: its absolute address.
        ledger: its ledger; None checks the public part alone.
        run_id: of the release.
        stats: its stats.json.

    Returns:
        The verdict, and the faults in words, which may name the ledger: not for the report.

    Raises:
        StorageError, IntegrityError: as `verify`.
    """
    for step in verify(storage, output, ledger):
        found = step
    verdict = Verdict(
        run_id,
        hashlib.sha256(stats).hexdigest(),
        now(),
        found.rows,
        found.accounted,
        found.objects,
        found.faults_count,
        ledger is not None,
    )
    storage.put(join(output, layout.REPORT_VERDICT), json.dumps(dataclasses.asdict(verdict), indent=1).encode())
    return verdict, found.faults


def kept_verdict(storage: Storage, output: str, run_id: str, stats: bytes) -> Verdict | None:
    """The verdict of the last check; None if there was none, or if it was on another state of the release."""
    try:
        fields: Any = json.loads(storage.read(join(output, layout.REPORT_VERDICT)))
        verdict = Verdict(**fields)
    except (ObjectNotFoundError, ValueError, TypeError):
        return None
    kinds = {"str": str, "int": int, "bool": bool}
    if any(type(getattr(verdict, f.name)) is not kinds[str(f.type)] for f in dataclasses.fields(Verdict)):
        return None
    current = (run_id, hashlib.sha256(stats).hexdigest())
    return verdict if (verdict.run_id, verdict.stats_sha256) == current else None
