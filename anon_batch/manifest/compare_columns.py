"""Find columns `sha256` and `size_bytes` that describe other files than the images, by reading the first images."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable
from typing import NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import RowError, StorageError
from anon_batch.manifest.fetch import SourceReader
from anon_batch.manifest.read import rows_from_table
from anon_batch.manifest.schema import FIXED_COLUMNS
from anon_batch.records import ManifestRow

READ_ROWS = 5
FEWEST_ROWS = 3  # below, a changed image is as likely


class ForeignColumn(NamedTuple):
    """A column whose values fit none of the images that were read.

    Args:
        name: of the column.
        rows_count: images that were read.
        row: number of the first.
        given: its value in the column.
        found: the image's.
    """

    name: str
    rows_count: int
    row: int
    given: str
    found: str

    def __str__(self) -> str:
        return (
            f"column `{self.name}` describes other files: it fits none of the first {self.rows_count} images (row {self.row}: "
            f"the column has {self.given}, the image {self.found})"
        )


def find_foreign_columns(reader: SourceReader, rows: Iterable[ManifestRow], max_bytes: int) -> list[ForeignColumn]:
    """Read up to READ_ROWS images and compare them with `sha256` and `size_bytes`.

    Args:
        reader: of the images. An image that cannot be read is left out; a storage error ends the reading.
        rows: the first ones that have a value in one of the columns.
        max_bytes: upper bound of an image's size.
    """
    compared: dict[str, list[tuple[int, str, str]]] = {}
    for row, _ in zip(rows, range(READ_ROWS), strict=False):
        try:
            data = reader.read(row, max_bytes)
        except RowError:
            continue
        except StorageError:
            break
        if row.size_bytes is not None:
            compared.setdefault("size_bytes", []).append((row.index, str(row.size_bytes), str(len(data))))
        if row.sha256 is not None:
            digest = hashlib.sha256(data).hexdigest()
            compared.setdefault("sha256", []).append((row.index, row.sha256.lower(), digest))
    return [
        ForeignColumn(name, len(pairs), *pairs[0])
        for name, pairs in compared.items()
        if len(pairs) >= FEWEST_ROWS and all(given != found for _, given, found in pairs)
    ]


def described_rows(table: pa.Table, first_index: int, most: int) -> list[ManifestRow]:
    """Return the first rows of a table, at most `most`, that have a digest or a size.

    Args:
        table: with the manifest's fixed columns, normalised.
        first_index: row number of its first row.
        most: 0 or less returns none.
    """
    if most <= 0:
        return []
    fixed = table.select(FIXED_COLUMNS)
    has = pc.or_(pc.is_valid(fixed.column("sha256")), pc.is_valid(fixed.column("size_bytes")))
    chosen = np.flatnonzero(has.to_numpy())[:most].tolist()
    return [row for at in chosen for row in rows_from_table(fixed.slice(at, 1), first_index + at)]
