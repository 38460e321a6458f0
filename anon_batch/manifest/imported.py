"""Import all sources into staged tables, and decide which of their rows can be in one manifest."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ManifestError
from anon_batch.formats.features import read_features, to_metadata
from anon_batch.formats.splits import SPLIT_COLUMN
from anon_batch.manifest.importers.conform import conform
from anon_batch.manifest.importers.entries import Kind, Source
from anon_batch.manifest.importers.find import find_source, read_source
from anon_batch.manifest.importers.report import ImportReport
from anon_batch.manifest.named_columns import DESCRIBING_FILES, LABEL_COLUMN, NamedColumns, find_named_columns
from anon_batch.manifest.names import hashes, unsafe
from anon_batch.manifest.rename import Renames
from anon_batch.manifest.repeated_ids import find_repeated
from anon_batch.manifest.schema import FIXED_COLUMNS
from anon_batch.manifest.staging import StagedTables
from anon_batch.storage import Storage

_ARCHIVES = ("tar", "webdataset")


@dataclass
class ImportedRows:
    """The rows of all sources.

    Args:
        staged: the tables, by the position of their part in `parts`.
        report: what was found and left out.
        parts: (position of the source, the source or what its folder holds of one kind).
        prefixes: of the ids of each source.
        named: columns that the names of folders and files tell.
        left_out: part -> numbers of its rows that are not in the manifest.
    """

    staged: StagedTables
    report: ImportReport
    parts: list[tuple[int, Source]] = field(default_factory=list)
    prefixes: list[str] = field(default_factory=list)
    named: NamedColumns = field(default_factory=NamedColumns)
    left_out: dict[int, list[int]] = field(default_factory=dict)

    def tables(self) -> Iterator[pa.Table]:
        """Yield the rows of the manifest in order."""
        for part in range(len(self.parts)):
            yield from self._tables_of(part, self.left_out.get(part, []))

    def extra_schema(self) -> pa.Schema:
        """Return the pass-through columns, with their features as metadata; see `StagedTables.extra_schema`."""
        own = self.staged.extra_schema()
        features = {**read_features(own.metadata), **self.named.features()}
        return pa.schema([*own, *self.named.schema()], to_metadata(features))

    def count_of(self, part: int) -> int:
        """Return the number of rows of one part."""
        return self.staged.count_of(part) - len(self.left_out.get(part, []))

    @property
    def rows_count(self) -> int:
        return sum(self.count_of(part) for part in range(len(self.parts)))

    def name_columns(self, wanted: set[str]) -> None:
        """Find the columns that the names of folders and files tell, out of those wanted; those of several sources tell none."""
        if len(self.prefixes) > 1:
            return
        if not {posixpath.basename(address) for address in self.report.containers}.isdisjoint(DESCRIBING_FILES):
            wanted = wanted - {LABEL_COLUMN}  # because that file says what the images are
        parts = [(source, partial(self.staged.tables, part)) for part, (_, source) in enumerate(self.parts)]
        self.named = find_named_columns(parts, label=LABEL_COLUMN in wanted, split=SPLIT_COLUMN in wanted)

    def leave_out_repeated(self) -> None:
        """Skip rows whose id, or whose output, another row has."""
        bounds = np.cumsum([0, *(self.staged.count_of(part) for part in range(len(self.parts)))])
        for row, image_id, reason, beside in find_repeated(self._ids):
            part = int(np.searchsorted(bounds, row, "right")) - 1
            self.left_out.setdefault(part, []).append(row - int(bounds[part]))
            self.report.source = self.parts[part][1].given
            self.report.skip(image_id, reason, "" if beside == image_id else f"beside {beside}")

    def _ids(self) -> Iterator[tuple[bool, pa.Array]]:
        for part, (_, source) in enumerate(self.parts):
            for table in self._tables_of(part, []):
                yield source.kind in _ARCHIVES, table.column("image_id").combine_chunks()

    def _tables_of(self, part: int, left_out: Sequence[int]) -> Iterator[pa.Table]:
        prefix, start = self.prefixes[self.parts[part][0]], 0
        for staged in self.staged.tables(part):
            table = staged
            mine = [row - start for row in left_out if start <= row < start + len(table)]
            start += len(table)
            if mine:
                keep = np.ones(len(table), np.bool_)
                keep[mine] = False
                table = table.filter(pa.array(keep))
            table = self.named.add(table, self.parts[part][1])
            if prefix:
                at = table.column_names.index("image_id")
                ids = pc.binary_join_element_wise(prefix, table.column("image_id"), "")
                table = table.set_column(at, "image_id", ids)
            yield table


def import_sources(
    storage: Storage,
    sources: Sequence[str],
    staged: StagedTables,
    report: ImportReport,
    *,
    kind: Kind | None,
    columns: Sequence[str] | None,
    renames: Renames,
) -> ImportedRows:
    """Read all sources.

    Raises:
        ManifestError: a source cannot be read, has no such column, or shares ids with another of the same name.
        StorageError: bytes could not be read.
    """
    rows = ImportedRows(staged, report)
    found = [find_source(storage, given, kind) for given in sources]
    for at, source in enumerate(found):
        for part, tables in read_source(storage, source, report):
            in_cells = part.kind == "parquet"
            for table in tables:
                whole = _screened(conform(table, report, renames, in_cells=in_cells), report)
                staged.add(len(rows.parts), _selected(whole, columns, report))
                if report.progress is not None:
                    report.progress.rows(staged.rows_count)
            rows.parts.append((at, part))
    rows.prefixes = _id_prefixes(found, rows)
    rows.leave_out_repeated()
    return rows


def _screened(table: pa.Table, report: ImportReport) -> pa.Table:
    """Return the rows that have an address and an id that can name an output; skip the others."""
    ids, uris = (pc.fill_null(table.column(name).combine_chunks(), "") for name in ("image_id", "uri"))
    absent = [
        np.asarray(pc.equal(pc.binary_length(c), 0).to_numpy(zero_copy_only=False), np.bool_) for c in (ids, uris)
    ]
    bad = unsafe(ids)
    wrong = absent[0] | absent[1] | bad
    for at in np.flatnonzero(wrong).tolist():
        name = ids[at].as_py() or uris[at].as_py()
        report.skip(name, "unsafe_name" if bad[at] else "no_address")
    return table.filter(pa.array(~wrong)) if wrong.any() else table


def _selected(table: pa.Table, columns: Sequence[str] | None, report: ImportReport) -> pa.Table:
    if columns is None:
        return table
    kept = [n for n in table.column_names if n in FIXED_COLUMNS or n in columns]
    report.dropped.update(set(table.column_names) - set(kept))
    return table.select(kept)


def _id_prefixes(found: Sequence[Source], rows: ImportedRows) -> list[str]:
    """Return the prefix of the ids of each source: none, unless two sources share an id."""
    if len(found) == 1:
        return [""]
    known = np.zeros(0, np.uint64)
    for at in range(len(found)):
        parts = [part for part, (source, _) in enumerate(rows.parts) if source == at]
        pieces = [hashes(t.column("image_id").combine_chunks()) for part in parts for t in rows.staged.tables(part)]
        own = np.unique(np.concatenate(pieces)) if pieces else np.zeros(0, np.uint64)
        if len(np.intersect1d(known, own, assume_unique=True)):
            names = [s.name for s in found]
            if len(set(names)) < len(names) or not all(names):
                raise ManifestError(
                    f"the sources {', '.join(s.given for s in found)} share image ids, and so their names {names} cannot tell "
                    "them apart; build from the folder above, or rename one"
                )
            return [f"{name}/" for name in names]
        known = np.union1d(known, own)
    return [""] * len(found)
