"""Columns of a manifest: their names and types, what is accepted for them, and the one form that the package
works with.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ManifestError
from anon_batch.formats.provenance import RESERVED_COLUMNS

MANIFEST_VERSION = "1"
VERSION_KEY = b"anon_batch.manifest_version"
BASE_KEY = b"base_uri"
IMAGE_COLUMN = "image"

COORDINATES = ("x1", "y1", "x2", "y2")
FACES_TYPE = pa.list_(pa.struct([*((c, pa.float32()) for c in COORDINATES), ("ignore", pa.bool_())]))
FIXED_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        ("faces", FACES_TYPE),
    ]
)
FIXED_COLUMNS = tuple(FIXED_SCHEMA.names)
RESERVED_EXTRA_COLUMNS = RESERVED_COLUMNS - set(FIXED_COLUMNS)


def normalised_schema(file_schema: pa.Schema, where: str) -> pa.Schema:
    """The schema of the tables that a manifest of `file_schema` is read as: the fixed columns, then the
    pass-through ones.

    Args:
        file_schema: of the Parquet file.
        where: the manifest's address, for messages.

    Raises:
        ManifestError: a column is missing, has a type that cannot be used or a name that the release needs;
        all such columns are named.
    """
    problems = list(_problems(file_schema))
    if problems:
        raise ManifestError(f"manifest {where}: " + "; ".join(problems))
    extra = [f for f in file_schema if f.name not in (*FIXED_COLUMNS, IMAGE_COLUMN)]
    return pa.schema([*FIXED_SCHEMA, *(pa.field(f.name, _plain(f.type)) for f in extra)])


def _problems(schema: pa.Schema) -> Iterable[str]:
    names = schema.names
    twice = sorted({n for n in names if names.count(n) > 1})
    if twice:
        yield f"{_listed(twice)} more than once"
        return
    if "image_id" not in names:
        yield "no column `image_id` (string, unique, a relative path such as `train/0001.jpg`)"
    if "uri" not in names and IMAGE_COLUMN not in names:
        yield "neither a column `uri` (string) nor `image` (struct<bytes, path>)"
    for name in names:
        column_type = schema.field(name).type
        if name == IMAGE_COLUMN:
            if not is_image_struct(column_type):
                yield f"`image` is {column_type}, expected struct<bytes: binary, path: string>"
        elif name in FIXED_COLUMNS and not accepts(name, column_type):
            yield f"`{name}` is {column_type}, expected {FIXED_SCHEMA.field(name).type}"
    reserved = sorted(RESERVED_EXTRA_COLUMNS & set(names))
    if reserved:
        example = f"source_{reserved[0]}"
        yield f"{_listed(reserved)}: the release writes columns of these names itself; rename, e.g. {example}"
    binary = [n for n in names if n not in (*FIXED_COLUMNS, IMAGE_COLUMN) and holds_binary(schema.field(n).type)]
    if binary:
        yield f"{_listed(binary)}: binary data would be published as it is, unseen by any detector; drop it"


def _listed(names: Sequence[str]) -> str:
    return ("column " if len(names) == 1 else "columns ") + ", ".join(f"`{n}`" for n in names)


def _plain(column_type: pa.DataType) -> pa.DataType:
    return column_type.value_type if pa.types.is_dictionary(column_type) else column_type


def is_text(column_type: pa.DataType) -> bool:
    """Whether a column of this type holds strings, in whatever encoding."""
    plain = _plain(column_type)
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain))


def is_image_struct(column_type: pa.DataType) -> bool:
    """Whether this is struct<bytes, path>, the way that pictures lie in Parquet files."""
    if not pa.types.is_struct(column_type) or column_type.get_field_index("bytes") < 0:
        return False
    return _is_binary(column_type.field("bytes").type)


def _is_binary(column_type: pa.DataType) -> bool:
    types = pa.types
    return bool(
        types.is_binary(column_type)
        or types.is_large_binary(column_type)
        or types.is_fixed_size_binary(column_type)
        or types.is_binary_view(column_type)
    )


def holds_binary(column_type: pa.DataType) -> bool:
    """Whether the type is binary or has binary in it at any depth."""
    if pa.types.is_dictionary(column_type):
        return holds_binary(column_type.value_type)
    if isinstance(column_type, pa.BaseExtensionType):
        return holds_binary(column_type.storage_type)
    return _is_binary(column_type) or any(
        holds_binary(column_type.field(i).type) for i in range(column_type.num_fields)
    )


def accepts(name: str, column_type: pa.DataType) -> bool:
    """Whether the fixed column `name` may have this type in a file."""
    if pa.types.is_null(column_type):
        return name not in ("image_id", "uri")
    if name in ("image_id", "uri", "sha256"):
        return is_text(column_type)
    if name == "faces":
        return _is_faces(column_type)
    return bool(pa.types.is_integer(column_type))


def _is_faces(column_type: pa.DataType) -> bool:
    is_list = pa.types.is_list(column_type) or pa.types.is_large_list(column_type)
    if not is_list:
        return False
    face = column_type.value_type
    if pa.types.is_null(face):
        return True
    if not pa.types.is_struct(face) or any(face.get_field_index(c) < 0 for c in COORDINATES):
        return False
    numbers = all(
        pa.types.is_floating(face.field(c).type) or pa.types.is_integer(face.field(c).type) for c in COORDINATES
    )
    at = face.get_field_index("ignore")
    return numbers and (at < 0 or pa.types.is_boolean(face.field(at).type) or pa.types.is_null(face.field(at).type))


def normalise_column(name: str, column: pa.ChunkedArray) -> pa.Array:
    """A fixed column as its type in FIXED_SCHEMA. Faces get NaN for null coordinates and False for a null
    `ignore`.

    Raises:
        pa.ArrowInvalid: a value does not fit the type.
    """
    target = FIXED_SCHEMA.field(name).type
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    return _normalise_faces(array) if name == "faces" else array.cast(target)


def _normalise_faces(array: pa.Array) -> pa.Array:
    flat = pc.list_flatten(array)
    if pa.types.is_null(flat.type):  # every list is empty, so far; a null inside becomes a box of NaN
        flat = pa.nulls(len(flat), FACES_TYPE.value_type)
    fields = [pc.fill_null(pc.struct_field(flat, c).cast(pa.float32(), safe=False), float("nan")) for c in COORDINATES]
    if flat.type.get_field_index("ignore") >= 0:
        fields.append(pc.fill_null(pc.struct_field(flat, "ignore").cast(pa.bool_()), False))
    else:
        fields.append(pa.array(np.zeros(len(flat), np.bool_)))
    boxes = pa.StructArray.from_arrays(fields, fields=list(FACES_TYPE.value_type))
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    mask = array.is_null() if array.null_count else None
    return pa.ListArray.from_arrays(offsets, boxes, type=FACES_TYPE, mask=mask)


def faces_array(rows: Sequence[Any]) -> pa.Array:
    """Faces column from one (N, 5) float32 array of x1, y1, x2, y2, ignore a row; None is null."""
    lengths = [0 if r is None else len(r) for r in rows]
    known = [r for r in rows if r is not None and len(r)]
    flat = np.concatenate(known) if known else np.zeros((0, 5), np.float32)
    fields = [pa.array(np.ascontiguousarray(flat[:, i], np.float32)) for i in range(4)]
    fields.append(pa.array(flat[:, 4] != 0))
    boxes = pa.StructArray.from_arrays(fields, fields=list(FACES_TYPE.value_type))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(
        offsets, boxes, type=FACES_TYPE, mask=pa.array([r is None for r in rows], pa.bool_())
    )
