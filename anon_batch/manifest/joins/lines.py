"""A joined table on the local disk, whose lines can be taken in any order."""

from __future__ import annotations

from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from anon_batch.errors import ManifestError, ObjectNotFoundError
from anon_batch.formats.features import read_features, to_metadata
from anon_batch.manifest.importers.conform import conform
from anon_batch.manifest.importers.entries import BATCH_ROWS
from anon_batch.manifest.importers.patterns import expand_braces, glob, has_pattern
from anon_batch.manifest.importers.report import ImportReport
from anon_batch.manifest.importers.table import SUFFIXES, raw_tables
from anon_batch.manifest.joins import devkit
from anon_batch.manifest.joins.values import find_column, texts_at
from anon_batch.manifest.rebatch import rebatch
from anon_batch.manifest.rename import Renames
from anon_batch.manifest.schema import FIXED_COLUMNS
from anon_batch.manifest.staging import StagedTables
from anon_batch.storage import Storage, absolute

KEY = "\x00key"  # because no table has a column of this name
KEY_COLUMNS = ("image_id", "file_name", "file", "filename", "ImageID", "image", "key", "path")


class JoinedLines:
    """The lines of a joined table.

    Args:
        given: its address, as the user wrote it.
        key: name of its key column.
        path: the file that holds the lines.
        extra: names, types and features of the columns that it gives to rows.
    """

    def __init__(self, given: str, key: str, path: Path, extra: pa.Schema) -> None:
        self.given = given
        self.key = key
        self.extra = extra
        self._path = path

    def keys(self) -> Iterator[pa.Array]:
        """Yield the keys of all lines, in order."""
        with pa.memory_map(str(self._path)) as mapped, pa.ipc.open_file(mapped) as reader:
            for number in range(reader.num_record_batches):
                yield reader.get_batch(number).column(KEY)

    def take(self, numbers: npt.NDArray[np.int64]) -> pa.Table:
        """Return lines in the order of their numbers, (N,), with their KEY; a row of nulls for -1."""
        wanted, place = np.unique(numbers[numbers >= 0], return_inverse=True)
        with pa.memory_map(str(self._path)) as mapped, pa.ipc.open_file(mapped) as reader:
            pieces = [reader.schema.empty_table()]
            numbers_of_batches = np.unique(wanted // BATCH_ROWS)
            for number, own in zip(numbers_of_batches.tolist(), _split(wanted, numbers_of_batches), strict=True):
                batch = reader.get_batch(number).take(pa.array(own - number * BATCH_ROWS))
                pieces.append(pa.Table.from_batches([batch]))
            found = pa.concat_tables(pieces).combine_chunks()
            at = np.zeros(len(numbers), np.int64)
            at[numbers >= 0] = place
            return found.take(pa.array(at, mask=numbers < 0)) if len(found) else _nulls(found.schema, len(numbers))


def read_lines(
    storage: Storage, given: str, key: str | None, folder: Path, report: ImportReport, renames: Renames
) -> JoinedLines:
    """Stage a table, or several of the same columns, on the local disk.

    Args:
        storage: to read with.
        given: a CSV, TSV, JSONL or Parquet file, a pattern of them, or `ilsvrc-devkit:ADDRESS`.
        key: the column that names images; None looks for one of KEY_COLUMNS.
        folder: gets the files.
        report: gets what was done with columns.
        renames: of its columns.

    Raises:
        ManifestError: not such a file, without lines, or without the column.
        StorageError: it cannot be read.
    """
    folder.mkdir()
    with StagedTables(folder) as staged:
        for table in _tables(storage, given):
            key = _key_column(table, key, given)
            keys = texts_at(table, key)
            left = table.select([name for name in table.column_names if name != key])
            columns = _additional(conform(left, report, renames, in_cells=False), report) if left.num_columns else left
            features = read_features(columns.schema.metadata)
            if report.progress is not None:
                report.progress.lines(given, staged.rows_count)
            staged.add(0, pa.table({**_columns(columns), KEY: keys}).replace_schema_metadata(to_metadata(features)))
        if not staged.rows_count or key is None:
            raise ManifestError(f"--join {given}: the table has no line")
        schema = staged.extra_schema()
        names = [name for name in schema.names if name != KEY]
        tables = (table.select([KEY, *names]) for table in staged.tables(0))
        report.differing.update(staged.differing)
        return stage_lines(folder / "lines.arrow", given, key, tables, schema.metadata)


def stage_lines(
    path: Path, given: str, key: str, tables: Iterator[pa.Table], metadata: dict[bytes, bytes] | None = None
) -> JoinedLines:
    """Write lines to the local disk.

    Args:
        path: of the new file.
        given: see JoinedLines.
        key: see JoinedLines.
        tables: the column KEY, then those that rows get; at least one table.
        metadata: features of these columns.
    """
    first = next(tables)
    with pa.ipc.new_file(str(path), first.schema) as writer:
        for table in rebatch(chain([first], tables), BATCH_ROWS):
            writer.write_table(table)
    return JoinedLines(given, key, path, pa.schema([own for own in first.schema if own.name != KEY], metadata))


def _tables(storage: Storage, given: str) -> Iterator[pa.Table]:
    if given.startswith(devkit.PREFIX):
        yield devkit.read_classes(storage, given.removeprefix(devkit.PREFIX))
        return
    address = absolute(given)
    addresses = [address]
    if has_pattern(address) and not storage.exists(address):
        addresses = [found for pattern in expand_braces(address) for found in glob(storage, pattern)]
    if not addresses:
        raise ManifestError(f"--join {given}: no file matches this pattern")
    for own in addresses:
        if not own.lower().endswith((".parquet", *SUFFIXES)):
            raise ManifestError(
                f"--join {own}: expected a .csv, .tsv, .jsonl or .parquet file, or {devkit.PREFIX}ADDRESS"
            )
        try:
            yield from raw_tables(storage, own)
        except ObjectNotFoundError:
            raise ManifestError(f"--join {own}: there is no such table; check the address") from None


def _key_column(table: pa.Table, key: str | None, given: str) -> str:
    names = table.column_names
    found = next((name for name in KEY_COLUMNS if name in names), None) if key is None else find_column(names, key)
    if found is None:
        what = f"`{key}`" if key else f"of names of images ({', '.join(KEY_COLUMNS)})"
        raise ManifestError(f"--join {given}: no column {what}; name one with --on: {', '.join(names)}")
    return key or found


def _additional(table: pa.Table, report: ImportReport) -> pa.Table:
    """Return a table without columns that have a meaning in a manifest, because addresses and digests come from the sources."""
    names = []
    for name in table.column_names:
        target = name
        while target in FIXED_COLUMNS or target in names:
            target = f"joined_{target}"
        if target != name:
            report.renamed[name] = target
        names.append(target)
    new_names = dict(zip(table.column_names, names, strict=True))
    features = {new_names[name]: own for name, own in read_features(table.schema.metadata).items()}
    return table.rename_columns(names).replace_schema_metadata(to_metadata(features))


def _columns(table: pa.Table) -> dict[str, Any]:
    return {name: table.column(name) for name in table.column_names}


def _split(wanted: npt.NDArray[np.int64], batches: npt.NDArray[np.int64]) -> list[npt.NDArray[np.int64]]:
    """Return sorted numbers of lines by the batch that holds them."""
    return np.split(wanted, np.searchsorted(wanted, batches[1:] * BATCH_ROWS)) if len(batches) else []


def _nulls(schema: pa.Schema, count: int) -> pa.Table:
    return pa.table([pa.nulls(count, field.type) for field in schema], schema=schema)
