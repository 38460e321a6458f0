"""The columns of a manifest: their names and types, what a file may hold for them, and the one form that the package uses."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ManifestError
from anon_batch.formats.provenance import RESERVED_COLUMNS
from anon_batch.records import DEFAULT_LABEL, GroundTruth

MANIFEST_VERSION = "1"
VERSION_KEY = b"anon_batch.manifest_version"
BASE_KEY = b"base_uri"
IMAGE_COLUMN = "image"

REGIONS_COLUMN = "regions"
OLD_REGIONS_COLUMN = "faces"  # read as `regions` with the label `face`
COORDINATES = ("x1", "y1", "x2", "y2")
FLAGS = ("ignore", "keep")
_REGION_TYPE = pa.struct(
    [*((c, pa.float32()) for c in COORDINATES), ("label", pa.string()), *((flag, pa.bool_()) for flag in FLAGS)]
)
REGIONS_TYPE = pa.list_(_REGION_TYPE)
FIXED_SCHEMA = pa.schema(
    [
        ("image_id", pa.string()),
        ("uri", pa.string()),
        ("offset", pa.int64()),
        ("length", pa.int64()),
        ("size_bytes", pa.int64()),
        ("sha256", pa.string()),
        (REGIONS_COLUMN, REGIONS_TYPE),
    ]
)
FIXED_COLUMNS = tuple(FIXED_SCHEMA.names)
RESERVED_EXTRA_COLUMNS = RESERVED_COLUMNS - set(FIXED_COLUMNS)
_OWN_COLUMNS = (*FIXED_COLUMNS, OLD_REGIONS_COLUMN, IMAGE_COLUMN)


def normalised_schema(file_schema: pa.Schema, where: str) -> pa.Schema:
    """Return the schema of the tables that a manifest is read as: the fixed columns, then the pass-through ones.

    Args:
        file_schema: of the Parquet file.
        where: the manifest's address, for messages.

    Raises:
        ManifestError: a column is missing, has a type that cannot be used or a name that the release needs. The message
            names all such columns.
    """
    problems = list(_problems(file_schema))
    if problems:
        raise ManifestError(f"manifest {where}: " + "; ".join(problems))
    extra = [f for f in file_schema if f.name not in _OWN_COLUMNS]
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
    if REGIONS_COLUMN in names and OLD_REGIONS_COLUMN in names:
        yield f"both `{REGIONS_COLUMN}` and `{OLD_REGIONS_COLUMN}`, its old name: drop one"
    for name in names:
        column_type = schema.field(name).type
        if name == IMAGE_COLUMN:
            if not is_image_struct(column_type):
                yield f"`image` is {column_type}, expected struct<bytes: binary, path: string>"
        elif name in _OWN_COLUMNS and not accepts(name, column_type):
            yield f"`{name}` is {column_type}, expected {FIXED_SCHEMA.field(fixed_name(name)).type}"
    reserved = sorted(RESERVED_EXTRA_COLUMNS & set(names))
    if reserved:
        example = f"source_{reserved[0]}"
        yield f"{_listed(reserved)}: the release writes columns of these names itself; rename, e.g. {example}"
    binary = [n for n in names if n not in _OWN_COLUMNS and holds_binary(schema.field(n).type)]
    if binary:
        yield f"{_listed(binary)}: binary data would be published unchecked; drop it"


def _listed(names: Sequence[str]) -> str:
    return ("column " if len(names) == 1 else "columns ") + ", ".join(f"`{n}`" for n in names)


def _plain(column_type: pa.DataType) -> pa.DataType:
    return column_type.value_type if pa.types.is_dictionary(column_type) else column_type


def fixed_name(name: str) -> str:
    """Return the fixed column that a column of a file stands for: `regions` for its old name."""
    return REGIONS_COLUMN if name == OLD_REGIONS_COLUMN else name


def is_text(column_type: pa.DataType) -> bool:
    """Return whether a column of this type holds strings, in any encoding."""
    plain = _plain(column_type)
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain))


def is_image_struct(column_type: pa.DataType) -> bool:
    """Return whether this is struct<bytes, path>, the type of images in Parquet files."""
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
    """Return whether the type is binary or has binary in it at any depth."""
    if pa.types.is_dictionary(column_type):
        return holds_binary(column_type.value_type)
    if isinstance(column_type, pa.BaseExtensionType):
        return holds_binary(column_type.storage_type)
    return _is_binary(column_type) or any(
        holds_binary(column_type.field(i).type) for i in range(column_type.num_fields)
    )


def accepts(name: str, column_type: pa.DataType) -> bool:
    """Return whether a fixed column, or `regions` under its old name, may have this type in a file."""
    if pa.types.is_null(column_type):
        return name not in ("image_id", "uri")
    if name in ("image_id", "uri", "sha256"):
        return is_text(column_type)
    if fixed_name(name) == REGIONS_COLUMN:
        return _is_regions(column_type)
    return bool(pa.types.is_integer(column_type))


def _is_regions(column_type: pa.DataType) -> bool:
    is_list = pa.types.is_list(column_type) or pa.types.is_large_list(column_type)
    if not is_list:
        return False
    region = column_type.value_type
    if pa.types.is_null(region):
        return True
    if not pa.types.is_struct(region) or any(region.get_field_index(c) < 0 for c in COORDINATES):
        return False
    coordinates = [region.field(c).type for c in COORDINATES]
    label, *flags = (_type_of(region, name) for name in ("label", *FLAGS))
    return (
        all(pa.types.is_floating(kind) or pa.types.is_integer(kind) for kind in coordinates)
        and (pa.types.is_null(label) or is_text(label))
        and all(pa.types.is_null(flag) or pa.types.is_boolean(flag) for flag in flags)
    )


def _type_of(struct: pa.StructType, name: str) -> pa.DataType:
    return pa.null() if struct.get_field_index(name) < 0 else struct.field(name).type


def normalise_column(name: str, column: pa.ChunkedArray) -> pa.Array:
    """Return a fixed column as its type in FIXED_SCHEMA.

    Regions get NaN for null coordinates, DEFAULT_LABEL for a null label and False for a null flag.

    Raises:
        pa.ArrowInvalid: a value does not fit the type.
    """
    target = FIXED_SCHEMA.field(fixed_name(name)).type
    array = column.combine_chunks()
    if isinstance(array, pa.ChunkedArray):
        array = array.chunk(0) if array.num_chunks else pa.array([], column.type)
    if pa.types.is_null(array.type):
        return pa.nulls(len(array), target)
    return _normalise_regions(array) if fixed_name(name) == REGIONS_COLUMN else array.cast(target)


def _normalise_regions(array: pa.Array) -> pa.Array:
    flat = pc.list_flatten(array)
    if pa.types.is_null(flat.type):  # every list is empty, so far; a null inside becomes a box of NaN
        flat = pa.nulls(len(flat), _REGION_TYPE)
    fields = [pc.fill_null(pc.struct_field(flat, c).cast(pa.float32(), safe=False), float("nan")) for c in COORDINATES]
    fields.append(_field_or(flat, "label", pa.string(), DEFAULT_LABEL))
    fields += [_field_or(flat, flag, pa.bool_(), False) for flag in FLAGS]
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return _region_lists(fields, lengths, array.is_null() if array.null_count else None)


def _field_or(structs: pa.StructArray, name: str, kind: pa.DataType, default: Any) -> pa.Array:
    if structs.type.get_field_index(name) < 0:
        return pa.repeat(pa.scalar(default, kind), len(structs))
    return pc.fill_null(pc.struct_field(structs, name).cast(kind), default)


def _region_lists(fields: Sequence[pa.Array], lengths: Any, mask: pa.Array | None) -> pa.ListArray:
    boxes = pa.StructArray.from_arrays(fields, fields=list(_REGION_TYPE))
    offsets = pa.array(np.concatenate([[0], np.cumsum(lengths)]), pa.int32())
    return pa.ListArray.from_arrays(offsets, boxes, type=REGIONS_TYPE, mask=mask)


def regions_array(rows: Sequence[GroundTruth | None]) -> pa.Array:
    """Return the column `regions`, one list a row; None is null."""
    known = [row for row in rows if row is not None]
    boxes = np.concatenate([np.zeros((0, 4), np.float32), *(row.boxes for row in known)])
    fields = [pa.array(np.ascontiguousarray(boxes[:, i], np.float32)) for i in range(4)]
    fields.append(pa.array([label for row in known for label in row.labels], pa.string()))
    none = np.zeros(0, np.bool_)
    fields.append(pa.array(np.concatenate([none, *(row.ignore for row in known)])))
    fields.append(pa.array(np.concatenate([none, *(row.keep for row in known)])))
    lengths = [0 if row is None else len(row) for row in rows]
    return _region_lists(fields, lengths, pa.array([row is None for row in rows], pa.bool_()))


def ground_truths(regions: pa.Array) -> list[GroundTruth | None]:
    """Return the rows of a normalised column `regions`; inverse of `regions_array`."""
    if regions.null_count == len(regions):
        return [None] * len(regions)
    flat = pc.list_flatten(regions)
    boxes = np.stack([pc.struct_field(flat, c).to_numpy(zero_copy_only=False) for c in COORDINATES], axis=1)
    boxes = np.ascontiguousarray(boxes, np.float32)
    labels = tuple(pc.struct_field(flat, "label").to_pylist())
    ignore, keep = (np.asarray(pc.struct_field(flat, f).to_numpy(zero_copy_only=False), np.bool_) for f in FLAGS)
    out: list[GroundTruth | None] = []
    start = 0
    for count in pc.list_value_length(regions).to_pylist():
        if count is None:
            out.append(None)
            continue
        own = slice(start, start + count)
        out.append(GroundTruth(boxes[own], ignore[own], labels[own], keep[own]))
        start += count
    return out
