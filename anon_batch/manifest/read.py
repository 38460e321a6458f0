"""Read a manifest: open it once, then stream it in bounded memory as tables of one fixed form."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from types import MappingProxyType
from typing import Any, BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anon_batch.errors import ManifestError, ObjectNotFoundError, StorageError
from anon_batch.formats.features import read_features, to_metadata
from anon_batch.manifest.addresses import base_of, cell_prefix, resolve
from anon_batch.manifest.bounded_parquet import iter_tables
from anon_batch.manifest.persons import IDENTIFIED, OF_IMAGE, OF_REGIONS, is_person_token, persons_of
from anon_batch.manifest.regions_column import ground_truths
from anon_batch.manifest.rename import Renames, read_names, require_columns
from anon_batch.manifest.schema import (
    BASE_KEY,
    COMPARED_KEY,
    FIXED_COLUMNS,
    FIXED_SCHEMA,
    IMAGE_COLUMN,
    MANIFEST_VERSION,
    OLD_REGIONS_COLUMN,
    REGIONS_COLUMN,
    REGIONS_SIZE,
    VERSION_KEY,
    normalise_column,
    normalised_schema,
)
from anon_batch.manifest.slices import as_word, is_slice
from anon_batch.records import ManifestRow
from anon_batch.storage import Storage, absolute

BATCH_ROWS = 8192
_READ_BUFFER_BYTES = 2**20
_HINT = "a manifest is a Parquet file; `anon-batch manifest DIR_OR_URL -o manifest.parquet` makes one"


class ManifestFile:
    """An opened manifest. It holds no file handle: each pass over the rows opens the file again.

    Attributes:
        uri: its absolute address.
        base_uri: absolute address that relative ones start from.
        rows_count: number of rows.
        schema: of the tables that `iter_tables` yields: the fixed columns, then the pass-through ones.
        is_compared: whether its first digests and sizes were compared with the images when it was built.
    """

    def __init__(
        self,
        storage: Storage,
        uri: str,
        *,
        base_uri: str,
        rows_count: int,
        schema: pa.Schema,
        columns: Sequence[tuple[str, str]],
        is_compared: bool,
    ) -> None:
        self._storage = storage
        self.uri = uri
        self.base_uri = base_uri
        self.rows_count = rows_count
        self.schema = schema
        self.is_compared = is_compared
        self._in_file = {read: name for name, read in columns}

    @property
    def extra_schema(self) -> pa.Schema:
        """Return names and types of the pass-through columns, and their features as metadata."""
        return pa.schema(list(self.schema)[len(FIXED_COLUMNS) :], self.schema.metadata)

    def iter_tables(self, columns: Sequence[str] | None = None, batch_rows: int = BATCH_ROWS) -> Iterator[pa.Table]:
        """Yield the rows in order, in tables of at most `batch_rows`; the bytes of an `image` column are never read.

        Args:
            columns: names out of `schema`, in the order wanted; None for all.
            batch_rows: most rows a table.

        Returns:
            Tables of `schema` (or the chosen columns of it): `uri` is absolute, a cell of this file where
            there is only an `image`; columns that the file does not have are null.

        Raises:
            ManifestError: the file is damaged, or a value does not fit its column.
            StorageError: it cannot be read.
        """
        wanted = tuple(self.schema.names if columns is None else columns)
        unknown = [n for n in wanted if n not in self.schema.names]
        if unknown:
            raise ValueError(f"columns {unknown}: the manifest has {self.schema.names}")
        present = {
            self._in_file[n]: n
            for n in map(self._read_name, dict.fromkeys(("image_id", *wanted)))
            if n in self._in_file
        }
        start = 0
        with _explained(self.uri), _opened(self._storage, self.uri) as (file, parquet):
            for piece in iter_tables(file, parquet, list(present), batch_rows, f"manifest {self.uri}"):
                raw = piece.rename_columns([present[name] for name in piece.column_names])
                yield self._normalise(raw, wanted, start)
                start += len(raw)

    def _read_name(self, name: str) -> str:
        """Return the name that the file has for a column, once `columns` are renamed."""
        is_old = name == REGIONS_COLUMN and OLD_REGIONS_COLUMN in self._in_file
        return OLD_REGIONS_COLUMN if is_old else name

    def _normalise(self, raw: pa.Table, wanted: Sequence[str], start: int) -> pa.Table:
        raw.validate(full=True)  # strings that are not UTF-8 would fail later, row by row
        columns = []
        for name in wanted:
            field = self.schema.field(name)
            if name == "uri":
                columns.append(self._uris(raw, start))
            elif self._read_name(name) not in raw.column_names:
                columns.append(pa.nulls(len(raw), field.type))
            elif name in FIXED_COLUMNS:
                columns.append(normalise_column(name, raw.column(self._read_name(name))))
            else:
                columns.append(raw.column(name).cast(field.type))
        return pa.table(columns, schema=pa.schema([self.schema.field(n) for n in wanted]))

    def _uris(self, raw: pa.Table, start: int) -> pa.Array:
        given = normalise_column("uri", raw.column("uri")) if "uri" in raw.column_names else None
        uris = resolve(given, self.base_uri) if given is not None else pa.nulls(len(raw), pa.string())
        if IMAGE_COLUMN not in self._in_file:
            return uris
        numbers = pa.array(np.arange(start, start + len(raw))).cast(pa.string())
        return pc.fill_null(
            uris, pc.binary_join_element_wise(cell_prefix(self.uri, self._in_file[IMAGE_COLUMN]), numbers, "")
        )


def open_manifest(storage: Storage, uri: str, renames: Renames = MappingProxyType({})) -> ManifestFile:
    """Open a manifest and check its columns; `RowChecker` checks the rows.

    Args:
        storage: where the bytes come from.
        uri: of the Parquet file; a local path may be relative.
        renames: the job's `sources.columns`.

    Raises:
        ManifestError: it does not exist, is not Parquet, of a later version or empty, or its columns do not fit.
        StorageError: it cannot be read.
    """
    where = absolute(uri)
    with _explained(where), _opened(storage, where) as (_, parquet):
        file_schema, rows_count = parquet.schema_arrow, parquet.metadata.num_rows
        metadata: Mapping[bytes, bytes] = parquet.metadata.metadata or {}
    version = metadata.get(VERSION_KEY, MANIFEST_VERSION.encode()).decode(errors="replace")
    if version != MANIFEST_VERSION:
        raise ManifestError(f"manifest {where}: version {version!r}; this program reads {MANIFEST_VERSION}: update it")
    require_columns(file_schema.names, renames, f"sources.columns: manifest {where}")
    columns = read_names(file_schema.names, renames)
    kept = {name for name, _ in columns}
    fields = [pa.field(renames.get(f.name) or f.name, f.type) for f in file_schema if f.name in kept]
    features = {renames.get(name) or name: own for name, own in read_features(metadata).items() if name in kept}
    schema = normalised_schema(pa.schema(fields), where).with_metadata(to_metadata(features))
    if rows_count == 0:
        raise ManifestError(f"manifest {where} lists no image; {_HINT}")
    base = metadata[BASE_KEY].decode() if BASE_KEY in metadata else None
    return ManifestFile(
        storage,
        where,
        base_uri=base_of(where, base),
        rows_count=rows_count,
        schema=schema,
        columns=columns,
        is_compared=COMPARED_KEY in metadata,
    )


@contextlib.contextmanager
def _opened(storage: Storage, uri: str) -> Iterator[tuple[BinaryIO, pq.ParquetFile]]:
    with storage.open(uri) as file, pq.ParquetFile(file, buffer_size=_READ_BUFFER_BYTES) as parquet:
        yield file, parquet


@contextlib.contextmanager
def _explained(uri: str) -> Iterator[None]:
    try:
        yield
    except ObjectNotFoundError:
        raise ManifestError(f"no manifest at {uri}; {_HINT}") from None
    except StorageError as exc:
        if type(exc) is not StorageError:  # denied, interrupted: not a fault of the manifest
            raise
        raise ManifestError(f"manifest {uri}: {exc.message}; {_HINT}") from None
    except (pa.ArrowException, UnicodeDecodeError) as exc:
        reason = (str(exc).splitlines() or [type(exc).__name__])[0]
        raise ManifestError(f"manifest {uri} cannot be read ({reason}); {_HINT}") from None
    except OSError as exc:  # Arrow reports damaged pages as OSError
        raise ManifestError(f"manifest {uri} cannot be read ({exc}); {_HINT}") from None


def rows_from_table(table: pa.Table, first_index: int) -> list[ManifestRow]:
    """Return the rows of a table that `iter_tables` yielded, or that was stored and read back.

    Args:
        table: the fixed columns and the pass-through ones.
        first_index: the manifest's row number of the first.
    """
    plain = [table.column(n).to_pylist() for n in FIXED_COLUMNS if n not in (REGIONS_COLUMN, *REGIONS_SIZE)]
    sizes = zip(*(table.column(n).to_pylist() for n in REGIONS_SIZE), strict=True)
    truths = ground_truths(normalise_column(REGIONS_COLUMN, table.column(REGIONS_COLUMN)), sizes)
    others = [n for n in table.column_names if n not in FIXED_SCHEMA.names]
    names = [n for n in others if not (is_slice(n) or is_person_token(n))]
    private = [n for n in others if is_slice(n)]
    tokens = [
        table.column(n).to_pylist() if n in others else [None] * len(table) for n in (OF_IMAGE, OF_REGIONS, IDENTIFIED)
    ]
    extras: list[dict[str, Any]] = [{} for _ in range(len(table))]
    if names:
        values = zip(*(table.column(n).to_pylist() for n in names), strict=True)
        extras = [dict(zip(names, row, strict=True)) for row in values]
    slices: list[dict[str, str]] = [{} for _ in range(len(table))]
    if private:
        cells = zip(*(table.column(n).to_pylist() for n in private), strict=True)
        slices = [{name: as_word(cell) for name, cell in zip(private, row, strict=True)} for row in cells]
    return [
        ManifestRow(
            index, image_id, uri, offset, length, size_bytes, sha256, regions, extra, own, persons=persons_of(*persons)
        )
        for index, (image_id, uri, offset, length, size_bytes, sha256), regions, extra, own, persons in zip(
            range(first_index, first_index + len(table)),
            zip(*plain, strict=True),
            truths,
            extras,
            slices,
            zip(*tokens, strict=True),
            strict=True,
        )
    ]
