"""The Parquet files of a release: public provenance parts and private audit parts.

A provenance part's existence commits its shard; its key-value metadata carries the shard's statistics and the attempt that
won. Public columns hold nothing that leads to the source: no address, no digest of it, no detection box.
"""

from __future__ import annotations

import dataclasses
import io
import json
from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from anon_batch.errors import IntegrityError, TransientStorageError
from anon_batch.records import Detections, GroundTruth, ProvenanceRow

FORMAT_VERSION = "2"
_OLDER_VERSIONS = ("1",)
_META_KEY = b"anon_batch"

_REGION = pa.struct(
    [
        ("x1", pa.int32()),
        ("y1", pa.int32()),
        ("x2", pa.int32()),
        ("y2", pa.int32()),
        ("label", pa.string()),
        ("method", pa.string()),
        ("synthetic", pa.bool_()),
    ]
)
PROVENANCE_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("output", pa.string()),
        ("member", pa.string()),
        ("sha256", pa.string()),
        ("size_bytes", pa.int64()),
        ("format", pa.string()),
        ("width", pa.int32()),
        ("height", pa.int32()),
        ("regions", pa.list_(_REGION)),
        ("models", pa.list_(pa.string())),
        ("run_id", pa.string()),
        ("tool_version", pa.string()),
    ]
)
RESERVED_COLUMNS = frozenset(PROVENANCE_SCHEMA.names)

_DETECTION = pa.struct(
    [
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("x2", pa.float32()),
        ("y2", pa.float32()),
        ("label", pa.string()),
        ("score", pa.float32()),
        ("detector", pa.string()),
        ("landmarks", pa.list_(pa.float32())),
        ("method", pa.string()),
    ]
)
_TRUTH = pa.struct(
    [
        ("x1", pa.float32()),
        ("y1", pa.float32()),
        ("x2", pa.float32()),
        ("y2", pa.float32()),
        ("label", pa.string()),
        ("ignore", pa.bool_()),
        ("keep", pa.bool_()),
        ("detection", pa.int32()),
    ]
)
AUDIT_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("source_sha256", pa.string()),
        ("source_size_bytes", pa.int64()),
        ("status", pa.string()),
        ("reason", pa.string()),
        ("detail", pa.string()),
        ("detections", pa.list_(_DETECTION)),
        ("ground_truth", pa.list_(_TRUTH)),
    ]
)


@dataclasses.dataclass(frozen=True, slots=True, eq=False)
class AuditRow:
    """The private fate of one manifest row.

    Args:
        image_id, uri, offset, length: where the source is.
        source_sha256, source_size_bytes: of the source bytes; None when they could not be read.
        status, reason: as in the public row.
        detail: what happened, with a traceback for the unexpected.
        detections: what the detectors found, px of the upright picture; None when detection was not reached.
        methods: detection index -> method that anonymized it; a kept detection has none.
        ground_truth: the manifest's regions; None when unknown.
        matches: for each ground-truth region the index of its detection at IoU 0.5, -1 when missed.
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


@dataclasses.dataclass(frozen=True, slots=True)
class PartMeta:
    """What a provenance part says of its shard.

    Args:
        shard: name of the shard, START-COUNT.
        attempt: name of the attempt that won; the audit part and shard files of other attempts are waste.
        run_id: of the run.
        finished_at: UTC time of the commit, ISO 8601.
        stats: the shard's statistics as JSON.
        shard_sha256: of the tar or Parquet file with the shard's pictures; empty where there is none.
    """

    shard: str
    attempt: str
    run_id: str
    finished_at: str
    stats: str
    shard_sha256: str = ""


def write_provenance(
    rows: Sequence[ProvenanceRow], extra: pa.Schema, models: Sequence[str], tool_version: str, meta: PartMeta
) -> bytes:
    """One provenance part.

    Args:
        rows: in manifest order.
        extra: names and types of the pass-through columns.
        models: `name@sha256` of every model that took part.
        tool_version: version of this package.
        meta: goes to the key-value metadata.

    Returns:
        The Parquet file.
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
    return _to_parquet(columns, schema, dataclasses.asdict(meta))


def write_audit(rows: Sequence[AuditRow], meta: PartMeta) -> bytes:
    """One private audit part, as Parquet."""
    plain = ("image_id", "uri", "offset", "length", "source_sha256", "source_size_bytes", "status", "reason", "detail")
    columns: dict[str, Sequence[Any]] = {name: [getattr(row, name) for row in rows] for name in plain}
    columns["detections"] = _detections(rows)
    columns["ground_truth"] = [_truth(row) for row in rows]
    return _to_parquet(columns, AUDIT_SCHEMA, dataclasses.asdict(meta))


