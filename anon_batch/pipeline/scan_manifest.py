"""The plan's rows: the checked, sampled manifest in small chunks in the ledger, so that a worker reads only its own."""

from __future__ import annotations

import hashlib
import io
from collections.abc import Iterator
from functools import lru_cache
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

from anon_batch.config import JobConfig
from anon_batch.errors import IntegrityError, ManifestError
from anon_batch.formats import layout
from anon_batch.manifest import ManifestFile, RowChecker, open_manifest, rows_from_table
from anon_batch.manifest.schema import FIXED_COLUMNS
from anon_batch.pipeline.fingerprint import RowsDigest
from anon_batch.records import ManifestRow, ShardSpec
from anon_batch.storage import Storage, absolute, join

CHUNK_ROWS = 8_192


class ScannedRows(NamedTuple):
    """Number and digest of the rows that the job takes."""

    total: int
    sha256: str


def scan_manifest(storage: Storage, config: JobConfig, rows_uri: str | None) -> ScannedRows:
    """Reads the manifest once, in bounded memory: checks, samples, digests its rows and writes them in chunks.

    Args:
        storage: where everything lies.
        config: names manifest and sample.
        rows_uri: folder in the ledger that the chunks go to; None writes nothing (a resume has them already).

    Raises:
        ManifestError: with the numbers of the rows at fault.
    """
    manifest = open_manifest(storage, absolute(config.manifest))
    threshold = _sample_threshold(manifest, config)
    checker = RowChecker(config.manifest, keep_format=config.write.format == "keep")
    digest, total, labelled = RowsDigest(), 0, False
    for table in _rechunk(_checked_and_sampled(manifest, checker, config, threshold)):
        digest.update(table)
        labelled = labelled or table.column("regions").null_count < len(table)
        if rows_uri is not None:
            storage.put(join(rows_uri, layout.rows_part(total, len(table))), _to_parquet(table))
        total += len(table)
    checker.finish(lambda: manifest.iter_tables(["image_id"]))
    if total and not labelled and any(d.name == "manifest" for d in config.detect.detectors):
        raise ManifestError(
            f"{config.manifest}: detector `manifest` takes the boxes of the column `regions`, and no row has any; "
            "build the manifest with --ground-truth, or choose another detector"
        )
    return ScannedRows(total, digest.hexdigest())


def read_rows(storage: Storage, rows_uri: str, total: int, spec: ShardSpec) -> list[ManifestRow]:
    """The rows of one shard, in order.

    Raises:
        IntegrityError: the ledger's rows are not what the plan says.
    """
    rows: list[ManifestRow] = []
    first_chunk = spec.start // CHUNK_ROWS * CHUNK_ROWS
    for chunk_start in range(first_chunk, min(spec.stop, total), CHUNK_ROWS):
        table = _read_chunk(storage, rows_uri, chunk_start, min(CHUNK_ROWS, total - chunk_start))
        begin, end = max(spec.start, chunk_start), min(spec.stop, chunk_start + len(table))
        rows += rows_from_table(table.slice(begin - chunk_start, end - begin), begin)
    if len(rows) != spec.count:
        raise IntegrityError(f"{rows_uri}: rows of shard {spec.name} are incomplete")
    return rows


def extra_schema(storage: Storage, rows_uri: str, total: int) -> pa.Schema:
    """Names and types of the pass-through columns."""
    schema = _read_chunk(storage, rows_uri, 0, min(CHUNK_ROWS, total)).schema
    return pa.schema([field for field in schema if field.name not in FIXED_COLUMNS])


@lru_cache(maxsize=2)
def _read_chunk(storage: Storage, rows_uri: str, start: int, count: int) -> pa.Table:
    uri = join(rows_uri, layout.rows_part(start, count))
    try:
        table = pq.read_table(io.BytesIO(storage.read(uri)), page_checksum_verification=True)
    except (pa.ArrowException, OSError) as exc:
        raise IntegrityError(f"{uri}: damaged ({exc})") from None
    if len(table) != count:
        raise IntegrityError(f"{uri}: {len(table)} rows, expected {count}")
    return table


def _checked_and_sampled(
    manifest: ManifestFile, checker: RowChecker, config: JobConfig, threshold: int | None
) -> Iterator[pa.Table]:
    for table in manifest.iter_tables(batch_rows=CHUNK_ROWS):
        checker.feed(table)
        if threshold is None:
            yield table
        else:
            yield table.filter(pa.array(_sample_hashes(table, config.sample.seed) <= np.uint64(threshold)))


def _sample_threshold(manifest: ManifestFile, config: JobConfig) -> int | None:
    """The `limit`-th smallest seeded hash of an id: the sample does not depend on the order of the rows."""
    limit = config.sample.limit
    if limit is None:
        return None
    parts = [_sample_hashes(table, config.sample.seed) for table in manifest.iter_tables(["image_id"], CHUNK_ROWS)]
    hashes = np.concatenate(parts) if parts else np.zeros(0, np.uint64)
    return None if limit >= len(hashes) else int(np.partition(hashes, limit - 1)[limit - 1])


def _sample_hashes(table: pa.Table, seed: int) -> npt.NDArray[np.uint64]:
    key = seed.to_bytes(16, "big")
    ids = (str(image_id).encode() for image_id in table.column("image_id").to_pylist())
    digests = b"".join(hashlib.blake2b(i, digest_size=8, key=key).digest() for i in ids)
    return np.frombuffer(digests, np.dtype(">u8")).astype(np.uint64)


def _rechunk(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Tables of exactly CHUNK_ROWS rows, but for the last."""
    held: list[pa.Table] = []
    rows = 0
    for table in tables:
        held.append(table)
        rows += len(table)
        while rows >= CHUNK_ROWS:
            whole = pa.concat_tables(held).combine_chunks()
            yield whole.slice(0, CHUNK_ROWS)
            held, rows = [whole.slice(CHUNK_ROWS)], rows - CHUNK_ROWS
    if rows:
        yield pa.concat_tables(held).combine_chunks()


def _to_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()
