"""Make regions of a column of boxes."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.manifest.box_format import PIXELS, BoxFormat
from anon_batch.manifest.check_ids import shorten
from anon_batch.manifest.joins.values import find_column, values_at
from anon_batch.manifest.regions_column import regions_array
from anon_batch.manifest.rows import Rows, replace_columns
from anon_batch.manifest.schema import REGIONS_COLUMN, REGIONS_SIZE
from anon_batch.records import DEFAULT_LABEL, GroundTruth

_SHOWN_CHARACTERS = 80


@dataclass(frozen=True, slots=True)
class BoxColumn:
    """A column of boxes.

    Args:
        path: its name, or `COLUMN.FIELD` of a struct or of JSON texts. Its values are lists of four numbers, or JSON of them.
        form: of the numbers.
        label: of all regions.
    """

    path: str
    form: BoxFormat = PIXELS
    label: str = DEFAULT_LABEL


def with_boxes(rows: Rows, boxes: BoxColumn) -> Rows:
    """Return rows whose `regions` are the boxes of a column; null where the column is. The column itself is left out.

    Raises:
        ManifestError: no such column; when the tables are read: a value that is not a list of boxes, with the image's id.
    """
    head = find_column(rows.extra.names, boxes.path)
    if head is None:
        raise ManifestError(
            f"--regions-from {boxes.path}: no such column; columns: {', '.join(rows.extra.names) or 'none'}"
        )
    extra = rows.extra if head != boxes.path else rows.extra.remove(rows.extra.get_field_index(head))

    def with_regions() -> Iterator[pa.Table]:
        for table in rows.tables():
            ids = table.column("image_id").to_pylist()
            cells = values_at(table, boxes.path).to_pylist()
            truths = [_truth(cell, boxes, image_id) for cell, image_id in zip(cells, ids, strict=True)]
            columns = {REGIONS_COLUMN: regions_array(truths)}
            for at, name in enumerate(REGIONS_SIZE):
                columns[name] = pa.array([t.size[at] if t and t.size else None for t in truths], pa.int64())
            yield replace_columns(table, columns)

    return Rows(with_regions, extra, rows.count)


def _truth(cell: Any, boxes: BoxColumn, image_id: str) -> GroundTruth | None:
    try:
        found = json.loads(cell) if isinstance(cell, str) else cell
        if found is None:
            return None
        numbers = np.asarray(found, np.float64).reshape(len(found), 4) if len(found) else np.zeros((0, 4))
    except (ValueError, TypeError, RecursionError):
        shown = shorten(str(cell)[:_SHOWN_CHARACTERS])
        raise ManifestError(
            f"--regions-from {boxes.path}: image {image_id!r}: {shown} is not a list of boxes of four numbers"
        ) from None
    xyxy = boxes.form.to_corners(numbers).astype(np.float32)
    return GroundTruth(xyxy, np.zeros(len(xyxy), np.bool_), (boxes.label,) * len(xyxy), size=boxes.form.size)
