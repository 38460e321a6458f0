"""Make the samples of a tar shard: an image, the text fields of its source, and a record of the other columns."""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from typing import Any

import pyarrow as pa

from anon_batch.formats.tar_shard import CLASS, JSON, TEXT, TEXT_FIELDS, Sample
from anon_batch.manifest.regions_column import is_text
from anon_batch.pipeline.sample_names import KEY_COLUMN, SampleNames
from anon_batch.records import EncodedImage, ManifestRow

LABEL_COLUMN = "label"  # of data sets that are no WebDataset, for the number of a class
_ANYWHERE = frozenset({JSON, CLASS, TEXT})


def make_sample(row: ManifestRow, image: EncodedImage, names: SampleNames, extra: pa.Schema) -> Sample:
    """Return the sample of one image.

    The columns `json`, `cls` and `txt` become the members of these names; if the image comes from a tar, so do the other
    TEXT_FIELDS. Because readers want the same members in every sample, a text that is missing or was not published is empty, and
    `{}` for JSON; a missing class is left out. Without a column `cls`, whole numbers in the column `label` become `.cls` too.
    All other columns are in the record, with `image_id`, `width`, `height` and `synthetic`.

    Args:
        row: of the manifest, with the columns that are published.
        image: its output.
        names: of the shard.
        extra: names and types of these columns.
    """
    key, image_name = names.key(row), names.image(row, image.format)
    fields = [field.name for field in extra if _is_member(field, row)]
    others = {name: row.extra.get(name) for name in extra.names if name not in fields and name != KEY_COLUMN}
    own = {"image_id": row.image_id, "width": image.width, "height": image.height, "synthetic": image.synthetic}
    members = [(image_name, image.data)]
    members += [(f"{key}.{name}", data) for name, data in _texts(row, fields, extra)]
    members.append((names.record(row, image_name, has_json=JSON in fields), _to_json({**own, **others})))
    return Sample(key, tuple(members))


def _is_member(field: pa.Field, row: ManifestRow) -> bool:
    is_text_of_tar = field.name in TEXT_FIELDS and row.offset is not None and is_text(field.type)
    return field.name in _ANYWHERE or is_text_of_tar  # a number is the class that a folder of the tar stands for


def _texts(row: ManifestRow, fields: list[str], extra: pa.Schema) -> Iterator[tuple[str, bytes]]:
    for name in fields:
        value = row.extra.get(name)
        if value is not None:
            yield name, value.encode() if isinstance(value, str) else _to_json(value)
        elif name != CLASS:
            yield name, b"{}" if name == JSON else b""
    if CLASS not in fields and LABEL_COLUMN in extra.names and pa.types.is_integer(extra.field(LABEL_COLUMN).type):
        label = row.extra.get(LABEL_COLUMN)
        if label is not None:
            yield CLASS, str(label).encode()


def _to_json(value: Any) -> bytes:
    try:
        return json.dumps(value, default=_json_value, allow_nan=False).encode()
    except ValueError:  # because JSON has no NaN and no infinity
        return json.dumps(_finite(value), default=_json_value, allow_nan=False).encode()


def _finite(value: Any) -> Any:
    if isinstance(value, Mapping):
        return {key: _finite(inner) for key, inner in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(inner) for inner in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _json_value(value: Any) -> Any:
    return value.isoformat() if hasattr(value, "isoformat") else str(value)
