"""Verify what describes a release as a whole: names of outputs, run.json, stats.json and gates.json."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Collection, Iterator, Mapping
from datetime import date, timedelta

from anon_batch.config import GatesConfig, validate
from anon_batch.errors import ConfigError, IntegrityError, ObjectNotFoundError
from anon_batch.formats import layout
from anon_batch.formats.destroyed_json import IDENTITY_KEY, LEDGER, LINK, RUN_KEY, SEAL
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson, now
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline.gates import evaluate_gates
from anon_batch.pipeline.kept_evidence import read_kept_evidence
from anon_batch.release.output_names import OutputNames
from anon_batch.release.verification import Verification
from anon_batch.stats import ShardStats, summarise

_FOREIGN = "not a file of the release; move it elsewhere, because the whole folder is published"
_ORPHANS = {
    layout.IMAGES: "no provenance row names it",
    layout.SHARDS: "no provenance row names it",
    layout.PROVENANCE: "not the name of a part",
}


_IMAGE_COUNTS = {
    "detection": ("images", "unsearched_images"),
    "missed": ("images", "unpublished_images"),
}  # what public parts say about the ground truth


def check_names(release: Release, record: RunJson, names: OutputNames, result: Verification) -> None:
    """Check that no two rows name one image, and that nothing lies below OUTPUT but what the release is made of."""
    described = layout.SINGLE_FILES | record.metadata_keys.keys()
    try:
        if duplicates := names.duplicates():
            result.fault(f"{duplicates} rows name an image that another row names too")
        for key in names.orphans(lambda: _listed(release, described)):
            result.fault(f"{key}: {_ORPHANS.get(key.partition('/')[0], _FOREIGN)}")
    except (IntegrityError, ObjectNotFoundError) as exc:
        result.fault(str(exc))


def _listed(release: Release, described: Collection[str]) -> Iterator[str]:
    """Yield the keys below OUTPUT that only a row can explain."""
    for info in release.objects(""):
        folder, _, name = info.key.partition("/")
        is_part = folder == layout.PROVENANCE and layout.parse_part(name) is not None
        is_version = (
            folder == layout.VERSIONS and (layout.parse_version(name) or release.version + 1) <= release.version
        )
        if not is_part and not is_version and info.key not in described:
            yield info.key


def merged_summary(release: Release, stats: ShardStats, *, with_private: bool) -> StatsJson:
    """Return what stats.json should hold.

    Args:
        release: its stats.json is believed about faces of the ground truth where the ledger, which alone knows them by
            shard, is not there. Numbers of images are checked all the same.
        stats: merged statistics of all parts.
        with_private: whether they come from the ledger.
    """
    summary = json.loads(json.dumps(summarise(stats)))
    if not with_private and stats.has_ground_truth:
        with contextlib.suppress(IntegrityError, KeyError, TypeError):  # which `check_totals` reports
            published = release.read_stats().summary
            for key, counts in _IMAGE_COUNTS.items():
                summary[key] = {**published[key], **{name: summary[key][name] for name in counts}}
    return StatsJson(summary)


def check_totals(release: Release, record: RunJson, merged: StatsJson, result: Verification) -> None:
    """Check that run.json and stats.json say what the parts say together."""
    if not record.is_finished:
        result.fault(f"{layout.RUN}: state is {record.state!r}, not 'finished'")
    if record.is_finished and _nonzero(record.statuses or {}) != _nonzero(result.statuses):
        result.fault(f"{layout.RUN}: statuses {record.statuses} differ from the parts' {dict(result.statuses)}")
    try:
        published = release.read_stats().summary
    except IntegrityError as exc:
        result.fault(str(exc))
        return
    expected = merged.summary
    if published != expected:
        keys = [key for key in expected if published.get(key) != expected[key]]
        result.fault(f"{layout.STATS}: differs from the sum of the parts in {', '.join(keys) or 'further keys'}")


def check_gates(release: Release, record: RunJson, merged: StatsJson, result: Verification) -> None:
    """Check that gates.json exists once the run is finished, and that it is what statistics and evidence give."""
    if not record.is_finished:
        return
    try:
        published = release.read_gates()
        limits = validate(GatesConfig, record.gates, f"{layout.RUN}: gates")
        for key in (layout.EVALUATION, layout.REVIEW):
            release.read_evidence(key)
        evidence = read_kept_evidence(release, record.run_id, merged)
        expected = evaluate_gates(merged, limits, evidence)
    except (IntegrityError, ConfigError) as exc:
        result.fault(str(exc))
        return
    if published is None:
        result.fault(f"{layout.GATES}: missing")
    elif published != expected:
        names = [gate.name for gate in expected.results if gate not in published.results]
        result.fault(f"{layout.GATES}: differs from statistics and evidence in {', '.join(names) or 'further gates'}")


def _nonzero(statuses: Mapping[str, int]) -> dict[str, int]:
    return {status: count for status, count in statuses.items() if count}


def _day_after(day: str) -> str:
    try:
        return (date.fromisoformat(day) + timedelta(days=1)).isoformat()
    except (ValueError, OverflowError):
        return day


def check_destroyed(release: Release, record: RunJson, ledger: Ledger | None, result: Verification) -> None:
    """Check that nothing is there any more which destroyed.json says was destroyed, or the owner promised to destroy."""
    try:
        destroyed = release.read_destroyed(record.run_id)
    except (IntegrityError, ConfigError) as exc:
        result.fault(str(exc))
        return
    until = record.compliance.get("retention_until")
    # Until the day has ended everywhere on earth, the promise is kept.
    if until is not None and destroyed.find(LEDGER) is None and now()[:10] > _day_after(until):
        result.fault(
            f"{layout.RUN}: says that the ledger is destroyed by {until}, and nothing says that it was; "
            "`anon-batch keys destroy ledger` destroys and records it"
        )
    for what, key in (
        (LEDGER, layout.LEDGER_PLAN),
        (RUN_KEY, layout.LEDGER_RUN_KEY),
        (IDENTITY_KEY, layout.LEDGER_IDENTITY_KEY),
        (SEAL, layout.LEDGER_SEALS),
        (LINK, layout.LEDGER_LINKS),
    ):
        own = destroyed.find(what)
        if own is not None and ledger is not None and ledger.storage.exists(ledger.address(key)):
            result.fault(
                f"{layout.DESTROYED}: says that the {what} was destroyed, but {ledger.address(key)} exists; "
                f"`anon-batch keys destroy {what.replace(' ', '-')}` deletes it"
            )
