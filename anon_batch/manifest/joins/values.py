"""The values of a column, or of a field inside one, as texts."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.manifest.check_ids import one_array
from anon_batch.manifest.regions_column import is_text


def find_column(names: list[str], path: str) -> str | None:
    """Return the column that a dotted path starts with: the whole path, or what is left of one of its dots; None without one."""
    parts = path.split(".")
    heads = (".".join(parts[:end]) for end in range(len(parts), 0, -1))
    return next((head for head in heads if head in names), None)


def values_at(table: pa.Table, path: str) -> pa.Array:
    """Return the values of a column, or of a field inside its structs or JSON texts; null where there is none.

    Args:
        table: has the column.
        path: its name, or `COLUMN.FIELD`, as in `json.uid`.
    """
    head = find_column(table.column_names, path)
    if head is None:
        raise KeyError(path)
    array, fields = one_array(table, head), path[len(head) + 1 :].split(".") if path != head else []
    while fields and pa.types.is_struct(array.type) and array.type.get_field_index(fields[0]) >= 0:
        array = pc.struct_field(array, fields.pop(0))
    if not fields:
        return array
    if not is_text(array.type):
        return pa.nulls(len(array))
    return pa.array([_inside(text, fields) for text in array.to_pylist()], pa.string())


def texts_at(table: pa.Table, path: str) -> pa.Array:
    """Return the same as texts: whole numbers in digits, lists and objects as null."""
    array = values_at(table, path)
    if is_text(array.type):
        return array.cast(pa.string())
    is_plain = pa.types.is_integer(array.type) or pa.types.is_boolean(array.type) or pa.types.is_floating(array.type)
    return array.cast(pa.string()) if is_plain else pa.nulls(len(array), pa.string())


def _inside(text: str | None, fields: list[str]) -> str | None:
    """Return what a JSON text holds at a path: a text as it is, anything else as JSON."""
    if text is None:
        return None
    try:
        found: Any = json.loads(text)
    except (ValueError, RecursionError):
        return None
    for field in fields:
        found = found.get(field) if isinstance(found, dict) else None
    return found if found is None or isinstance(found, str) else json.dumps(found)
