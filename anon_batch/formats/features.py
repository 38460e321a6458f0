"""What Hugging Face `datasets` knows about columns beside their Arrow types, above all the names of classes.

A feature is the JSON value that `datasets` writes into the schema metadata of Parquet files and, in another form, into the front
matter of dataset cards. Only the kinds that matter beside images are kept; each is rebuilt from its known keys, because the
metadata of a source may hold anything.

Source: `Features.to_dict` and `Features._to_yaml_list` of `datasets`.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from typing import Any

import pyarrow as pa

KEY = b"huggingface"
IMAGE: Mapping[str, Any] = {"_type": "Image"}
CLASS_LABEL = "ClassLabel"
_LISTS = {"List": "list", "LargeList": "large_list", "Sequence": "sequence"}
_MAX_DEPTH = 16
_MAX_CLASSES = 100_000
_ALIASES = {"float": "float32", "double": "float64", "halffloat": "float16", "utf8": "string"}


def read_features(metadata: Mapping[bytes, bytes] | None) -> dict[str, Any]:
    """Return column -> feature from the metadata of an Arrow schema; what cannot be read, or is of another kind, is left out."""
    try:
        found = json.loads((metadata or {}).get(KEY, b"{}"))["info"]["features"]
        pairs = [(str(name), _known(feature)) for name, feature in found.items()]
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError):
        return {}
    return {name: feature for name, feature in pairs if feature is not None}


def features_of(schema: pa.Schema) -> dict[str, Any]:
    """Return column -> feature of a schema: what its metadata says if that fits the type, else what the type says.

    A column of a type that `datasets` does not know is left out.
    """
    given = read_features(schema.metadata)
    found = {}
    for field in schema:
        own = trim(given[field.name], field.type) if field.name in given else None
        found[field.name] = own if own is not None and fits(own, field.type) else feature_of(field.type)
    return {name: feature for name, feature in found.items() if feature is not None}


def beyond_types(features: Mapping[str, Any], schema: pa.Schema) -> dict[str, Any]:
    """Return the features that say more than the types of columns, because earlier versions of `datasets` know fewer kinds."""
    known = {field.name: feature_of(field.type) for field in schema}
    return {name: own for name, own in features.items() if name in known and own != known[name]}


def to_metadata(features: Mapping[str, Any]) -> dict[bytes, bytes] | None:
    """Return the metadata of a schema whose columns have these features; None if there are none."""
    return {KEY: json.dumps({"info": {"features": dict(features)}}).encode()} if features else None


def feature_of(kind: pa.DataType) -> Any | None:
    """Return the feature of a column that has nothing but its Arrow type; None where `datasets` has none for it."""
    types = pa.types
    if types.is_dictionary(kind):
        return feature_of(kind.value_type)
    if types.is_struct(kind):
        fields = {kind.field(at).name: feature_of(kind.field(at).type) for at in range(kind.num_fields)}
        return None if None in fields.values() or "_type" in fields else fields
    if _is_list(kind):
        inner = feature_of(kind.value_type)
        if inner is None:
            return None
        length = {"length": kind.list_size} if types.is_fixed_size_list(kind) else {}
        return {"feature": inner, **length, "_type": "LargeList" if types.is_large_list(kind) else "List"}
    dtype = _dtype_of(kind)
    return None if dtype is None else {"dtype": dtype, "_type": "Value"}


def fits(feature: Any, kind: pa.DataType) -> bool:
    """Return whether a column of this type can have the feature, because loaders refuse to read others."""
    own = feature_of(kind)
    return own is not None and _plain(feature) == _plain(own)


def trim(feature: Any, kind: pa.DataType) -> Any:
    """Return the feature of a column whose type lost fields of its structs."""
    if isinstance(feature, list):
        return [trim(feature[0], kind.value_type)] if _is_list(kind) else feature
    name = feature.get("_type")
    if name is None and pa.types.is_struct(kind):
        fields = {kind.field(at).name: kind.field(at).type for at in range(kind.num_fields)}
        return {key: trim(feature[key], own) for key, own in fields.items() if key in feature}
    if name == "Sequence" and pa.types.is_struct(kind) and isinstance(feature["feature"], dict):
        left = [kind.field(at).name for at in range(kind.num_fields)]
        return {**feature, "feature": {key: own for key, own in feature["feature"].items() if key in left}}
    if name in _LISTS and _is_list(kind):
        return {**feature, "feature": trim(feature["feature"], kind.value_type)}
    return feature


def map_class_labels(feature: Any, path: str, change: Callable[[str, list[str]], list[str] | None]) -> Any:
    """Return a feature with the names of its classes changed.

    Args:
        feature: of a column.
        path: name of the column.
        change: gets the dotted path of a ClassLabel and its names, and returns other names; None makes it a number.
    """
    if isinstance(feature, list):
        return [map_class_labels(feature[0], path, change)]
    name = feature.get("_type")
    if name == CLASS_LABEL:
        names = change(path, list(feature["names"]))
        return {"dtype": "int64", "_type": "Value"} if names is None else {**feature, "names": names}
    if name in _LISTS:
        return {**feature, "feature": map_class_labels(feature["feature"], path, change)}
    if name is None:
        return {key: map_class_labels(inner, f"{path}.{key}", change) for key, inner in feature.items()}
    return feature


def class_names(feature: Any) -> list[str] | None:
    """Return the names of a ClassLabel in the order of its numbers; None for another feature."""
    is_label = isinstance(feature, Mapping) and feature.get("_type") == CLASS_LABEL
    return [str(name) for name in feature["names"]] if is_label else None


def to_yaml(features: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Return features as the front matter of a card has them, below `dataset_info`."""
    return [{"name": name, **_yaml(feature)} for name, feature in features.items()]


