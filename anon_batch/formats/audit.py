"""Private audit: where each source lies, what the detectors found and what happened to the row."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import pyarrow as pa

from anon_batch.formats.part import PartMeta, column, list_array, to_parquet
from anon_batch.records import OUTLINE_SIDE, BoolArray, Detections, GroundTruth

_DETECTION = pa.struct(
    [
        column("x1", pa.float32(), "left edge of the box, px of the upright image"),
        column("y1", pa.float32(), "top edge of the box, px of the upright image"),
        column("x2", pa.float32(), "right edge of the box, px of the upright image"),
        column("y2", pa.float32(), "bottom edge of the box, px of the upright image"),
        column("label", pa.string(), "what was found, for example `face`"),
        column("score", pa.float32(), "0 to 1"),
        column("detector", pa.string(), "name of the detector that found it"),
        column("landmarks", pa.list_(pa.float32()), "five points as x, y, px; NaN if the detector gives none"),
        column(
            "method",
            pa.string(),
            "method that anonymized it; null if the detection was kept, or the image not published",
        ),
    ]
)
_TRUTH = pa.struct(
    [
        column("x1", pa.float32(), "left edge of the box, px of the upright image"),
        column("y1", pa.float32(), "top edge of the box, px of the upright image"),
        column("x2", pa.float32(), "right edge of the box, px of the upright image"),
        column("y2", pa.float32(), "bottom edge of the box, px of the upright image"),
        column("label", pa.string(), "what the box shows, for example `face`"),
        column("ignore", pa.bool_(), "true if the box counts neither as found nor as missed"),
        column("keep", pa.bool_(), "true if the owner wants the region left as it is"),
        column("detection", pa.int32(), "index of the detection that found it at IoU 0.5; -1 if missed"),
    ]
)
AUDIT_SCHEMA = pa.schema(
    [
        column("image_id", pa.string(), "the manifest's id"),
        column("uri", pa.string(), "address of the source, without password and query string"),
        column("offset", pa.int64(), "first byte of the member inside `uri`, or null"),
        column("length", pa.int64(), "bytes of the member inside `uri`, or null"),
        column("source_sha256", pa.string(), "digest of the source bytes; null if they could not be read"),
        column("source_size_bytes", pa.int64(), "size of the source; null if it could not be read"),
        column("status", pa.string(), "as in the provenance"),
        column("reason", pa.string(), "as in the provenance"),
        column("detail", pa.string(), "what happened; a traceback for unexpected errors"),
        column("detections", pa.list_(_DETECTION), "every detection; null if detection was not reached"),
        column("ground_truth", pa.list_(_TRUTH), "the manifest's ground truth; null if unknown"),
        column("stats", pa.string(), "what the row counts in the statistics of its part, as JSON"),
    ]
)
# Only in parts with an outline, so that those of other jobs stay as they were.
OUTLINES = column(
    "outlines",
    pa.list_(pa.binary()),
    "for each detection which of 64 x 64 cells of its surroundings (its box grown by 1.15, clipped to the image) show it, one "
    "bit each, by rows; null without an outline. The column is missing where no detection of the part has one",
)
_PLAIN = (
    "image_id",
    "uri",
    "offset",
    "length",
    "source_sha256",
    "source_size_bytes",
    "status",
    "reason",
    "detail",
    "stats",
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class AuditRow:
    """Record what happened to one manifest row, for the owner of the sources only.

    Args:
        image_id, uri, offset, length: where the source is.
        source_sha256, source_size_bytes: of the source bytes; None if they could not be read.
        status, reason: as in the public row.
        detail: what happened, with a traceback for unexpected errors.
        detections: px of the upright image; None if detection was not reached.
        methods: index of a detection -> method that anonymized it; a kept detection has none.
        ground_truth: from the manifest; None if unknown.
        matches: for each ground-truth region the index of its detection at IoU 0.5, -1 if missed.
        stats: the row's own statistics, `ShardStats.to_json`, so that a part can be counted again without the images.
    """

    image_id: str
    uri: str
    offset: int | None
    length: int | None
    source_sha256: str | None
    source_size_bytes: int | None
    status: str
    reason: str | None
    detail: str | None
    detections: Detections | None
    methods: Mapping[int, str]
    ground_truth: GroundTruth | None
    matches: Sequence[int]
    stats: str


def write_audit(rows: Sequence[AuditRow], meta: PartMeta) -> bytes:
    """Return one audit part as a Parquet file; `rows` are in manifest order."""
    columns: dict[str, Sequence[Any]] = {name: [getattr(row, name) for row in rows] for name in _PLAIN}
    columns["detections"] = _detections(rows)
    columns["ground_truth"] = [_truth(row) for row in rows]
    columns["outlines"] = [None if row.detections is None else _packed(row.detections) for row in rows]
    has_outlines = any(outline is not None for own in columns["outlines"] for outline in own or ())
    return to_parquet(columns, AUDIT_SCHEMA.append(OUTLINES) if has_outlines else AUDIT_SCHEMA, meta)


def read_outlines(packed: Sequence[bytes | None] | None, count: int) -> tuple[BoolArray | None, ...]:
    """Return the outlines of a row's detections, as `Detections.outlines`.

    Args:
        packed: cell of the column `outlines`; None where the part has no such column.
        count: number of detections.
    """
    return tuple(None if own is None else _unpacked(own) for own in packed or [None] * count)


def with_outlines(table: pa.Table) -> pa.Table:
    """Return the rows of an audit part with the column of outlines, null in all rows if the part had none."""
    if OUTLINES.name in table.column_names:
        return table
    return table.append_column(pa.field(OUTLINES.name, OUTLINES.type), pa.nulls(len(table), OUTLINES.type))


def _unpacked(packed: bytes) -> BoolArray:
    cells = np.unpackbits(np.frombuffer(packed, np.uint8), count=OUTLINE_SIDE**2)
    return np.ascontiguousarray(cells.reshape(OUTLINE_SIDE, OUTLINE_SIDE).astype(np.bool_))


def _packed(found: Detections) -> list[bytes | None]:
    return [None if outline is None else np.packbits(outline).tobytes() for outline in found.outlines]


def _detections(rows: Sequence[AuditRow]) -> pa.ListArray:
    found = Detections.merge([row.detections for row in rows if row.detections is not None])
    methods = [row.methods.get(index) for row in rows for index in range(len(row.detections or ()))]
    points = pa.array(found.landmarks.reshape(-1), pa.float32())
    landmarks = pa.ListArray.from_arrays(np.arange(len(found) + 1, dtype=np.int32) * 10, points)
    sides = [pa.array(np.ascontiguousarray(side), pa.float32()) for side in found.boxes.T]
    names = pa.array(found.detectors, pa.string())
    labels = pa.array(found.labels, pa.string())
    fields = [*sides, labels, pa.array(found.scores, pa.float32()), names, landmarks, pa.array(methods, pa.string())]
    return list_array([None if row.detections is None else len(row.detections) for row in rows], fields, _DETECTION)


def _truth(row: AuditRow) -> list[dict[str, Any]] | None:
    truth = row.ground_truth
    if truth is None:
        return None
    matches = list(row.matches) or [-1] * len(truth)
    return [
        {
            "x1": x1,
            "y1": y1,
            "x2": x2,
            "y2": y2,
            "label": truth.labels[i],
            "ignore": bool(truth.ignore[i]),
            "keep": bool(truth.keep[i]),
            "detection": matches[i],
        }
        for i, (x1, y1, x2, y2) in enumerate(truth.boxes.tolist())
    ]
