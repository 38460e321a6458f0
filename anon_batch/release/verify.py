"""Verify a release: every row once, every image there, every digest right, no metadata, no orphan."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

from anon_batch.errors import IntegrityError, ObjectNotFoundError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.release.verification import Verification
from anon_batch.release.verify_descriptions import check_descriptions
from anon_batch.release.verify_parts import PartsChecker
from anon_batch.release.verify_persons import check_persons
from anon_batch.release.verify_summaries import check_destroyed, check_gates, check_names, check_totals, merged_summary
from anon_batch.release.verify_versions import check_versions

__all__ = ["Verification", "verify"]

_CHECKERS = 4


def verify(release: Release, ledger: Ledger | None, *, described: bool = True) -> Iterator[Verification]:
    """Check a release, shard by shard.

    Args:
        release: what to check.
        ledger: its ledger, whose rows the provenance must match; None checks the public files alone, that is, row numbers
            without gaps, but not the rows' ids.
        described: check what `anon-batch release` wrote too; false for a caller who is about to write it again.

    Yields:
        The same growing record after every shard; the last one is the verdict.

    Raises:
        ConfigError: there is no release.
        IntegrityError: run.json is damaged.
        StorageError: storage fails or refuses.
    """
    record = release.read_run_json()
    result = Verification(rows=record.rows)
    checker = PartsChecker(release, record, result)
    kept = checker.check_coverage()
    planned = None if ledger is None else checker.planned_rows(ledger)
    private = ledger if planned is not None else None
    with ThreadPoolExecutor(_CHECKERS) as pool:
        for spec in kept:
            try:
                checker.check_shard(spec, planned, pool, private)
            except (IntegrityError, ObjectNotFoundError) as exc:
                result.fault(str(exc))
            yield result
    check_names(release, record, checker.names, result)
    try:
        for fault in check_versions(release, record, checker.erased):
            result.fault(fault)
    except (IntegrityError, ObjectNotFoundError) as exc:
        result.fault(str(exc))
    merged = merged_summary(release, checker.stats, with_private=private is not None)
    check_totals(release, record, merged, result)
    check_gates(release, record, merged, result)
    check_destroyed(release, record, ledger, result)
    check_persons(record, private, result)
    if described:
        check_descriptions(release, record, result)
    yield result
