"""Features are read, given by types and written as Hugging Face `datasets` does it."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest
import yaml

from anon_batch.formats.features import (
    KEY,
    beyond_types,
    class_names,
    feature_of,
    features_of,
    fits,
    read_features,
    to_metadata,
    to_yaml,
    trim,
)

TYPES = [
    *(pa.null(), pa.bool_(), pa.int8(), pa.uint64(), pa.float16(), pa.float32(), pa.float64(), pa.string(), pa.large_string()),
    *(pa.date32(), pa.date64(), pa.time32("s"), pa.time64("us"), pa.timestamp("us"), pa.timestamp("ms", tz="UTC")),
    *(pa.duration("s"), pa.decimal128(5, 2), pa.list_(pa.int32()), pa.list_(pa.float32(), 4), pa.large_list(pa.string())),
    *(pa.struct([("a", pa.list_(pa.struct([("b", pa.int8())])))]), pa.dictionary(pa.int32(), pa.string())),
]  # fmt: skip


@pytest.mark.parametrize("kind", TYPES, ids=str)
def test_types_have_the_features_that_datasets_gives_them(kind: pa.DataType) -> None:
    datasets = pytest.importorskip("datasets")
    theirs = datasets.Features.from_arrow_schema(pa.schema([("x", kind)]))
    own = feature_of(kind)
    assert datasets.Features.from_dict({"x": own}) == theirs
    assert fits(own, kind)
    assert to_yaml({"x": own}) == theirs._to_yaml_list()


@pytest.mark.parametrize(
    "kind", [pa.map_(pa.string(), pa.int64()), pa.decimal32(5, 2), pa.month_day_nano_interval()], ids=str
)
def test_types_that_datasets_does_not_know_have_no_feature(kind: pa.DataType) -> None:
    assert feature_of(kind) is None
    assert feature_of(pa.list_(pa.struct([("a", kind)]))) is None
    assert features_of(pa.schema([("x", kind), ("y", pa.int8())])) == {"y": {"dtype": "int8", "_type": "Value"}}


def nested() -> Any:
    datasets = pytest.importorskip("datasets")
    return datasets.Features(
        {
            "label": datasets.ClassLabel(names=["no", "1", "a: b"]),
            "tags": datasets.List(datasets.ClassLabel(names=["x"]), length=2),
            "many": datasets.LargeList(datasets.Value("string")),
            "objects": {
                "kind": datasets.List({"class": datasets.ClassLabel(names=["y", "z"])}),
                "n": datasets.Value("int8"),
            },
        }
    )


def test_features_of_a_parquet_file_come_back_in_all_forms() -> None:
    theirs = nested()
    schema = theirs.arrow_schema.with_metadata(None)
    own = read_features(theirs.arrow_schema.metadata)
    assert type(theirs).from_dict(own) == theirs
    assert type(theirs)._from_yaml_list(yaml.safe_load(yaml.safe_dump(to_yaml(own), sort_keys=False))) == theirs
    assert type(theirs).from_arrow_schema(schema.with_metadata(to_metadata(own))) == theirs
    assert features_of(schema.with_metadata(to_metadata(own))) == own


def test_old_forms_of_lists_are_kept_as_they_are() -> None:
    label = {"names": ["a"], "_type": "ClassLabel"}
    old = {
        "one": [label],
        "two": {"feature": label, "_type": "Sequence"},
        "three": {"feature": {"a": label}, "_type": "Sequence"},  # a struct of lists
    }
    assert read_features(to_metadata(old)) == old
    lists = pa.list_(pa.int64())
    assert all(
        fits(own, kind) for own, kind in zip(old.values(), (lists, lists, pa.struct([("a", lists)])), strict=True)
    )


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"\xff",
        b'{"info": null}',
        b'{"info": {"features": []}}',
        b'{"info": {"features": {"label": 7}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel"}}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": []}}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", "a"]}}}}',
        b'{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["a", 1]}}}}',
        b'{"info": {"features": {"label": {"_type": "List", "feature": {"_type": "Video"}}}}}',
        b'{"info": {"features": {"label": {"_type": "List", "length": "2", "feature": {"_type": "Value", "dtype": "x"}}}}}',
        b'{"info": {"features": {"label": ' + b"[" * 100_000 + b"]" * 100_000 + b"}}}",
        b'{"info": {"features": {"label": ' + b"[" * 100 + b"]" * 100 + b"}}}",
    ],
)
def test_damaged_metadata_says_nothing(raw: bytes) -> None:
    assert read_features({KEY: raw}) == {}


def test_unknown_keys_do_not_pass() -> None:
    raw = {
        "info": {
            "features": {"label": {"_type": "ClassLabel", "names": ["a"], "names_file": "/home/x", "id": "secret"}}
        }
    }
    assert read_features({KEY: json.dumps(raw).encode()}) == {"label": {"names": ["a"], "_type": "ClassLabel"}}


def test_a_feature_of_another_type_gives_way_to_the_type() -> None:
    schema = pa.schema([("label", pa.int32())], to_metadata({"label": {"names": ["a"], "_type": "ClassLabel"}}))
    assert features_of(schema) == {"label": {"dtype": "int32", "_type": "Value"}}


def test_fields_that_a_struct_lost_are_cut_out_of_its_feature() -> None:
    label = {"names": ["a"], "_type": "ClassLabel"}
    feature = {"feature": {"kind": label, "url": {"dtype": "string", "_type": "Value"}}, "_type": "List"}
    left = trim(feature, pa.list_(pa.struct([("kind", pa.int64())])))
    assert left == {"feature": {"kind": label}, "_type": "List"}
    assert class_names(left["feature"]["kind"]) == ["a"]


def test_what_types_say_already_is_not_written() -> None:
    label = {"names": ["a"], "_type": "ClassLabel"}
    schema = pa.schema(
        [("label", pa.int64()), ("boxes", pa.list_(pa.float32())), ("x", pa.map_(pa.string(), pa.int8()))]
    )
    features = {**features_of(schema), "label": label, "gone": label}
    assert beyond_types(features, schema) == {"label": label}
