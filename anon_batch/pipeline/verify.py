"""Whether a release is whole: every row once, every object there, every digest right, nothing but pixels inside."""

from __future__ import annotations

import hashlib
import io
import tarfile
from collections import Counter
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anon_batch import layout
from anon_batch.config import LimitsConfig
from anon_batch.errors import IntegrityError, ObjectNotFoundError, RowError, StorageError
from anon_batch.imaging.decode import decode
from anon_batch.imaging.inspection import inspect
from anon_batch.pipeline.parts import committed, read_metas
from anon_batch.pipeline.plan import effective, gaps
from anon_batch.pipeline.rows import read_rows
from anon_batch.pipeline.run import read_run_json
from anon_batch.provenance import read_part
from anon_batch.records import STATUSES, ShardSpec
from anon_batch.storage import Storage, absolute, join

_CHECKERS = 4
_SHOWN_FAULTS = 100
_NO_LIMITS = LimitsConfig(max_pixels=2**40, max_bytes=2**40)


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
    """
    base = absolute(output)
    record = read_run_json(storage, base)
    result = Verification(rows=int(record["rows"]))
    found = committed(storage, base)
    kept = effective(found)
    _check_coverage(result, found, kept)
    if record.get("state") != "finished":
        result.fault(f"{layout.RUN}: state is {record.get('state')!r}, not 'finished'")
    if not storage.exists(join(base, layout.STATS)):
        result.fault(f"{layout.STATS}: missing")
    expected: list[np.ndarray[Any, Any]] = []
    with ThreadPoolExecutor(_CHECKERS) as pool:
        for spec in kept:
            try:
                expected.append(_check_shard(storage, base, ledger, spec, result, pool))
            except (IntegrityError, ObjectNotFoundError) as exc:
                result.fault(str(exc))
            yield result
    _check_strays(storage, base, record, expected, kept, result)
    yield result


def _check_coverage(result: Verification, found: list[ShardSpec], kept: list[ShardSpec]) -> None:
    for gap in gaps(result.rows, kept):
        result.fault(f"rows {gap.start} to {gap.stop - 1}: no provenance part covers them")
    for spec in set(found) - set(kept):
        result.fault(f"{layout.provenance_part(spec.name)}: its rows are committed by another part too")
    for spec in kept:
        if spec.stop > result.rows:
            result.fault(f"{layout.provenance_part(spec.name)}: beyond the last row {result.rows - 1}")


def _check_shard(
    storage: Storage, base: str, ledger: str | None, spec: ShardSpec, result: Verification, pool: ThreadPoolExecutor
) -> np.ndarray[Any, Any]:
    uri = join(base, layout.provenance_part(spec.name))
    table = read_part(storage.read(uri), uri)
    rows = table.to_pylist()
    if len(rows) != spec.count:
        result.fault(f"{uri}: {len(rows)} rows, expected {spec.count}")
    if ledger is not None:
        _check_ids(storage, ledger, spec, rows, result)
    result.accounted += len(rows)
    result.statuses.update(row["status"] for row in rows)
    for row in rows:
        if row["status"] not in STATUSES:
            result.fault(f"{row['image_id']}: unknown status {row['status']!r}")
        if (row["output"] is not None) != (row["status"] in ("anonymized", "clean")):
            result.fault(f"{row['image_id']}: status {row['status']} with output {row['output']!r}")
    published = [row for row in rows if row["output"] is not None]
    members = _open_shards(storage, base, published, result)
    for faults in pool.map(partial(_check_output, storage, base, members), published):
        result.objects += 1
        for fault in faults:
            result.fault(fault)
    return np.unique(np.array([_hash(row["output"]) for row in published], np.uint64))


def _check_ids(
    storage: Storage, ledger: str, spec: ShardSpec, rows: list[dict[str, Any]], result: Verification
) -> None:
    planned = [row.image_id for row in read_rows(storage, ledger, result.rows, spec)]
    for offset, (want, row) in enumerate(zip(planned, rows, strict=False)):
        if row["image_id"] != want:
            result.fault(f"row {spec.start + offset}: provenance says {row['image_id']!r}, the manifest {want!r}")


def _open_shards(
    storage: Storage, base: str, published: list[dict[str, Any]], result: Verification
) -> Mapping[str, Mapping[str, bytes]]:
    """Members of the shard files that the rows name; empty for the layout `files`."""
    opened: dict[str, dict[str, bytes]] = {}
    for key in {row["output"] for row in published if row["member"] is not None}:
        uri = join(base, key)
        try:
            data = storage.read(uri)
            opened[key] = _tar_members(data) if key.endswith(".tar") else _parquet_members(data)
            named = {row["member"] for row in published if row["output"] == key}
            for extra in set(opened[key]) - named - {f"{m.rpartition('.')[0]}.json" for m in named}:
                result.fault(f"{key}: member {extra} is in no provenance row")
        except ObjectNotFoundError:
            opened[key] = {}
            result.fault(f"{key}: missing")
        except (tarfile.TarError, pa.ArrowException, OSError) as exc:
            opened[key] = {}
            result.fault(f"{key}: damaged ({exc})")
    return opened


def _tar_members(data: bytes) -> dict[str, bytes]:
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        return {info.name: file.read() for info in tar if (file := tar.extractfile(info)) is not None}


def _parquet_members(data: bytes) -> dict[str, bytes]:
    cells = pq.read_table(io.BytesIO(data), columns=["image"]).column("image").to_pylist()
    return {cell["path"]: cell["bytes"] for cell in cells}


def _check_output(
    storage: Storage, base: str, members: Mapping[str, Mapping[str, bytes]], row: Mapping[str, Any]
) -> list[str]:
    """Faults of one published picture."""
    name = row["output"] if row["member"] is None else f"{row['output']}:{row['member']}"
    try:
        data = (
            storage.read(join(base, row["output"])) if row["member"] is None else members[row["output"]][row["member"]]
        )
    except (ObjectNotFoundError, KeyError):
        return [f"{name}: missing"]
    except StorageError as exc:
        return [f"{name}: cannot be read ({exc})"]
    if (sha256 := hashlib.sha256(data).hexdigest()) != row["sha256"]:
        return [f"{name}: sha256 is {sha256}, provenance says {row['sha256']}"]
    faults = [f"{name}: carries {item}" for item in inspect(data)]
    try:
        picture = decode(row["image_id"], data, _NO_LIMITS)
    except RowError as exc:
        return [*faults, f"{name}: does not decode ({exc})"]
    if (picture.width, picture.height) != (row["width"], row["height"]):
        faults.append(f"{name}: {picture.width}x{picture.height}, provenance says {row['width']}x{row['height']}")
    return faults


def _check_strays(
    storage: Storage,
    base: str,
    record: Mapping[str, Any],
    expected: list[np.ndarray[Any, Any]],
    kept: list[ShardSpec],
    result: Verification,
) -> None:
    """Objects that no provenance row names: a picture there would be published without a record."""
    known = np.unique(np.concatenate(expected)) if expected else np.zeros(0, np.uint64)
    for folder in (layout.IMAGES, layout.SHARDS):
        for info in storage.list(join(base, folder)):
            key = f"{folder}/{info.key}"
            at = int(np.searchsorted(known, _hash(key)))
            if at == len(known) or known[at] != _hash(key):
                result.fault(f"{key}: no provenance row names it")
    if record.get("state") == "finished" and Counter(record.get("statuses", {})) != result.statuses:
        result.fault(f"{layout.RUN}: statuses {record.get('statuses')} differ from the parts' {dict(result.statuses)}")
    for spec, meta in read_metas(storage, base, kept):
        if meta.run_id != record.get("run_id"):
            result.fault(f"{layout.provenance_part(spec.name)}: of run {meta.run_id}, not {record.get('run_id')}")


def _hash(key: str) -> np.uint64:
    return np.uint64(int.from_bytes(hashlib.blake2b(key.encode(), digest_size=8).digest(), "big"))
