"""Whether a release is whole: every row once, every object there, every digest right, nothing but pixels inside."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from typing import Any

from anon_batch.errors import IntegrityError, ObjectNotFoundError, ResumeRefusedError
from anon_batch.formats import layout
from anon_batch.formats.part import PartMeta, read_meta, read_part
from anon_batch.formats.parts import committed
from anon_batch.formats.provenance import PROVENANCE_SCHEMA
from anon_batch.pipeline.run import read_plan, read_run_json
from anon_batch.pipeline.scan_manifest import read_rows
from anon_batch.records import STATUSES, ShardSpec
from anon_batch.release.output_names import Named
from anon_batch.release.verify_files import check_pictures
from anon_batch.shards import effective, gaps
from anon_batch.stats import ShardStats, merge
from anon_batch.storage import Storage, absolute, join

_CHECKERS = 4
_SHOWN_FAULTS = 100


@dataclass(slots=True)
class Verification:
    """What verify found.

    Args:
        rows: rows that the release must account for.
        accounted: rows that a commit accounts for.
        objects: output pictures that were read and checked.
        statuses: status -> rows.
        faults: what is wrong and where, the first hundred.
        faults_count: all of them.
    """

    rows: int
    accounted: int = 0
    objects: int = 0
    statuses: Counter[str] = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    faults_count: int = 0

    def fault(self, text: str) -> None:
        self.faults_count += 1
        if len(self.faults) < _SHOWN_FAULTS:
            self.faults.append(text)


@dataclass(slots=True)
class _Seen:
    """What the parts say, all of them together."""

    named: Named
    stats: ShardStats = field(default_factory=ShardStats)


def verify(storage: Storage, output: str, ledger: str | None) -> Iterator[Verification]:
    """Checks a release, shard by shard.

    Args:
        storage: where it lies.
        output: address of the release.
        ledger: its ledger, against whose rows the provenance is held; None checks the public part alone (row numbers without
            gap, but not their ids).

    Yields:
        The same growing record after every shard; the last one is the verdict.

    Raises:
        ConfigError: there is no release.
        IntegrityError: run.json is damaged.
        StorageError: storage fails or refuses.
    """
    base = absolute(output)
    record = read_run_json(storage, base)
    result = Verification(rows=record["rows"])
    found = committed(storage, base)
    kept = effective(found)
    _check_coverage(result, found, kept)
    if record["state"] != "finished":
        result.fault(f"{layout.RUN}: state is {record['state']!r}, not 'finished'")
    rows_uri = None if ledger is None else _rows_uri(storage, absolute(ledger), record, result)
    seen = _Seen(Named(lambda spec: _published(_read_rows(storage, base, spec)[1])))
    with ThreadPoolExecutor(_CHECKERS) as pool:
        for spec in kept:
            try:
                _check_shard(storage, base, rows_uri, record, spec, result, seen, pool)
            except (IntegrityError, ObjectNotFoundError) as exc:
                result.fault(str(exc))
            yield result
    _check_names(storage, base, seen.named, result)
    _check_summaries(storage, base, record, seen.stats, result)
    yield result


def _check_coverage(result: Verification, found: list[ShardSpec], kept: list[ShardSpec]) -> None:
    for gap in gaps(result.rows, kept):
        result.fault(f"rows {gap.start} to {gap.stop - 1}: no provenance part covers them")
    for spec in sorted(set(found) - set(kept)):
        result.fault(f"{layout.provenance_part(spec.name)}: its rows are committed by another part too")
    for spec in kept:
        if spec.stop > result.rows:
            result.fault(f"{layout.provenance_part(spec.name)}: beyond the last row {result.rows - 1}")


def _rows_uri(storage: Storage, ledger: str, record: Mapping[str, Any], result: Verification) -> str | None:
    """Where the ledger's rows are; None, and a fault, if it is not this release's ledger."""
    try:
        plan = read_plan(storage, ledger)
    except (IntegrityError, ResumeRefusedError) as exc:
        result.fault(str(exc))
        return None
    if plan is None:
        result.fault(f"ledger {ledger}: no {layout.LEDGER_PLAN}")
        return None
    if plan.run_id != record["run_id"]:
        result.fault(f"ledger {ledger}: of run {plan.run_id}, the release is of {record['run_id']}")
        return None
    if plan.total != result.rows:
        result.fault(f"{layout.RUN}: {result.rows} rows, the plan has {plan.total}")
    return join(ledger, layout.rows_folder(plan.rows_id))


def _check_shard(
    storage: Storage,
    base: str,
    rows_uri: str | None,
    record: Mapping[str, Any],
    spec: ShardSpec,
    result: Verification,
    seen: _Seen,
    pool: ThreadPoolExecutor,
) -> None:
    key = layout.provenance_part(spec.name)
    meta, rows = _read_rows(storage, base, spec)
    if meta.shard != spec.name:
        result.fault(f"{key}: holds shard {meta.shard}")
    if meta.run_id != record["run_id"]:
        result.fault(f"{key}: of run {meta.run_id}, not {record['run_id']}")
    if len(rows) != spec.count:
        result.fault(f"{key}: {len(rows)} rows, expected {spec.count}")
    if rows_uri is not None:
        _check_ids(storage, rows_uri, spec, rows, result)
    statuses = Counter(str(row["status"]) for row in rows)
    result.accounted += len(rows)
    result.statuses.update(statuses)
    for row in rows:
        _check_row(row, result)
    published = _published(rows)
    seen.named.add(spec, published)
    shard_key = layout.shard_file(spec.name, meta.attempt, record["config"].get("write", {}).get("layout", "files"))
    for faults in check_pictures(storage, base, published, shard_key, meta.shard_sha256, pool):
        for fault in faults:
            result.fault(fault)
    result.objects += len(published)
    stats = ShardStats.from_json(meta.stats)
    if Counter(stats.statuses) != statuses:
        result.fault(f"{key}: statistics of {stats.statuses}, its rows are {dict(statuses)}")
    seen.stats = merge(seen.stats, stats)


def _read_rows(storage: Storage, base: str, spec: ShardSpec) -> tuple[PartMeta, list[dict[str, Any]]]:
    key = layout.provenance_part(spec.name)
    data = storage.read(join(base, key))
    return read_meta(data, key), read_part(data, key, PROVENANCE_SCHEMA).to_pylist()


def _published(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row for row in rows if row["output"] is not None]


def _check_row(row: Mapping[str, Any], result: Verification) -> None:
    status, published = row["status"], row["status"] in ("anonymized", "clean")
    if status not in STATUSES:
        result.fault(f"{row['image_id']}: unknown status {status!r}")
    if (row["output"] is not None) != published:
        result.fault(f"{row['image_id']}: status {status} with output {row['output']!r}")
    if (row["reason"] is None) != published:
        result.fault(f"{row['image_id']}: status {status} with reason {row['reason']!r}")
    if bool(row["regions"]) != (status == "anonymized"):
        result.fault(f"{row['image_id']}: status {status} with {len(row['regions'] or ())} regions")


def _check_ids(
    storage: Storage, rows_uri: str, spec: ShardSpec, rows: list[dict[str, Any]], result: Verification
) -> None:
    try:
        planned = [row.image_id for row in read_rows(storage, rows_uri, result.rows, spec)]
    except (IntegrityError, ObjectNotFoundError) as exc:
        result.fault(f"ledger: {exc}")
        return
    for offset, (want, row) in enumerate(zip(planned, rows, strict=False)):
        if row["image_id"] != want:
            result.fault(f"row {spec.start + offset}: provenance says {row['image_id']!r}, the manifest {want!r}")


def _check_names(storage: Storage, base: str, named: Named, result: Verification) -> None:
    """Pictures that two rows name, and objects that none does: a picture there would be published without a record."""

    def listed() -> Iterator[str]:
        for folder in (layout.IMAGES, layout.SHARDS):
            for info in storage.list(join(base, folder)):
                yield f"{folder}/{info.key}"

    try:
        if twice := named.repeated():
            result.fault(f"{twice} rows name a picture that another row names too")
        for key in named.strays(listed):
            result.fault(f"{key}: no provenance row names it")
    except (IntegrityError, ObjectNotFoundError) as exc:
        result.fault(str(exc))
    for info in storage.list(join(base, layout.PROVENANCE)):
        if layout.parse_part(info.key) is None:
            result.fault(f"{layout.PROVENANCE}/{info.key}: no name of a part")


def _check_summaries(
    storage: Storage, base: str, record: Mapping[str, Any], stats: ShardStats, result: Verification
) -> None:
    if record["state"] == "finished" and _nonzero(record.get("statuses", {})) != _nonzero(result.statuses):
        result.fault(f"{layout.RUN}: statuses {record.get('statuses')} differ from the parts' {dict(result.statuses)}")
    try:
        published = json.loads(storage.read(join(base, layout.STATS)))
    except ObjectNotFoundError:
        result.fault(f"{layout.STATS}: missing")
    except ValueError as exc:
        result.fault(f"{layout.STATS}: damaged ({exc})")
    else:
        if published != (expected := json.loads(json.dumps(stats.summary()))):
            keys = [k for k in expected if not isinstance(published, dict) or published.get(k) != expected[k]]
            result.fault(f"{layout.STATS}: differs from the sum of the parts in {', '.join(keys) or 'further keys'}")


def _nonzero(statuses: Mapping[str, int]) -> dict[str, int]:
    return {status: count for status, count in statuses.items() if count}
