"""Fetch the source bytes of a row: an object, a byte range of one, or a cell of a Parquet file."""

from __future__ import annotations

import contextlib
import dataclasses
import threading
from itertools import accumulate

import pyarrow as pa
import pyarrow.parquet as pq

from anon_batch.errors import (
    AccessDeniedError,
    FailedError,
    ObjectNotFoundError,
    SourceRefusedError,
    StorageError,
    TransientStorageError,
    TruncatedObjectError,
)
from anon_batch.manifest.addresses import parse_cell
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.bounded_parquet import check_row_group, shared_columns
from anon_batch.manifest.guarded_http import client_maker
from anon_batch.manifest.parquet_footer import RowGroup, read_row_groups
from anon_batch.manifest.unicode_names import other_spellings
from anon_batch.records import ManifestRow
from anon_batch.storage import Storage, is_http


def failure_of(exc: StorageError) -> FailedError:
    """Return how a row ends whose source cannot be read for this error."""
    if isinstance(exc, ObjectNotFoundError):
        return FailedError("source_not_found", str(exc))
    if isinstance(exc, AccessDeniedError):
        return FailedError("source_denied", str(exc))
    if isinstance(exc, TruncatedObjectError):
        return FailedError("source_truncated", str(exc))
    return FailedError("source_unreadable", str(exc))


class SourceReader:
    """Read sources. The last Parquet row group is kept, because neighbours in the manifest are neighbours in the file.

    Args:
        storage: where the sources are.
        allowed: what may be read.
    """

    def __init__(self, storage: Storage, allowed: AllowedSources) -> None:
        self._plain = storage
        self._guarded = storage.with_http_client(client_maker(allowed))
        self._allowed = allowed
        self._lock = threading.Lock()
        self._group_key: tuple[str, str, int] | None = None
        self._group: pa.ChunkedArray | None = None
        self._file_uri = ""
        self._groups: list[RowGroup] = []
        self._group_starts: list[int] = []

    def read(self, row: ManifestRow, max_bytes: int) -> bytes:
        """Return the source's bytes; where the address leads nowhere, those of the same name with other accents (NFC, NFD).

        Raises:
            FailedError: `source_refused`, `too_many_bytes`, `source_truncated`, or a Parquet cell without an image
                (`source_empty`).
            StorageError: the object cannot be read.
        """
        try:
            return self._read_allowed(row, max_bytes)
        except SourceRefusedError as exc:
            raise FailedError("source_refused", str(exc)) from None
        except ObjectNotFoundError:
            for uri in other_spellings(row.uri):
                with contextlib.suppress(ObjectNotFoundError, SourceRefusedError):
                    return self._read_allowed(dataclasses.replace(row, uri=uri), max_bytes)
            raise

    def _read_allowed(self, row: ManifestRow, max_bytes: int) -> bytes:
        self._allowed.check(row.uri)
        return self._read(row, max_bytes)

    def _storage_of(self, uri: str) -> Storage:
        return self._guarded if is_http(uri) else self._plain

    def _read(self, row: ManifestRow, max_bytes: int) -> bytes:
        known = row.length if row.length is not None else row.size_bytes
        if known is not None and known > max_bytes:
            raise FailedError("too_many_bytes", f"{known} bytes, the limit is {max_bytes}")
        if (cell := parse_cell(row.uri)) is not None:
            data = self._read_cell(cell.uri, cell.column, cell.row)
        elif row.offset is not None and row.length is not None:
            data = self._storage_of(row.uri).read(row.uri, row.offset, row.length)
            if len(data) != row.length:
                raise FailedError("source_truncated", f"{len(data)} of {row.length} bytes at offset {row.offset}")
        else:
            # One byte more than allowed shows an object that is too large, whatever size the manifest states.
            data = self._storage_of(row.uri).read(row.uri, 0, max_bytes + 1)
        if len(data) > max_bytes:
            raise FailedError("too_many_bytes", f"the limit is {max_bytes}")
        return data

    def _read_cell(self, uri: str, column: str, row: int) -> bytes:
        with self._lock:
            try:
                if uri != self._file_uri:
                    self._open(uri)
                group = sum(start <= row for start in self._group_starts) - 1
                if self._group_key != (uri, column, group):
                    self._load(uri, column, group)
                if self._group is None:
                    raise ObjectNotFoundError("no such row", uri)
                cell = self._group[row - self._group_starts[group]].as_py()
            except OSError as exc:
                self._forget()
                if type(exc) is OSError and exc.errno is None:  # how Arrow reports a damaged file
                    raise FailedError("source_unreadable", f"{uri} row {row} column {column}: {exc}") from None
                # The storage failed, through pyarrow; a retry may help.
                raise TransientStorageError(f"row {row} column {column}: {exc}", uri) from None
            except (pa.ArrowException, LookupError, ValueError, OverflowError) as exc:
                self._forget()
                raise FailedError("source_unreadable", f"{uri} row {row} column {column}: {exc}") from None
        data = cell.get("bytes") if isinstance(cell, dict) else cell
        if not data:
            raise FailedError("source_empty", f"{uri} row {row}: no bytes in column {column}")
        if not isinstance(data, bytes):
            raise FailedError(
                "source_unreadable", f"{uri} row {row}: column {column} holds {type(data).__name__}, no bytes"
            )
        return data

    def _forget(self) -> None:
        self._file_uri, self._group_key = "", None

    def _open(self, uri: str) -> None:
        with self._storage_of(uri).open(uri) as file:
            self._groups = read_row_groups(file)
        self._group_starts = [0, *accumulate(group.rows for group in self._groups[:-1])]
        self._file_uri = uri

    def _load(self, uri: str, column: str, group: int) -> None:
        with self._storage_of(uri).open(uri) as file:
            if (problem := check_row_group(self._groups[group], column)) is not None:
                raise FailedError("source_unreadable", f"{uri} column {column}: {problem}")
            # Because a value that many rows share is stored once, keep it once: a file of kilobytes may unpack to gigabytes.
            parquet = pq.ParquetFile(file, read_dictionary=shared_columns(self._groups[group], column))
            self._group = parquet.read_row_group(group, columns=[column], use_threads=False).column(column)
        self._group_key = (uri, column, group)
