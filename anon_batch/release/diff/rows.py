"""Pair the rows of a source with those of a release, in order and in bounded memory."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from anon_batch.formats.release import Release
from anon_batch.formats.tombstone import ERASED
from anon_batch.geometry import Extent
from anon_batch.manifest import ManifestFile
from anon_batch.manifest.read import rows_from_table
from anon_batch.records import ManifestRow
from anon_batch.shards import effective

_COLUMNS = ("image_id", "status", "reason", "output", "member", "sha256", "regions")
_BATCH_ROWS = 256


class ReleaseRow(NamedTuple):
    """A row of the provenance; `key` and `member` say where its output is, an empty key that there is none.

    `extra` holds the columns that are compared.
    """

    image_id: str
    status: str
    reason: str | None
    key: str
    member: str | None
    sha256: str
    regions: tuple[Extent, ...]
    extra: Mapping[str, Any]

    @property
    def is_erased(self) -> bool:
        """Whether a later version has erased it, so that nothing of it is left but its place."""
        return self.reason == ERASED


class Pair(NamedTuple):
    """A row of the source and its row of the release; None where one of them is missing."""

    source: ManifestRow | None
    released: ReleaseRow | None


def iter_pairs(
    manifest: ManifestFile, release: Release, columns: Sequence[str] = (), *, is_part: bool = False
) -> Iterator[list[Pair]]:
    """Yield all rows of both, in the order of the source, in lists whose outputs are near each other.

    The rows of a release stand in the order of its manifest. So a row of the source that is not the next one of the release is
    missing there, and a row of the release that never is the next one is in no place of the source, or in another order.

    An erased row stands for the row of the source in its place, if that is still there; in a release of a sample nobody knows
    which that was.

    Args:
        manifest: lists the source.
        release: what was made of it.
        columns: pass-through columns to read of both.
        is_part: whether the release is of a sample of the source.

    Raises:
        IntegrityError: a part of the release is damaged.
        ManifestError: the manifest is damaged.
    """
    batch: list[Pair] = []
    for pair in _pairs(_source_rows(manifest), _release_rows(release, columns), is_part=is_part):
        batch.append(pair)
        if len(batch) == _BATCH_ROWS:
            yield batch
            batch = []
    if batch:
        yield batch


def _pairs(source: Iterator[ManifestRow], released: Iterator[ReleaseRow], *, is_part: bool) -> Iterator[Pair]:
    erased, waiting = _next_row(released)
    for row in source:
        if waiting is not None and waiting.image_id == row.image_id:
            yield from (Pair(None, own) for own in erased)
            yield Pair(row, waiting)
            erased, waiting = _next_row(released)
        else:
            yield Pair(row, erased.popleft() if erased and not is_part else None)
    yield from (Pair(None, own) for own in erased)
    if waiting is not None:
        yield Pair(None, waiting)
    yield from (Pair(None, own) for own in released)


def _next_row(released: Iterator[ReleaseRow]) -> tuple[deque[ReleaseRow], ReleaseRow | None]:
    """Return the next row that is not erased, None at the end, and the erased ones before it."""
    erased: deque[ReleaseRow] = deque()
    for row in released:
        if not row.is_erased:
            return erased, row
        erased.append(row)
    return erased, None


def _source_rows(manifest: ManifestFile) -> Iterator[ManifestRow]:
    start = 0
    for table in manifest.iter_tables(batch_rows=_BATCH_ROWS):
        yield from rows_from_table(table, start)
        start += len(table)


def _release_rows(release: Release, columns: Sequence[str]) -> Iterator[ReleaseRow]:
    for spec in effective(release.parts()):
        table = release.read_part(spec).table
        names = [name for name in columns if name in table.column_names]
        for row in table.select([*_COLUMNS, *names]).to_pylist():
            yield _release_row(row, {name: row[name] for name in names})


def _release_row(row: Mapping[str, Any], extra: Mapping[str, Any]) -> ReleaseRow:
    return ReleaseRow(
        row["image_id"],
        row["status"],
        row["reason"],
        row["output"] or "",
        row["member"],
        row["sha256"] or "",
        tuple(_extents(row["regions"] or ())),
        extra,
    )


def _extents(regions: Sequence[Mapping[str, Any]]) -> Iterator[Extent]:
    for region in regions:
        yield region["x1"], region["y1"], region["x2"], region["y2"]
