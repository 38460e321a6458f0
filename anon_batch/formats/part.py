"""Parquet parts with key-value metadata: what provenance parts and audit parts have in common."""

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
from anon_batch.formats.parquet_file import read_parquet
from anon_batch.formats.versions import explain_other_version

FORMAT_VERSION = 3
_META_KEY = b"anon_batch"
_DESCRIPTION_KEY = b"description"


@dataclasses.dataclass(frozen=True, slots=True)
class PartMeta:
    """Describe a shard and its winning attempt, as the metadata of a part.

    Args:
        shard: name of the shard, START-COUNT.
        attempt: name of the winning attempt; audit parts and shard files of other attempts are orphans.
        run_id: of the run.
        finished_at: UTC time of the commit, ISO 8601.
        stats: the shard's statistics as JSON.
        shard_sha256: digest of the tar or Parquet file with the shard's images; empty if the layout has none.
    """

    shard: str
    attempt: str
    run_id: str
    finished_at: str
    stats: str
    shard_sha256: str = ""


def column(name: str, kind: pa.DataType, description: str) -> pa.Field:
    """Return an Arrow field whose metadata holds a description of the column in plain text."""
    return pa.field(name, kind, metadata={_DESCRIPTION_KEY: description.encode()})


def description(field: pa.Field) -> str:
    """Return the description of a column, or an empty string."""
    return str((field.metadata or {}).get(_DESCRIPTION_KEY, b"").decode())


def to_parquet(columns: Mapping[str, Sequence[Any]], schema: pa.Schema, meta: PartMeta) -> bytes:
    """Return a part as a Parquet file.

    Args:
        columns: column name -> values, one for each row; an Arrow array is used as it is.
        schema: order, names and types of the columns.
        meta: stored in the footer's key-value metadata.
    """
    plain = pa.schema([_without_description(field) for field in schema])  # because they would enlarge every footer
    table = pa.table([_to_array(columns[field.name], field.type) for field in plain], schema=plain)
    meta_json = json.dumps({"version": str(FORMAT_VERSION), **dataclasses.asdict(meta)}, sort_keys=True)
    sink = io.BytesIO()
    pq.write_table(
        table.replace_schema_metadata({_META_KEY: meta_json.encode()}),
        sink,
        compression="zstd",
        write_page_checksum=True,
    )
    return sink.getvalue()


def list_array(lengths: Sequence[int | None], fields: Sequence[pa.Array], struct: pa.StructType) -> pa.ListArray:
    """Return one list of structs for each row.

    Building from whole columns takes a fraction of the time that a dict for each struct would take.

    Args:
        lengths: number of structs of each row; None gives null, which differs from an empty list.
        fields: for each field of `struct`, the values of all rows one after the other.
        struct: type of the list's items.
    """
    offsets = np.cumsum([0, *(length or 0 for length in lengths)], dtype=np.int32)
    null = pa.array([length is None for length in lengths], pa.bool_())
    return pa.ListArray.from_arrays(offsets, pa.StructArray.from_arrays(fields, fields=list(struct)), mask=null)


def read_meta(file: Any, uri: str) -> PartMeta:
    """Return the metadata of a part; read only its footer.

    Args:
        file: a seekable binary file, or the bytes of the part.
        uri: address of the part, for messages.

    Raises:
        IntegrityError: the file is not a part that this version of the package wrote.
        TransientStorageError: `file` cannot be read.
    """
    try:
        source = pa.BufferReader(file) if isinstance(file, bytes) else file
        metadata = pq.read_metadata(source).metadata or {}
        fields = json.loads(metadata[_META_KEY])
        if (version := fields.pop("version")) != str(FORMAT_VERSION):
            raise IntegrityError(explain_other_version(uri, "release", version, FORMAT_VERSION))
        if not all(isinstance(value, str) for value in fields.values()):
            raise TypeError("a field is not text")
        meta = PartMeta(**fields)
        if datetime.fromisoformat(meta.finished_at).tzinfo is None:
            raise ValueError("finished_at has no time zone")
    except (pa.ArrowException, KeyError, TypeError, ValueError, AttributeError) as exc:
        raise IntegrityError(f"{uri}: not a provenance or audit part ({exc})") from None
    except OSError as exc:
        if type(exc) is OSError and exc.errno is None:  # because Arrow reports a damaged footer this way
            raise IntegrityError(f"{uri}: not a provenance or audit part ({exc})") from None
        raise TransientStorageError(f"the footer cannot be read: {exc}", uri) from None
    return meta


def read_part(data: bytes, uri: str, schema: pa.Schema) -> pa.Table:
    """Return the rows of a part.

    Args:
        data: the Parquet file.
        uri: address of the part, for messages.
        schema: columns that it must have: PROVENANCE_SCHEMA or AUDIT_SCHEMA. More columns may follow.

    Raises:
        IntegrityError: the file is damaged, or lacks a column.
    """
    try:
        table = read_parquet(data, checksums=True)
        table.validate(full=True)  # because text that is not UTF-8 would raise later, at any use
    except (pa.ArrowException, OSError) as exc:
        raise IntegrityError(f"{uri}: damaged Parquet file ({exc})") from None
    names = table.schema.names
    if wrong := [f.name for f in schema if names.count(f.name) != 1 or table.schema.field(f.name).type != f.type]:
        raise IntegrityError(f"{uri}: not such a part: column {', '.join(wrong)} is missing or of another type")
    return table


def _to_array(values: Sequence[Any], kind: pa.DataType) -> pa.Array:
    return values.cast(kind) if isinstance(values, pa.Array) else pa.array(values, kind)


def _without_description(field: pa.Field) -> pa.Field:
    if not description(field):  # a pass-through column keeps its type as it is
        return field
    kind = field.type
    if pa.types.is_list(kind) and pa.types.is_struct(kind.value_type):
        struct = kind.value_type
        kind = pa.list_(pa.struct([_without_description(struct.field(i)) for i in range(struct.num_fields)]))
    return pa.field(field.name, kind)