def _known(feature: Any, depth: int = 0) -> Any | None:
    """Return a feature with the keys that are known; None if it is not a feature, or of another kind."""
    if depth > _MAX_DEPTH:
        return None
    if isinstance(feature, list):  # as older versions wrote lists
        inner = _known(feature[0], depth + 1) if len(feature) == 1 else None
        return None if inner is None else [inner]
    name = feature.get("_type")
    if name is None or isinstance(name, dict):
        fields = {str(key): _known(value, depth + 1) for key, value in feature.items()}
        return None if None in fields.values() or name is not None else fields
    if name == "Value":
        return {"dtype": str(feature["dtype"]), "_type": name}
    if name == CLASS_LABEL:
        names = feature["names"]
        good = isinstance(names, list) and all(isinstance(own, str) for own in names) and len(set(names)) == len(names)
        return {"names": list(names), "_type": name} if good and 0 < len(names) <= _MAX_CLASSES else None
    if name in _LISTS:
        inner = _known(feature["feature"], depth + 1)
        length = feature.get("length", -1)
        if inner is None or type(length) is not int:
            return None
        return {"feature": inner, **({} if length < 0 else {"length": length}), "_type": name}
    return None


def _plain(feature: Any) -> Any:
    """Return a feature as its Arrow type has it, so that two can be compared."""
    if isinstance(feature, list):
        return ("List", _plain(feature[0]), -1)
    kind = feature.get("_type")
    if kind is None:
        return {name: _plain(inner) for name, inner in feature.items()}
    if kind == "Value":
        return _ALIASES.get(feature["dtype"], feature["dtype"])
    if kind == CLASS_LABEL:
        return "int64"
    inner, length = feature["feature"], feature.get("length", -1)
    if kind == "Sequence" and isinstance(inner, dict) and "_type" not in inner:  # a struct of lists
        return {name: ("List", _plain(own), length) for name, own in inner.items()}
    return ("LargeList" if kind == "LargeList" else "List", _plain(inner), length)


def _yaml(feature: Any) -> dict[str, Any]:
    if isinstance(feature, list):
        return {"list": _yaml_inside(feature[0])}
    kind = feature.get("_type")
    if kind is None:
        return {"struct": [{"name": name, **_yaml(inner)} for name, inner in feature.items()]}
    if kind == "Value":
        return {"dtype": feature["dtype"]}
    if kind == CLASS_LABEL:
        names = {
            str(number): name for number, name in enumerate(feature["names"])
        }  # because the Hub wants texts as keys
        return {"dtype": {"class_label": {"names": names}}}
    if kind in _LISTS:
        length = {"length": feature["length"]} if "length" in feature else {}
        return {_LISTS[kind]: _yaml_inside(feature["feature"]), **length}
    return {"dtype": str(kind).lower()}  # an image


def _yaml_inside(feature: Any) -> Any:
    inner = _yaml(feature)
    if list(inner) == ["dtype"]:
        return inner["dtype"]
    return inner["struct"] if list(inner) == ["struct"] else inner


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind))


def _dtype_of(kind: pa.DataType) -> str | None:
    types = pa.types
    text = str(kind)
    if types.is_time(kind) or types.is_timestamp(kind) or types.is_duration(kind):
        return text
    if types.is_decimal128(kind) or types.is_decimal256(kind):
        return text
    if types.is_date(kind):
        return text.partition("[")[0]
    if types.is_integer(kind) or types.is_boolean(kind) or types.is_null(kind) or types.is_floating(kind):
        return _ALIASES.get(text, text)
    return text if types.is_string(kind) or types.is_large_string(kind) or types.is_string_view(kind) else None
