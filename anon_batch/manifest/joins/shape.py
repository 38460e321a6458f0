"""Shape the rows of the sources as the user asked: joined columns, boxes, classes and new ids, in this order."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pyarrow as pa

from anon_batch.formats.features import read_features, to_metadata
from anon_batch.formats.splits import SPLIT_COLUMN
from anon_batch.manifest.box_format import BoxFormat
from anon_batch.manifest.imported import ImportedRows
from anon_batch.manifest.importers.entries import Source
from anon_batch.manifest.importers.report import ImportReport
from anon_batch.manifest.joins.box_column import BoxColumn, with_boxes
from anon_batch.manifest.joins.class_columns import with_classes
from anon_batch.manifest.joins.join import Join, JoinReport, join_rows
from anon_batch.manifest.joins.lines import read_lines
from anon_batch.manifest.joins.new_ids import IdTemplate, with_new_ids
from anon_batch.manifest.named_columns import LABEL_COLUMN, find_named_columns
from anon_batch.manifest.rename import Renames, require_columns
from anon_batch.manifest.rows import Rows, stage_rows
from anon_batch.storage import Storage


@dataclass(frozen=True, slots=True)
class Shaping:
    """What the rows get besides what their sources say.

    Args:
        joins: tables, whose columns they get in this order.
        boxes: the column that becomes their regions.
        truth_form: of the boxes in a simple JSON or CSV file of ground truth; None is corners in px.
        classes: columns of texts that become classes.
        ids: what their ids are made of.
    """

    joins: tuple[Join, ...] = ()
    boxes: BoxColumn | None = None
    truth_form: BoxFormat | None = None
    classes: tuple[str, ...] = ()
    ids: IdTemplate | None = None

    @property
    def changes_rows(self) -> bool:
        """Whether rows differ from what their sources say."""
        return bool(self.joins or self.boxes or self.classes or self.ids)

    def columns_read(self) -> set[str]:
        """Return the columns of rows that this needs, and for a dotted path all that may hold it."""
        paths = {join.column for join in self.joins} | ({self.boxes.path} if self.boxes else set())
        paths |= set(self.ids.columns) if self.ids else set()
        return {path.rsplit(".", cut)[0] for path in paths for cut in range(path.count(".") + 1)} | set(self.classes)


@dataclass
class ShapedRows:
    """Rows, and what shaping them did."""

    rows: Rows
    joins: list[JoinReport] = field(default_factory=list)


def shape_rows(
    storage: Storage,
    imported: ImportedRows,
    shaping: Shaping,
    folder: Path,
    *,
    columns: Sequence[str] | None,
    renames: Renames,
) -> ShapedRows:
    """Return the rows in their last shape, staged on the local disk.

    Args:
        storage: to read joined tables with.
        imported: the rows of the sources; their columns `label` and `split` are found here, because a joined table comes first.
        shaping: what to do.
        folder: an existing one for files.
        columns: pass-through columns to keep; None keeps all.
        renames: of columns of the joined tables, if no source has them.

    Raises:
        ManifestError: see the steps.
        StorageError: a table cannot be read.
    """
    report = imported.report
    left = {name: new for name, new in renames.items() if name not in report.columns}
    joined = [
        read_lines(storage, join.address, join.key, folder / f"joined-{number}", report, left)
        for number, join in enumerate(shaping.joins)
    ]
    own = {*renames, *imported.staged.extra_schema().names, *(name for lines in joined for name in lines.extra.names)}
    if not shaping.ids:
        imported.name_columns(_wanted(own, columns))
    report.columns.update(name for name in (LABEL_COLUMN, SPLIT_COLUMN) if name in renames and renames[name] is None)
    if report.columns:
        require_columns(sorted(report.columns), renames, "--rename or --ignore")
    shaped = ShapedRows(Rows(imported.tables, imported.extra_schema(), imported.rows_count))
    if not shaping.changes_rows:
        return shaped
    for join, lines in zip(shaping.joins, joined, strict=True):
        shaped.rows, done = join_rows(shaped.rows, join, lines)
        shaped.joins.append(done)
    if shaping.boxes:
        shaped.rows = with_boxes(shaped.rows, shaping.boxes)
    if shaping.ids:
        shaped.rows = with_new_ids(shaped.rows, shaping.ids)
    shaped.rows = stage_rows(_selected(shaped.rows, columns, shaping, report), folder / "shaped")
    if shaping.ids:
        shaped.rows = _with_named_columns(shaped.rows, _wanted({*renames, *shaped.rows.extra.names}, columns))
    if shaping.classes:
        shaped.rows = with_classes(shaped.rows, shaping.classes)
    return shaped


def _selected(rows: Rows, columns: Sequence[str] | None, shaping: Shaping, report: ImportReport) -> Rows:
    if columns is None:
        return rows
    kept = [own for own in rows.extra if own.name in columns or own.name in shaping.classes]
    report.dropped.update(set(rows.extra.names) - {own.name for own in kept})
    features = {name: own for name, own in read_features(rows.extra.metadata).items() if name in {f.name for f in kept}}
    return Rows(rows.tables, pa.schema(kept, to_metadata(features)), rows.count)


def _wanted(taken: set[str], columns: Sequence[str] | None) -> set[str]:
    """Return which of the columns `label` and `split` names may tell: those that nothing else gives."""
    names = (LABEL_COLUMN, SPLIT_COLUMN)
    return {name for name in names if name not in taken and (columns is None or name in columns)}


def _with_named_columns(rows: Rows, wanted: set[str]) -> Rows:
    """Return rows with the columns `label` and `split` that the folders of their new ids tell."""
    source = Source("", "files", "", ())
    named = find_named_columns([(source, rows.tables)], label=LABEL_COLUMN in wanted, split=SPLIT_COLUMN in wanted)
    features = {**read_features(rows.extra.metadata), **named.features()}
    extra = pa.schema([*rows.extra, *named.schema()], to_metadata(features))
    return Rows(lambda: (named.add(table, source) for table in rows.tables()), extra, rows.count)
