"""Parquet files that hold the images themselves, in a struct<bytes, path> column, as data hubs publish them."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import BinaryIO, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anon_batch.errors import ManifestError
from anon_batch.formats.features import read_features, to_metadata
from anon_batch.manifest.addresses import cell_prefix
from anon_batch.manifest.bounded_parquet import iter_tables
from anon_batch.manifest.importers.entries import BATCH_ROWS, Source
from anon_batch.manifest.importers.report import ImportReport
from anon_batch.manifest.importers.splits import splits_of_files
from anon_batch.manifest.names import HashArray, hashes, unsafe
from anon_batch.manifest.parquet_footer import RowGroup, read_row_groups
from anon_batch.manifest.regions_column import is_text
from anon_batch.manifest.schema import IMAGE_COLUMN, check_columns, is_image_struct
from anon_batch.storage import Storage

_NULLS_BYTES = 4096  # a row group of nulls is smaller, one with an image hardly ever


class OpenParquet(NamedTuple):
    """An open Parquet file: its bytes, its reader, its address."""

    file: BinaryIO
    reader: pq.ParquetFile
    uri: str

    @property
    def schema(self) -> pa.Schema:
        return self.reader.schema_arrow

    def row_groups(self) -> list[RowGroup]:
        """Return what the footer says.

        Raises:
            ManifestError: it is damaged.
        """
        try:
            return read_row_groups(self.file)
        except ValueError as exc:
            raise ManifestError(f"{self.uri}: damaged ({exc}); fetch or write it again") from None

    def tables(self, columns: Sequence[str]) -> Iterator[pa.Table]:
        """Yield the rows in bounded memory, see `bounded_parquet.iter_tables`."""
        return iter_tables(self.file, self.reader, columns, BATCH_ROWS, self.uri)


@contextlib.contextmanager
def open_parquet(storage: Storage, uri: str) -> Iterator[OpenParquet]:
    """Open a Parquet file; close it at the end.

    Raises:
        ManifestError: it is not Parquet, damaged, or has too many columns.
    """
    try:
        with storage.open(uri) as file, pq.ParquetFile(file) as parquet:
            check_columns(parquet.schema_arrow.names, uri)
            yield OpenParquet(file, parquet, uri)
    except (pa.ArrowException, OSError) as exc:
        raise ManifestError(f"{uri}: not a Parquet file, or damaged ({(str(exc).splitlines() or ['?'])[0]})") from None


def image_column(schema: pa.Schema) -> str | None:
    """Return the struct<bytes, path> column: `image` if there is one, else the only one; None without any.

    Raises:
        ManifestError: several, none of them called `image`.
    """
    found = [f.name for f in schema if is_image_struct(f.type)]
    if IMAGE_COLUMN in found:
        return IMAGE_COLUMN
    if len(found) > 1:
        raise ManifestError(f"several columns hold images ({', '.join(found)}) and none is called `image`; rename one")
    return found[0] if found else None


def read_tables(storage: Storage, source: Source, report: ImportReport) -> Iterator[pa.Table]:
    """Yield rows of all images: `uri` is `FILE#column=image&row=N`; the other columns pass through, image bytes are not read.

    `image_id` is the `path` inside the struct, below the name of the split if the files tell several, when those of the whole
    source are safe and unique, else `<file, without .parquet>/<row:08d>`. Images in further columns are dropped, as all binary
    data is.

    Raises:
        ManifestError: a file without images, or one that holds paths only.
    """
    splits = splits_of_files(source)
    by_path = _paths_are_ids(storage, source, splits)
    for address in source.addresses:
        try:
            with open_parquet(storage, address) as parquet:
                column = require_images(parquet, address)
                prefix = None if not by_path else f"{splits[address]}/" if splits else ""
                yield from _file_tables(parquet, source, address, report, column=column, by_path=prefix)
        except ManifestError as exc:
            if not source.several:
                raise
            report.found_count += 1
            report.skip(source.below(address), "damaged", str(exc))


def _file_tables(
    parquet: OpenParquet, source: Source, address: str, report: ImportReport, *, column: str, by_path: str | None
) -> Iterator[pa.Table]:
    schema = parquet.schema
    left_out = {f.name for f in schema if is_image_struct(f.type) or f.name == "uri"} - {column}
    report.dropped.update(left_out)
    wanted = [n for n in schema.names if n not in (column, *left_out)]
    features = to_metadata({n: f for n, f in read_features(schema.metadata).items() if n in wanted})
    own_ids = "image_id" in wanted and is_text(schema.field("image_id").type)
    start = 0
    for batch in _batches(parquet, [*wanted, *([] if by_path is None else [f"{column}.path"])]):
        numbers = np.arange(start, start + len(batch))
        columns = {n: batch.column(n) for n in wanted}
        if own_ids:
            ids = columns.pop("image_id")
        elif by_path is not None:
            paths = pc.struct_field(batch.column(column), "path").cast(pa.string())
            ids = pc.binary_join_element_wise(by_path, paths, "")
        else:
            ids = pa.array([f"{source.stem_of(address)}/{n:08d}" for n in numbers.tolist()], pa.string())
        if "image_id" in columns:  # e.g. a number: kept beside the text id
            columns["source_image_id"] = columns.pop("image_id")
            report.renamed["image_id"] = "source_image_id"
        uris = pc.binary_join_element_wise(cell_prefix(address, column), pa.array(numbers).cast(pa.string()), "")
        report.found_count += len(batch)
        yield pa.table({"image_id": ids, "uri": uris, **columns}).replace_schema_metadata(features)
        start += len(batch)


def _batches(parquet: OpenParquet, columns: list[str]) -> Iterator[pa.Table]:
    """Yield the rows of a file; a table without columns still has its rows."""
    if columns:
        yield from parquet.tables(columns)
        return
    rows_count = parquet.reader.metadata.num_rows
    for start in range(0, rows_count, BATCH_ROWS):
        count = min(BATCH_ROWS, rows_count - start)
        yield pa.table({"-": pa.nulls(count)})


def require_images(parquet: OpenParquet, address: str) -> str:
    """Return the column of images.

    Raises:
        ManifestError: there is none, several, or one without bytes.
    """
    column = image_column(parquet.schema)
    if column is None:
        raise ManifestError(
            f"{address}: no column of type struct<bytes, path>; columns: "
            f"{', '.join(parquet.schema.names)}. "
            "A file of addresses needs a column uri, url, path or file_name and kind `table`"
        )
    if parquet.reader.metadata.num_rows and _bytes_all_null(parquet, column):
        raise ManifestError(f"{address}: `{column}` holds paths but no bytes; write the set again with embedded images")
    return column


def _bytes_all_null(parquet: OpenParquet, column: str) -> bool:
    """Return whether no row has bytes. Because statistics may be wrong, look at the column where it is tiny."""
    leaf = f"{column}.bytes"
    chunks = [chunk for group in parquet.row_groups() for chunk in group.chunks if chunk.path == leaf]
    if not chunks or sum(chunk.unpacked_bytes for chunk in chunks) > _NULLS_BYTES * len(chunks):
        return False
    return all(
        pc.struct_field(table.column(column), "bytes").null_count == len(table) for table in parquet.tables([leaf])
    )


def _paths_are_ids(storage: Storage, source: Source, splits: Mapping[str, str]) -> bool:
    """Return whether the paths inside the images of all files are safe, and unique in their split."""
    known: list[HashArray] = []
    for address in source.addresses:
        try:
            for paths in _paths(storage, address):
                if paths is None or paths.null_count or pc.any(pc.equal(pc.binary_length(paths), 0)).as_py():
                    return False
                if unsafe(paths).any():
                    return False
                known.append(hashes(pc.binary_join_element_wise(splits.get(address, ""), paths, "/")))
        except ManifestError:
            if not source.several:  # otherwise the file is skipped when its rows are read
                raise
    every = np.sort(np.concatenate(known)) if known else np.zeros(0, np.uint64)
    return bool(len(every)) and not bool((every[1:] == every[:-1]).any())


def _paths(storage: Storage, address: str) -> Iterator[pa.Array | None]:
    """Yield the paths inside a file's images; None where they have none."""
    with open_parquet(storage, address) as parquet:
        column = require_images(parquet, address)
        if parquet.schema.field(column).type.get_field_index("path") < 0:
            yield None
            return
        for batch in parquet.tables([f"{column}.path"]):
            yield pc.struct_field(batch.column(column), "path").cast(pa.string())
