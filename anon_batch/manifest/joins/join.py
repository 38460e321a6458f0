"""Add the columns of joined tables to rows."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import pyarrow as pa

from anon_batch.errors import ConfigError, ManifestError
from anon_batch.formats.features import read_features, to_metadata
from anon_batch.manifest.check_ids import one_array
from anon_batch.manifest.importers.entries import BATCH_ROWS
from anon_batch.manifest.importers.report import NAMES_SHOWN, printable
from anon_batch.manifest.joins.lines import KEY, JoinedLines
from anon_batch.manifest.joins.partners import Names, Partners, find_partners, look_up
from anon_batch.manifest.joins.values import find_column, texts_at
from anon_batch.manifest.rebatch import rebatch
from anon_batch.manifest.rows import Rows, replace_columns
from anon_batch.units import format_counted

_ID = "image_id"
_OWN = (_ID, "uri", "sha256")  # columns of every row that a key may be compared with
_SHOWN = 3
_TAKEN_ROWS = 65_536  # at once, because a table in another order has their lines everywhere


@dataclass(frozen=True, slots=True)
class Join:
    """A table whose columns the rows get.

    Args:
        address: of the table, see `read_lines`.
        key: its column that names images; None looks for one.
        column: of the rows, that the key is compared with; `image_id` for images.
    """

    address: str
    key: str | None = None
    column: str = _ID

    @classmethod
    def parse(cls, addresses: Sequence[str], on: Sequence[str]) -> tuple[Join, ...]:
        """Return the joins that `--join` and `--on` give: `--on` once for all, or once for each, as KEY or COLUMN=KEY.

        Raises:
            ConfigError: another number of them, or an empty name.
        """
        if on and not addresses:
            raise ConfigError("--on names a column of a joined table; give the table with --join")
        if len(on) not in (0, 1, len(addresses)):
            raise ConfigError(f"--on is given {len(on)} times, --join {len(addresses)}: give it once, or once for each")
        texts: Sequence[str | None] = [None] * len(addresses) if not on else list(on) * (len(addresses) // len(on))
        return tuple(cls._of(address, text) for address, text in zip(addresses, texts, strict=True))

    @classmethod
    def _of(cls, address: str, text: str | None) -> Join:
        if text is None:
            return cls(address)
        column, sign, key = text.rpartition("=")
        if not key or (sign and not column):
            raise ConfigError(f"--on {text}: expected KEY, or COLUMN=KEY")
        return cls(address, key, column or _ID)


@dataclass(frozen=True, slots=True)
class JoinReport:
    """What became of a joined table.

    Args:
        given: its address.
        key: its key column.
        columns: that the rows got.
        lines_count: in it.
        matched_count: rows with a line.
        alone_count: rows without one.
        alone_names: the first 20 of them.
        unused_count: lines without a row.
        unused_names: keys of the first 20 of them.
    """

    given: str
    key: str
    columns: tuple[str, ...]
    lines_count: int
    matched_count: int
    alone_count: int
    alone_names: tuple[str, ...]
    unused_count: int
    unused_names: tuple[str, ...]

    @property
    def is_incomplete(self) -> bool:
        """Whether a row has no line, or a line no row."""
        return bool(self.alone_count or self.unused_count)


def describe_join(join: JoinReport) -> str:
    """Return which rows and lines have no partner."""
    parts = []
    if join.alone_count:
        parts.append(
            f"{format_counted(join.alone_count, 'image')} without a line: {_listed(join.alone_names, join.alone_count)}"
        )
    if join.unused_count:
        parts.append(
            f"{format_counted(join.unused_count, 'line')} without an image: {_listed(join.unused_names, join.unused_count)}"
        )
    return f"{join.given}: {'; '.join(parts)}"


def _listed(names: Sequence[str], count: int) -> str:
    shown = names[:_SHOWN]
    return ", ".join(shown) + (f", and {count - len(shown):,} more" if count > len(shown) else "")


def join_rows(rows: Rows, join: Join, lines: JoinedLines) -> tuple[Rows, JoinReport]:
    """Return rows with the columns of their lines; null without a line.

    Raises:
        ManifestError: the rows have such a column already or lack the one to compare; a key in several lines; no line fits.
    """
    where = f"--join {join.address}"
    twice = [name for name in lines.extra.names if name in rows.extra.names]
    if twice:
        raise ManifestError(
            f"{where}: the images have a column `{twice[0]}` already; --ignore {twice[0]} leaves that one out, or rename one"
        )
    if find_column([*_OWN, *rows.extra.names], join.column) is None:
        raise ManifestError(
            f"{where}: the images have no column `{join.column}`; columns: {', '.join(rows.extra.names) or 'none'}"
        )
    partners, report = match_rows(rows, join, lines, where)
    if not report.matched_count:
        first = report.unused_names[0] if report.unused_names else ""
        own = next((text for array in _names(rows, join)() for text in array.to_pylist()[:1]), "")
        raise ManifestError(
            f"{where}: no line belongs to an image: its first `{lines.key}` is {first!r}, the first `{join.column}` of the "
            f"images is {own!r}; --on KEY or COLUMN=KEY names the columns to compare"
        )

    def joined() -> Iterator[pa.Table]:
        start = 0
        for table in rebatch(rows.tables(), _TAKEN_ROWS):
            found = lines.take(partners.line_of[start : start + len(table)])
            partners.check(start, texts_at(table, join.column), one_array(found, KEY), where)
            start += len(table)
            yield replace_columns(table, {name: found.column(name) for name in lines.extra.names})

    tables = partial(_cut, joined)
    features = {**read_features(rows.extra.metadata), **read_features(lines.extra.metadata)}
    return Rows(tables, pa.schema([*rows.extra, *lines.extra], to_metadata(features)), rows.count), report


def _cut(tables: Callable[[], Iterator[pa.Table]]) -> Iterator[pa.Table]:
    return rebatch(tables(), BATCH_ROWS)


def match_rows(rows: Rows, join: Join, lines: JoinedLines, where: str) -> tuple[Partners, JoinReport]:
    """Return the line of each row, and which rows and lines have no partner.

    Raises:
        ManifestError: a key is in several lines.
    """
    find = find_partners if join.column == _ID else look_up
    partners = find(_names(rows, join), lines.keys, where)
    return partners, _report(join, lines, partners, rows)


def _names(rows: Rows, join: Join) -> Names:
    return lambda: (texts_at(table, join.column) for table in rows.tables())


def _report(join: Join, lines: JoinedLines, partners: Partners, rows: Rows) -> JoinReport:
    alone, unused = partners.line_of < 0, ~partners.used
    ids = (table.column(_ID) for table in rows.tables())
    return JoinReport(
        join.address,
        lines.key,
        tuple(lines.extra.names),
        len(unused),
        int((~alone).sum()),
        int(alone.sum()),
        _first(ids, alone),
        int(unused.sum()),
        _first(lines.keys(), unused),
    )


def _first(names: Iterator[pa.Array | pa.ChunkedArray], chosen: np.ndarray) -> tuple[str, ...]:
    """Return the first names that are chosen, as a terminal shows them."""
    wanted = np.flatnonzero(chosen)[:NAMES_SHOWN]
    found: list[str] = []
    start = 0
    for array in names:
        if len(found) == len(wanted):
            break
        own = wanted[(wanted >= start) & (wanted < start + len(array))] - start
        found += [printable(str(array[at].as_py() or "")) for at in own.tolist()]
        start += len(array)
    return tuple(found)
