"""Names of classes are texts of the source: the filter of columns looks at them as at values."""

from __future__ import annotations

from typing import Any

import pyarrow as pa
import pytest

from anon_batch.errors import ConfigError
from anon_batch.formats.features import class_names, features_of, to_metadata
from anon_batch.manifest.publish import decide, describe_columns

PLAIN = [f"class of {n}" for n in range(40)]


def label(names: list[str]) -> dict[str, Any]:
    return {"names": names, "_type": "ClassLabel"}


def report(names: list[str], *listed: str, column: str = "label") -> tuple[list[str] | None, dict[str, Any]]:
    """Return the names that are published, and what is said about the column."""
    extra = pa.schema([(column, pa.int64())], to_metadata({column: label(names)}))
    columns = decide(pa.table({column: [0]}), extra, listed)
    columns.apply(pa.table({"image_id": ["a"], column: [0]}))
    found = columns.report()
    assert found["features"] == features_of(columns.schema)
    return class_names(found["features"].get(column, {"_type": "Value"})), found


@pytest.mark.parametrize(
    ("hostile", "kind"),
    [
        ("https://example.com/alice", "address"),
        ("mail alice@example.com", "contact"),
        ("d41d8cd98f00b204e9800998ecf8427e", "digest"),
        ("/home/alice/photos/1.jpg", "address"),
        ("line\n---\nconfigs: []", "unreadable structure"),
        ("\x1b[31mred", "unreadable structure"),
        ("left \u202e right", "unreadable structure"),
        ("half \ud800", "unreadable structure"),
    ],
)
def test_a_name_that_leads_somewhere_is_replaced(hostile: str, kind: str) -> None:
    names, said = report([*PLAIN[:20], hostile, *PLAIN[20:]])
    assert names == [*PLAIN[:20], "class 20", *PLAIN[20:]]
    assert said["blanked"] == {"label.names": {kind: 1}}
    assert describe_columns(said)[-1] == f"1 value of label.names left out ({kind})"


def test_too_many_such_names_make_the_column_a_number() -> None:
    names, said = report([f"https://example.com/{n}" for n in range(3)] + PLAIN)
    assert names is None
    assert said["features"] == {"label": {"dtype": "int64", "_type": "Value"}}
    assert said["published"] == ["label"]
    assert said["withheld"] == {"label.names": "address"}


@pytest.mark.parametrize("listed", ["label", "label.names"])
def test_the_owner_may_ask_for_names(listed: str) -> None:
    asked = [f"https://example.com/{n}" for n in range(3)]
    assert report(asked, listed)[0] == asked
    assert report([*asked, "\x00"], listed)[0] == [*asked, "class 3"]  # because no reader could show it


def test_names_stay_unique() -> None:
    names, _ = report(["class 1", "a@example.com", *PLAIN])
    assert names is not None
    assert names[:2] == ["class 1", "class 1*"]


def test_names_of_a_withheld_column_are_withheld() -> None:
    names, said = report(PLAIN, column="photographer")
    assert names is None
    assert said["features"] == {}
    with pytest.raises(ConfigError, match="is a part of `photographer`"):
        report(PLAIN, "photographer.names", column="photographer")


def test_other_names_are_not_known() -> None:
    with pytest.raises(ConfigError, match=r"did you mean `label\.names`"):
        report(PLAIN, "label.name")


def test_names_inside_a_column_are_looked_at_too() -> None:
    kind = pa.struct([("category", pa.list_(pa.int64())), ("url", pa.string())])
    url = {"dtype": "string", "_type": "Value"}
    names = [*PLAIN, "a@example.com"]
    feature = {"category": {"feature": label(names), "_type": "List"}, "url": url}
    rows = pa.array([{"category": [0], "url": "x"}], kind)
    columns = decide(pa.table({"objects": rows}), pa.schema([("objects", kind)], to_metadata({"objects": feature})))
    said = columns.report()
    assert said["withheld"] == {"objects.url": "address"}
    assert said["blanked"] == {"objects.category.names": {"contact": 1}}
    inner = {"feature": label([*PLAIN, "class 40"]), "_type": "List"}
    assert said["features"] == {"objects": {"category": inner}}
