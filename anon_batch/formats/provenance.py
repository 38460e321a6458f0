"""Public provenance: one row for each manifest row. A provenance part's existence commits its shard.

No column leads to the source: none holds its address, its digest or a detection's own box.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pyarrow as pa

from anon_batch.formats.part import PartMeta, column, list_array, to_parquet
from anon_batch.records import ProvenanceRow

_REGION = pa.struct(
    [
        column("x1", pa.int32(), "left edge, px of the upright image, inclusive"),
        column("y1", pa.int32(), "top edge, px of the upright image, inclusive"),
        column("x2", pa.int32(), "right edge, px of the upright image, exclusive"),
        column("y2", pa.int32(), "bottom edge, px of the upright image, exclusive"),
        column("label", pa.string(), "what was anonymized, for example `face`"),
        column("method", pa.string(), "method that anonymized the region"),
        column("synthetic", pa.bool_(), "true if a model generated what the region shows now"),
    ]
)
PROVENANCE_SCHEMA = pa.schema(
    [
        column("image_id", pa.string(), "the manifest's id"),
        column("status", pa.string(), "`anonymized`, `clean`, `withheld` or `failed`"),
        column("reason", pa.string(), "reason code if withheld or failed, else null"),
        column("output", pa.string(), "key of the output below OUTPUT; null if withheld or failed"),
        column("member", pa.string(), "name inside `output` if that is a tar or Parquet file, else null"),
        column("sha256", pa.string(), "digest of the output image file"),
        column("size_bytes", pa.int64(), "size of the output image file"),
        column("format", pa.string(), "JPEG, PNG, WEBP, TIFF, BMP, GIF or AVIF"),
        column("width", pa.int32(), "px of the upright image; null if it could not be decoded"),
        column("height", pa.int32(), "px of the upright image; null if it could not be decoded"),
        column("regions", pa.list_(_REGION), "anonymized regions; empty if the image has none"),
        column(
            "synthetic", pa.bool_(), "true if a model generated what any region shows now; null if there is no output"
        ),
        column("models", pa.list_(pa.string()), "`name@sha256` of every model of the run"),
        column("run_id", pa.string(), "id of the run"),
        column("tool_version", pa.string(), "version of anon-batch"),
    ]
)
RESERVED_COLUMNS = frozenset(PROVENANCE_SCHEMA.names)


def write_provenance(
    rows: Sequence[ProvenanceRow], extra: pa.Schema, models: Sequence[str], tool_version: str, meta: PartMeta
) -> bytes:
    """Return one provenance part as a Parquet file.

    Args:
        rows: in manifest order.
        extra: names and types of the pass-through columns.
        models: `name@sha256` of every model of the run.
        tool_version: version of this package.
        meta: stored in the key-value metadata.
    """
    columns: dict[str, Sequence[Any]] = {
        name: [getattr(row, name) for row in rows] for name in PROVENANCE_SCHEMA.names if hasattr(ProvenanceRow, name)
    }
    columns["regions"] = _regions(rows)
    columns["models"] = [list(models)] * len(rows)
    columns["run_id"] = [meta.run_id] * len(rows)
    columns["tool_version"] = [tool_version] * len(rows)
    schema = PROVENANCE_SCHEMA
    for field in extra:
        columns[field.name] = [row.extra.get(field.name) for row in rows]
        schema = schema.append(field)
    return to_parquet(columns, schema, meta)


def _regions(rows: Sequence[ProvenanceRow]) -> pa.ListArray:
    regions = [region for row in rows for region in row.regions]
    fields = [pa.array([getattr(region, field.name) for region in regions], field.type) for field in _REGION]
    return list_array([len(row.regions) for row in rows], fields, _REGION)
