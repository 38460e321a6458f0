"""What is to be erased, and which rows that is: by id, address of the source, value of a column, or person."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from anon_batch.errors import ConfigError
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.plan import Plan
from anon_batch.formats.tombstone import erased_id, parse_erased_id
from anon_batch.manifest.chunks import iter_chunks
from anon_batch.manifest.persons import tokens_in
from anon_batch.redaction import redact_address
from anon_batch.storage import absolute, is_http


@dataclass(frozen=True, slots=True)
class EraseRequest:
    """What is to be erased: every row that one of these names.

    Args:
        ids: of images.
        sources: addresses: of a file, with all of its members or cells; of a folder; or, with `*` at the end, a beginning.
        columns: (name, value) of a published column, compared as text.
        persons: tokens of persons, as `persons.parquet` has them.
    """

    ids: tuple[str, ...] = ()
    sources: tuple[str, ...] = ()
    columns: tuple[tuple[str, str], ...] = ()
    persons: tuple[str, ...] = ()

    def digest(self, run_id: str) -> str:
        """Return a digest by which the ledger recognises the same request, without holding what was erased."""
        own: list[list[Any]] = [sorted(set(self.ids)), sorted(set(self.sources)), sorted(set(self.columns))]
        own += [sorted(set(self.persons))] if self.persons else []  # so that earlier requests keep their digests
        return hashlib.sha256(json.dumps([run_id, own]).encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class FoundRow:
    """A row to erase.

    Args:
        number: in the release.
        image_id: its id.
        source: address of its original, as it may be shown.
        original: whole address, and the first byte in it of a member of a tar.
    """

    number: int
    image_id: str
    source: str
    original: tuple[str, int | None]


@dataclass(frozen=True, slots=True)
class FoundRows:
    """The rows that a request names, in order.

    Args:
        rows: to erase.
        missing: what of the request names no row.
        twins: ids of other rows with the same originals.
    """

    rows: Sequence[FoundRow]
    missing: Sequence[str] = field(default_factory=tuple)
    twins: Sequence[str] = field(default_factory=tuple)


def find_rows(ledger: Ledger, plan: Plan, request: EraseRequest) -> FoundRows:
    """Return the rows that a request names; rows that are erased already are not found.

    Args:
        ledger: holds the rows of the plan, which are read once, chunk by chunk.
        plan: of the run.
        request: what is to be erased.

    Raises:
        ConfigError: a column does not exist, or another row has the id that an erased row would get.
        IntegrityError: the ledger is damaged.
    """
    ids, met = set(request.ids), set[str]()
    found: list[FoundRow] = []
    taken: dict[int, int] = {}
    for start, table in iter_chunks(ledger, plan.rows_id, plan.total):
        _check_columns(request, table)
        values = {name: table.column(name).to_pylist() for name, _ in request.columns}
        shown = tokens_in(table) if request.persons else [frozenset[str]()] * len(table)
        for offset, (image_id, uri, first_byte) in enumerate(_rows(table)):
            number = parse_erased_id(image_id)
            if number == start + offset and not uri:
                continue
            if number is not None:
                taken[number] = start + offset
            names = [
                *([image_id] if image_id in ids else []),
                *(source for source in request.sources if is_of(uri, source)),
                *(person for person in request.persons if person in shown[offset]),
                *(_show(name, value) for name, value in request.columns if _text(values[name][offset]) == value),
            ]
            if names:
                met.update(names)
                found.append(FoundRow(start + offset, image_id, redact_address(uri), (uri, first_byte)))
    numbers = {row.number for row in found}
    for row in found:
        if taken.get(row.number, row.number) not in numbers:
            raise ConfigError(
                f"another image has the id {erased_id(row.number)!r}, which {row.image_id!r} would get; erase it too"
            )
    missing = [name for name in _names(request) if name not in met]
    return FoundRows(found, missing, list(_twins(ledger, plan, found)) if found else [])


def _twins(ledger: Ledger, plan: Plan, found: Sequence[FoundRow]) -> Iterator[str]:
    """Yield the ids of rows that are not found and have the original of one that is, by its address and place in it."""
    numbers = {row.number for row in found}
    originals = {row.original for row in found}
    for start, table in iter_chunks(ledger, plan.rows_id, plan.total):
        for offset, (image_id, *original) in enumerate(_rows(table)):
            if tuple(original) in originals and start + offset not in numbers:
                yield image_id


def _rows(table: pa.Table) -> Iterator[tuple[str, str, int | None]]:
    """Yield id, address and first byte of the original of each row."""
    yield from zip(*(table.column(name).to_pylist() for name in ("image_id", "uri", "offset")), strict=True)


def _names(request: EraseRequest) -> Iterator[str]:
    yield from dict.fromkeys((*request.ids, *request.sources, *request.persons))
    yield from (_show(name, value) for name, value in dict.fromkeys(request.columns))


def is_of(uri: str, source: str) -> bool:
    """Return whether the original at an address belongs to a source that was named."""
    wanted = absolute(source[:-1] if source.endswith("*") else source)
    if source.endswith("/*"):
        wanted += "/"
    ends = ["#", "::", *(["?"] if is_http(wanted) else [])]  # of a cell, of a chained address, of a query
    for own in (absolute(uri), redact_address(absolute(uri))):
        if own == wanted or own.startswith((f"{wanted.rstrip('/')}/", *(wanted + end for end in ends))):
            return True
        if source.endswith("*") and own.startswith(wanted):
            return True
    return False


def _check_columns(request: EraseRequest, table: pa.Table) -> None:
    for name, _ in request.columns:
        if name not in table.column_names:
            raise ConfigError(
                f"--column {name}: the ledger has no such column, because the manifest has none or it is not published; "
                "name the rows by --ids or --source"
            )


def _text(value: object) -> str | None:
    return None if value is None else str(value).lower() if isinstance(value, bool) else str(value)


def _show(name: str, value: str) -> str:
    return f"{name}={value}"
