"""What all importers share: the source, its entries, and the tables of entries."""

from __future__ import annotations

import posixpath
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from typing import Any, Literal, NamedTuple

import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.manifest.schema import FIXED_SCHEMA

Kind = Literal["files", "tar", "webdataset", "parquet", "table", "wider"]

BATCH_ROWS = 8192


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
        only: the kind that the user asked for; entries of other kinds are skipped.
    """

    given: str
    kind: Kind
    root: str
    addresses: tuple[str, ...]
    patterns: tuple[str, ...] = ()
    several: bool = False
    name: str = ""
    only: Kind | None = None

    def below(self, address: str) -> str:
        """Return the path of one of `addresses` below `root`."""
        return address[len(self.root) :].lstrip("/") if address.startswith(self.root) else posixpath.basename(address)

    def stem_of(self, address: str) -> str:
        """Return the path of one of `addresses` below `root`, without its suffix."""
        return posixpath.splitext(self.below(address))[0]


class Entry(NamedTuple):
    """One image. `extra` holds pass-through columns."""

    image_id: str
    uri: str
    offset: int | None = None
    length: int | None = None
    size_bytes: int | None = None
    extra: Mapping[str, Any] | None = None


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
