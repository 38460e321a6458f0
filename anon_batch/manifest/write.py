"""Write the Parquet file of a manifest."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Sequence
from pathlib import Path

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anon_batch.manifest.addresses import HERE, base_of, relative
from anon_batch.manifest.check import RowChecker
from anon_batch.manifest.importers.entries import Source
from anon_batch.manifest.rebatch import rebatch
from anon_batch.manifest.rows import replace_columns
from anon_batch.manifest.schema import (
    BASE_KEY,
    COMPARED_KEY,
    FIXED_SCHEMA,
    MANIFEST_VERSION,
    REGIONS_COLUMN,
    VERSION_KEY,
)
from anon_batch.storage import absolute, is_local

ROW_GROUP_ROWS = 8192


class AddressBase:
    """What addresses are written relative to.

    Attributes:
        written: the manifest's `base_uri`; None when there is none.
        prefixes: for `relative`.
    """

    def __init__(self, out_uri: str, base_uri: str | None, found: Sequence[Source]) -> None:
        roots = [s.root for s in found if is_local(s.root)]
        self.written: str | None
        self.prefixes: list[tuple[str, str]] = []
        if base_uri is None:
            self.written = os.path.commonpath(roots) if roots else None
        else:
            self.written = HERE if base_uri == HERE else absolute(base_uri)
        if self.written is None:
            return
        base = base_of(out_uri, self.written)
        self.prefixes.append((base, ""))
        if self.written == HERE and is_local(base):  # up and down again, so that no absolute path is left
            self.prefixes += [(root, os.path.relpath(root, base).replace(os.sep, "/")) for root in roots]


def write_table(
    path: Path,
    tables: Iterator[pa.Table],
    extra: pa.Schema,
    *,
    base: AddressBase,
    where: str,
) -> tuple[int, int]:
    """Write the manifest and check its rows.

    Args:
        path: of the local file.
        tables: the rows.
        extra: the pass-through columns, with their features as metadata.
        base: what addresses are written relative to.
        where: the manifest's address, for messages.

    Returns:
        Number of images with ground truth, and of regions in it.

    Raises:
        ManifestError: rows that fail the check.
    """
    metadata = {**(extra.metadata or {}), VERSION_KEY: MANIFEST_VERSION.encode(), COMPARED_KEY: b"1"}
    if base.written is not None:
        metadata[BASE_KEY] = base.written.encode()
    schema = pa.schema([*FIXED_SCHEMA, *extra], metadata=metadata)
    checker = RowChecker(where)
    labelled_count = regions_count = 0
    with pq.ParquetWriter(path, schema, compression="zstd") as writer:
        for table in rebatch(tables, ROW_GROUP_ROWS):
            regions = table.column(REGIONS_COLUMN)
            labelled_count += len(regions) - regions.null_count
            regions_count += pc.sum(pc.list_value_length(regions)).as_py() or 0
            checker.feed(table)
            uris = relative(table.column("uri").combine_chunks(), base.prefixes)
            written = replace_columns(table, {"uri": uris}).select(schema.names).cast(schema)
            writer.write_table(written, row_group_size=ROW_GROUP_ROWS)
    checker.finish(lambda: _written_ids(path))
    return labelled_count, regions_count


def _written_ids(path: Path) -> Iterator[pa.Table]:
    with contextlib.closing(pq.ParquetFile(path)) as parquet:
        for batch in parquet.iter_batches(ROW_GROUP_ROWS, columns=["image_id"], use_threads=False):
            yield pa.Table.from_batches([batch])
