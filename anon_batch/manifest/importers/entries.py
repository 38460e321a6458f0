"""What all importers share: the source, its entries, the tables of entries, and the report of what was left out."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.manifest.schema import (
    FIXED_COLUMNS,
    FIXED_SCHEMA,
    MAX_DEPTH,
    OLD_REGIONS_COLUMN,
    REGIONS_COLUMN,
    REGIONS_SIZE,
    RESERVED_EXTRA_COLUMNS,
    accepts,
    depth,
    fixed_name,
    holds_binary,
    normalise_column,
)

Kind = Literal["files", "tar", "webdataset", "parquet", "table"]

BATCH_ROWS = 8192
NAMES_SHOWN = 20
_SUFFIXES_COUNTED = 200
_TEXT_NUMBERS = ("offset", "length", "size_bytes", *REGIONS_SIZE)


@dataclass(frozen=True, slots=True)
class Source:
    """One source of a manifest.

    Args:
        given: as the user wrote it.
        kind: which module reads it.
        root: absolute address of the folder that ids and names are relative to.
        addresses: the objects to read; for `files` the folder alone, or the single file.
        patterns: regular expressions that keys below `root` have to match, for `files`; empty takes all.
        several: it is a pattern or a folder, so that ids start with the name of their file.
        name: prefix of the ids when those of several sources are equal.
    """

    given: str
    kind: Kind
    root: str
    addresses: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    several: bool = False
    name: str = ""

    def stem_of(self, address: str) -> str:
        """Return the path of one of `addresses` below `root`, without its suffix."""
        below = address[len(self.root) :].lstrip("/") if address.startswith(self.root) else posixpath.basename(address)
        return posixpath.splitext(below)[0]


class Entry(NamedTuple):
    """One image. `extra` holds pass-through columns."""

    image_id: str
    uri: str
    offset: int | None = None
    length: int | None = None
    size_bytes: int | None = None
    extra: Mapping[str, Any] | None = None


@dataclass
class ImportReport:
    """What the importers left out of the rows, and what they did to columns.

    Attributes:
        suffixes: suffix -> number of files that are not images.
        names: the first of them.
        renamed: pass-through column -> its new name, because the release writes its own column under the old one.
        dropped: columns left out, because they hold binary data or further addresses of the sources.
    """

    suffixes: dict[str, int] = field(default_factory=dict)
    names: list[str] = field(default_factory=list)
    renamed: dict[str, str] = field(default_factory=dict)
    dropped: set[str] = field(default_factory=set)

    def add(self, name: str, remark: str = "") -> None:
        """Count a file that is not an image.

        Args:
            name: its path.
            remark: why, where the suffix does not explain it.
        """
        suffix = posixpath.splitext(name)[1].lower()
        label = f"{suffix or '(no suffix)'}{f' ({remark})' if remark else ''}"
        if label not in self.suffixes and len(self.suffixes) >= _SUFFIXES_COUNTED:
            label = "(other suffixes)"
        self.suffixes[label] = self.suffixes.get(label, 0) + 1
        if len(self.names) < NAMES_SHOWN:
            self.names.append(name)

    @property
    def count(self) -> int:
        return sum(self.suffixes.values())


def entry_tables(entries: Iterable[Entry], where: str) -> Iterator[pa.Table]:
    """Yield tables of at most BATCH_ROWS rows. A pass-through column, once seen, is in every table that follows.

    Raises:
        ManifestError: a name is not UTF-8.
    """
    iterator = iter(entries)
    extra_names: dict[str, None] = {}
    plain = Entry._fields[:-1]
    while batch := list(islice(iterator, BATCH_ROWS)):
        columns: dict[str, pa.Array] = {}
        for at, name in enumerate(plain):
            columns[name] = _text_safe([e[at] for e in batch], FIXED_SCHEMA.field(name).type, where)
        for entry in batch:
            extra_names.update(dict.fromkeys(entry.extra or ()))
        for name in extra_names:
            columns[name] = pa.array([(e.extra or {}).get(name) for e in batch])
        yield pa.table(columns)


def _text_safe(values: list[Any], column_type: pa.DataType, where: str) -> pa.Array:
    try:
        return pa.array(values, column_type)
    except UnicodeEncodeError as exc:
        raise ManifestError(f"{where}: the name {exc.object!r} is not UTF-8; rename it") from None


def conform(table: pa.Table, report: ImportReport) -> pa.Table:
    """Return a table whose fixed columns have their types and whose other columns may be published.

    A column with the name of a fixed one but of another type, and one with a name that the release itself
    uses, is renamed to `source_<name>`; a column that holds binary data, or is nested too deep, is dropped. Both are
    noted in the report.
    """
    columns: dict[str, pa.Array | pa.ChunkedArray] = {}
    for name in table.column_names:
        column = table.column(name)
        own = name in FIXED_COLUMNS or (name == OLD_REGIONS_COLUMN and REGIONS_COLUMN not in table.column_names)
        if own:
            fitted = _fitted(name, column)
            if fitted is not None:
                columns[fixed_name(name)] = fitted
                continue
        elif depth(column.type) > MAX_DEPTH or holds_binary(column.type):
            report.dropped.add(name)
            continue
        target = name
        if name in RESERVED_EXTRA_COLUMNS or name in (*FIXED_COLUMNS, OLD_REGIONS_COLUMN):
            target = f"source_{name}"
            while target in table.column_names:
                target = f"source_{target}"
            report.renamed[name] = target
        columns[target] = column.cast(column.type.value_type) if pa.types.is_dictionary(column.type) else column
    return pa.table(columns)


def _fitted(name: str, column: pa.ChunkedArray) -> pa.Array | None:
    try:
        if name in _TEXT_NUMBERS and pa.types.is_string(column.type):
            texts = column.to_pylist()
            return pa.array([int(t) if t else None for t in texts], pa.int64())
        if name == "sha256" and pa.types.is_string(column.type):
            return pa.array([t or None for t in column.to_pylist()], pa.string())
        return normalise_column(name, column) if accepts(name, column.type) else None
    except (ValueError, OverflowError, pa.ArrowException):
        return None
