"""Scan the manifest: check its rows, take the sample and write the rows of the plan into the ledger."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from anon_batch.config import JobConfig
from anon_batch.errors import ManifestError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.splits import Split
from anon_batch.manifest import ManifestFile, RowChecker, open_manifest
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.chunks import CHUNK_ROWS, chunk_to_parquet
from anon_batch.manifest.persons import IDENTIFIED, PrivateColumns
from anon_batch.manifest.publish import ColumnFilter, SliceColumns, decide
from anon_batch.manifest.rebatch import rebatch
from anon_batch.manifest.sampling import sample_hashes, sample_threshold
from anon_batch.pipeline.check_boxes import BoxScale
from anon_batch.pipeline.fingerprint import RowsDigest
from anon_batch.pipeline.foreign_columns import ForeignColumns
from anon_batch.pipeline.shard_starts import ShardStarts
from anon_batch.pipeline.sources_allowed import RefusedSources
from anon_batch.pipeline.sources_outside import SourcesOutside
from anon_batch.pipeline.split_ranges import SplitRanges
from anon_batch.storage import absolute
from anon_batch.storage.faults import writing

SAMPLE_ROWS = 8_192  # whose values are looked at to decide about a column


class ScannedRows(NamedTuple):
    """Number and digest of the rows of the job, which of their columns are published, their splits, and their shards.

    `starts` are the first rows of the shards if they follow the source, and `shard_rows` the rows of the largest one.
    """

    total: int
    sha256: str
    columns: Mapping[str, Any]
    splits: tuple[Split, ...]
    starts: tuple[int, ...]
    shard_rows: int


def scan_manifest(
    config: JobConfig,
    ledger: Ledger,
    rows_id: str | None,
    private_columns: Callable[[pa.Schema], PrivateColumns] | None = None,
) -> ScannedRows:
    """Read the manifest once, in bounded memory: check, sample, filter and digest its rows, and write them in chunks.

    What may not be published is in no chunk, so that no worker, layout or resumed run can publish it.

    Args:
        config: names manifest and sample.
        ledger: gets the chunks; its storage reads the manifest.
        rows_id: folder of the chunks; None writes nothing, because a resumed run has them already.
        private_columns: makes columns of persons for the ledger alone; None if no person keeps a face.

    Raises:
        ConfigError: OUTPUT or ledger holds a source, `sources.allow` covers none, or `publish.columns` names a column that is not
            there.
        ManifestError: rows are wrong; the message names their numbers.
    """
    manifest = open_manifest(ledger.storage, absolute(config.manifest), config.sources.columns)
    threshold = _sample_threshold(manifest, config)
    checker = RowChecker(config.manifest, keep_format=config.write.format == "keep", pass_damaged_boxes=True)
    digest, total, labelled = RowsDigest(), 0, False
    outside = SourcesOutside(config.output_uri, ledger.uri)
    boxes, foreign = BoxScale(config, ledger.storage), ForeignColumns(config, ledger.storage)
    refused = RefusedSources(AllowedSources.of(config.sources, config.manifest))
    slices = SliceColumns(manifest.extra_schema, config.manifest)
    persons = None if private_columns is None else private_columns(manifest.extra_schema)
    checks = [
        checker.feed,
        slices.feed,
        outside.check,
        refused.check,
        *([] if rows_id is None else [boxes.feed, foreign.feed]),
    ]
    columns = _choose_columns(manifest, config, {} if persons is None else persons.withheld)
    splits = SplitRanges()
    starts = ShardStarts(config)
    for whole in rebatch(_checked_and_sampled(manifest, checks, config, threshold), CHUNK_ROWS):
        table = columns.apply(whole)
        splits.feed(table)
        starts.feed(table)
        private = slices.private(whole) | ({} if persons is None else persons.private(whole))
        for name, values in private.items():  # for the ledger alone
            table = table.append_column(name, values)
        digest.update(table.drop_columns([name for name in private if name == IDENTIFIED]))
        labelled = labelled or table.column("regions").null_count < len(table)
        if rows_id is not None:
            if total == 0:  # not earlier, because the rows may show that this folder is not for a ledger
                with writing("the ledger", "`ledger` or --output"):
                    ledger.make_private()
            ledger.put_rows(rows_id, total, len(table), chunk_to_parquet(table))
        total += len(table)
    checker.finish(lambda: manifest.iter_tables(["image_id"]))
    refused.finish()
    if persons is not None:
        persons.finish()
    if not manifest.is_compared:
        foreign.finish()
    boxes.finish()
    if total and not labelled and any(d.name == "manifest" for d in config.detect.detectors):
        raise ManifestError(
            f"{config.manifest}: detector `manifest` takes the boxes of the column `regions`, and no row has any; "
            "build the manifest with --ground-truth, or choose another detector"
        )
    found = splits.found()
    return ScannedRows(total, digest.hexdigest(), columns.report(), found, *starts.finish(found))


def _choose_columns(manifest: ManifestFile, config: JobConfig, private: Mapping[str, str]) -> ColumnFilter:
    """Decide which columns are published from the first rows of the manifest, whatever `sample` takes."""
    extra = manifest.extra_schema
    if not len(extra):
        return decide(extra.empty_table(), extra, config.publish.columns, private)
    sample = next(iter(rebatch(manifest.iter_tables(extra.names, SAMPLE_ROWS), SAMPLE_ROWS)), extra.empty_table())
    return decide(sample, extra, config.publish.columns, private)


def _checked_and_sampled(
    manifest: ManifestFile,
    checks: Sequence[Callable[[pa.Table], None]],
    config: JobConfig,
    threshold: int | None,
) -> Iterator[pa.Table]:
    for table in manifest.iter_tables(batch_rows=CHUNK_ROWS):
        for check in checks:
            check(table)
        if threshold is None:
            yield table
        else:
            yield table.filter(pa.array(_sample_hashes(table, config.sample.seed) <= np.uint64(threshold)))


def _sample_threshold(manifest: ManifestFile, config: JobConfig) -> int | None:
    limit, seed = config.sample.limit, config.sample.seed
    if limit is None:
        return None
    parts = [_sample_hashes(table, seed) for table in manifest.iter_tables(["image_id"], CHUNK_ROWS)]
    return sample_threshold(np.concatenate(parts), limit) if parts else None


def _sample_hashes(table: pa.Table, seed: int) -> npt.NDArray[np.uint64]:
    return sample_hashes(table.column("image_id").to_pylist(), seed)
