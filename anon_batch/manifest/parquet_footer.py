"""Read what a Parquet file's footer says of its column chunks.

pyarrow ends the whole process when somebody else's file has damaged statistics and a column chunk is asked for, so the few
numbers that are needed are read here from Thrift's compact form (parquet.thrift: FileMetaData, RowGroup, ColumnMetaData).
"""

from __future__ import annotations

import io
from typing import Any, BinaryIO, NamedTuple

_MAX_FOOTER_BYTES = 128 * 2**20
_MAX_NESTING = 16
_BYTE_ARRAY = 6


class Chunk(NamedTuple):
    """One column in one row group.

    Args:
        path: names of the column and of the fields inside it, with dots.
        is_bytes: whether its values are strings or binary.
        values: how many, those inside lists included.
        unpacked_bytes: size without compression.
        dictionary_at: offset of the page that holds its dictionary; None without one.
    """

    path: str
    is_bytes: bool
    values: int
    unpacked_bytes: int
    dictionary_at: int | None


class RowGroup(NamedTuple):
    """A row group: its number of rows and its columns."""

    rows: int
    chunks: tuple[Chunk, ...]


def read_row_groups(file: BinaryIO) -> list[RowGroup]:
    """Return the row groups of a Parquet file.

    Raises:
        ValueError: the footer cannot be read.
    """
    size = file.seek(0, io.SEEK_END)
    file.seek(max(0, size - 8))
    tail = file.read(8)
    length = int.from_bytes(tail[:4], "little")
    if tail[4:] != b"PAR1" or length > min(size - 8, _MAX_FOOTER_BYTES):
        raise ValueError("no footer of a Parquet file")
    file.seek(size - 8 - length)
    try:
        groups = _Reader(file.read(length)).struct(0).get(4, [])
        return [RowGroup(group[3], tuple(map(_chunk, group[1]))) for group in groups]
    except (IndexError, KeyError, TypeError, AttributeError, UnicodeDecodeError) as exc:
        raise ValueError(f"a damaged footer ({type(exc).__name__})") from None


def read_page_bytes(header: bytes) -> int:
    """Return the unpacked size of a page from the beginning of its header.

    Raises:
        ValueError: the header cannot be read.
    """
    try:
        return int(_Reader(header).first_integers(2)[1])
    except IndexError:
        raise ValueError("a damaged page header") from None


def _chunk(fields: dict[int, Any]) -> Chunk:
    own = fields[3]
    path = ".".join(name.decode() for name in own[3])
    start = own.get(11)
    return Chunk(path, own[1] == _BYTE_ARRAY, int(own[5]), int(own[6]), None if start is None else int(start))


class _Reader:
    """Read Thrift's compact form from the beginning of some bytes."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._at = 0

    def struct(self, depth: int) -> dict[int, Any]:
        """Return field number -> value."""
        if depth > _MAX_NESTING:
            raise ValueError("a footer that is nested too deep")
        fields: dict[int, Any] = {}
        number = 0
        while head := self._byte():
            number = number + (head >> 4) if head >> 4 else self._integer()
            kind = head & 15
            fields[number] = kind == 1 if kind < 3 else self._value(kind, depth)
        return fields

    def first_integers(self, count: int) -> list[int]:
        """Return the first fields of a struct, which must be integers and must follow each other."""
        found = []
        for _ in range(count):
            if self._byte() not in (0x14, 0x15, 0x16):
                raise ValueError("a page header of another form")
            found.append(self._integer())
        return found

    def _value(self, kind: int, depth: int) -> Any:
        if kind in (4, 5, 6):
            return self._integer()
        if kind in (1, 2, 3):
            return self._byte()
        if kind == 8:
            return self._bytes(self._number())
        if kind in (7, 13):
            return self._bytes(8 if kind == 7 else 16)
        if kind in (9, 10):
            head = self._byte()
            count = head >> 4 if head >> 4 < 15 else self._number()
            return [self._item(head & 15, depth + 1) for _ in range(count)]
        return self._item(kind, depth + 1)

    def _item(self, kind: int, depth: int) -> Any:
        if kind == 12:
            return self.struct(depth)
        if (kind in (9, 10) and depth > _MAX_NESTING) or kind not in range(1, 11):
            raise ValueError("a value of an unknown kind")
        return self._value(kind, depth)

    def _bytes(self, count: int) -> bytes:
        start, self._at = self._at, self._at + count
        if self._at > len(self._data):
            raise IndexError
        return self._data[start : self._at]

    def _byte(self) -> int:
        self._at += 1
        return self._data[self._at - 1]

    def _number(self) -> int:
        value = shift = 0
        while (byte := self._byte()) & 0x80:
            value, shift = value | (byte & 0x7F) << shift, shift + 7
            if shift > 63:
                raise ValueError("a number of more than 64 bits")
        return value | byte << shift

    def _integer(self) -> int:
        value = self._number()
        return -(value >> 1) - 1 if value & 1 else value >> 1