def read_meta(file: Any, uri: str) -> PartMeta:
    """The metadata of a part, from its footer alone.

    Args:
        file: a seekable binary file, or the bytes of the part.
        uri: for messages.

    Raises:
        IntegrityError: not a part that this package wrote.
        TransientStorageError: `file` cannot be read.
    """
    try:
        source = pa.BufferReader(file) if isinstance(file, bytes) else file
        metadata = pq.read_metadata(source).metadata or {}
        fields = json.loads(metadata[_META_KEY])
        if (version := fields.pop("version")) != FORMAT_VERSION:
            raise _other_version(uri, version)
        if not all(isinstance(value, str) for value in fields.values()):
            raise TypeError("a field that is no text")
        meta = PartMeta(**fields)
        if datetime.fromisoformat(meta.finished_at).tzinfo is None:
            raise ValueError("a time without zone")
    except (pa.ArrowException, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise IntegrityError(f"{uri}: not a provenance or audit part ({exc})") from None
    except OSError as exc:
        if type(exc) is OSError and exc.errno is None:  # Arrow's own word for a damaged footer
            raise IntegrityError(f"{uri}: not a provenance or audit part ({exc})") from None
        raise TransientStorageError(f"the footer cannot be read: {exc}", uri) from None
    return meta


def _other_version(uri: str, version: Any) -> IntegrityError:
    if version in _OLDER_VERSIONS:
        return IntegrityError(
            f"{uri}: an older version of anon-batch wrote this release (format {version}, this one reads "
            f"{FORMAT_VERSION}). Use that version to read it, or run the job again with a new output and a new ledger"
        )
    return IntegrityError(
        f"{uri}: format version {version!r}, this version of anon-batch reads {FORMAT_VERSION}. Update anon-batch"
    )


def read_part(data: bytes, uri: str, schema: pa.Schema = PROVENANCE_SCHEMA) -> pa.Table:
    """The rows of a part.

    Args:
        data: the file.
        uri: for messages.
        schema: columns that it must have; pass AUDIT_SCHEMA for an audit part.

    Raises:
        IntegrityError: the file is damaged, or not such a part.
    """
    try:
        table = pq.read_table(pa.BufferReader(data), page_checksum_verification=True)
        table.validate(full=True)  # text that is no UTF-8 would raise later, anywhere
    except (pa.ArrowException, OSError) as exc:
        raise IntegrityError(f"{uri}: damaged Parquet file ({exc})") from None
    names = table.schema.names
    if wrong := [f.name for f in schema if names.count(f.name) != 1 or table.schema.field(f.name).type != f.type]:
        raise IntegrityError(f"{uri}: not such a part: column {', '.join(wrong)} is missing or of another type")
    return table


def _to_parquet(columns: Mapping[str, Sequence[Any]], schema: pa.Schema, meta: Mapping[str, Any]) -> bytes:
    table = pa.table([_as_array(columns[f.name], f.type) for f in schema], schema=schema.remove_metadata())
    meta_json = json.dumps({"version": FORMAT_VERSION, **meta}, sort_keys=True)
    sink = io.BytesIO()
    table = table.replace_schema_metadata({_META_KEY: meta_json.encode()})
    pq.write_table(table, sink, compression="zstd", write_page_checksum=True)
    return sink.getvalue()


def _as_array(column: Sequence[Any], type_: pa.DataType) -> pa.Array:
    return column if isinstance(column, pa.Array) else pa.array(column, type_)


def _regions(rows: Sequence[ProvenanceRow]) -> pa.ListArray:
    regions = [region for row in rows for region in row.regions]
    fields = [pa.array([getattr(region, field.name) for region in regions], field.type) for field in _REGION]
    return _lists([len(row.regions) for row in rows], fields, _REGION)


def _detections(rows: Sequence[AuditRow]) -> pa.ListArray:
    """Column by column: a dict for each face takes several times as long."""
    found = Detections.merge([row.detections for row in rows if row.detections is not None])
    methods = [row.methods.get(at) for row in rows for at in range(len(row.detections or ()))]
    points = pa.array(found.landmarks.reshape(-1), pa.float32())
    landmarks = pa.ListArray.from_arrays(np.arange(len(found) + 1, dtype=np.int32) * 10, points)
    sides = [pa.array(np.ascontiguousarray(side), pa.float32()) for side in found.boxes.T]
    names = pa.array(found.detectors, pa.string())
    labels = pa.array(found.labels, pa.string())
    fields = [*sides, labels, pa.array(found.scores, pa.float32()), names, landmarks, pa.array(methods, pa.string())]
    return _lists([None if row.detections is None else len(row.detections) for row in rows], fields, _DETECTION)


def _lists(lengths: Sequence[int | None], fields: Sequence[pa.Array], of: pa.StructType) -> pa.ListArray:
    """A list of structs a row, from the fields of all rows' structs one after the other; None is no list, unlike an empty one."""
    offsets = np.cumsum([0, *(length or 0 for length in lengths)], dtype=np.int32)
    absent = pa.array([length is None for length in lengths], pa.bool_())
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(fields, fields=list(of)), mask=absent)


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
