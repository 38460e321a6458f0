"""The column `regions` of a manifest: boxes with label, ignore and keep, one list for each image."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.records import DEFAULT_LABEL, GroundTruth

COORDINATES = ("x1", "y1", "x2", "y2")
FLAGS = ("ignore", "keep")
_REGION_TYPE = pa.struct(
    [*((c, pa.float32()) for c in COORDINATES), ("label", pa.string()), *((flag, pa.bool_()) for flag in FLAGS)]
)
REGIONS_TYPE = pa.list_(_REGION_TYPE)


def plain_type(column_type: pa.DataType) -> pa.DataType:
    """Return the type of the values of a dictionary-encoded column, or the type itself."""
    return column_type.value_type if pa.types.is_dictionary(column_type) else column_type


def is_text(column_type: pa.DataType) -> bool:
    """Return whether a column of this type holds strings, in any encoding."""
    plain = plain_type(column_type)
    return bool(pa.types.is_string(plain) or pa.types.is_large_string(plain) or pa.types.is_string_view(plain))


def is_regions(column_type: pa.DataType) -> bool:
    """Return whether a column of this type can be read as regions."""
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


def normalise_regions(array: pa.Array) -> pa.Array:
    """Return a column that `is_regions` accepts as REGIONS_TYPE; see `schema.normalise_column`."""
    flat = pc.list_flatten(array)
    if pa.types.is_null(flat.type):  # every list is empty, so far; a null inside becomes a box of NaN
        flat = pa.nulls(len(flat), _REGION_TYPE)
    fields = [pc.fill_null(pc.struct_field(flat, c).cast(pa.float32(), safe=False), float("nan")) for c in COORDINATES]
    fields.append(_field_or(flat, "label", pa.string(), DEFAULT_LABEL))
    fields += [_field_or(flat, flag, pa.bool_(), False) for flag in FLAGS]
    lengths = pc.fill_null(pc.list_value_length(array), 0).to_numpy(zero_copy_only=False)
    return region_lists(fields, lengths, array.is_null() if array.null_count else None)


def _field_or(structs: pa.StructArray, name: str, kind: pa.DataType, default: Any) -> pa.Array:
    if structs.type.get_field_index(name) < 0:
        return pa.repeat(pa.scalar(default, kind), len(structs))
    return pc.fill_null(pc.struct_field(structs, name).cast(kind), default)


def region_lists(fields: Sequence[pa.Array], lengths: Any, mask: pa.Array | None) -> pa.ListArray:
    """Return the column `regions` from the fields of all regions and the number of them in each row, (N,); mask: null rows."""
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
    return region_lists(fields, lengths, pa.array([row is None for row in rows], pa.bool_()))


def ground_truths(regions: pa.Array, sizes: Iterable[tuple[int | None, int | None]]) -> list[GroundTruth | None]:
    """Return the rows of a normalised column `regions`; inverse of `regions_array`.

    Args:
        regions: the column.
        sizes: width and height of each row's image, px; None where it is unknown.
    """
    if regions.null_count == len(regions):
        return [None] * len(regions)
    flat = pc.list_flatten(regions)
    boxes = np.stack([pc.struct_field(flat, c).to_numpy(zero_copy_only=False) for c in COORDINATES], axis=1)
    boxes = np.ascontiguousarray(boxes, np.float32)
    labels = tuple(pc.struct_field(flat, "label").to_pylist())
    ignore, keep = (np.asarray(pc.struct_field(flat, f).to_numpy(zero_copy_only=False), np.bool_) for f in FLAGS)
    out: list[GroundTruth | None] = []
    start = 0
    for count, (width, height) in zip(pc.list_value_length(regions).to_pylist(), sizes, strict=True):
        if count is None:
            out.append(None)
            continue
        own = slice(start, start + count)
        size = None if width is None or height is None else (width, height)
        out.append(GroundTruth(boxes[own], ignore[own], labels[own], keep[own], size))
        start += count
    return out
