"""The filter of pass-through columns: what is withheld, what is blanked, what stays byte for byte."""

from __future__ import annotations

import json
from typing import Any

import pyarrow as pa
import pytest

from anon_batch.errors import ConfigError, ManifestError
from anon_batch.manifest.publish import decide, describe_columns
from anon_batch.manifest.publish.structured import UNREADABLE

URL = "https://cdn.example.com/1.jpg?token=abc"


def filtered(
    sample: pa.Table, *late: pa.Table, listed: tuple[str, ...] = ()
) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    columns = decide(sample, sample.schema, listed)
    rows = [row for table in (sample, *late) for row in columns.apply(table).to_pylist()]
    return rows, columns.report()


def column(values: list[Any], kind: pa.DataType | None = None) -> pa.Table:
    return pa.table({"x": pa.array(values, kind)})


def test_labels_and_captions_stay_and_columns_that_lead_somewhere_go() -> None:
    table = pa.table(
        {
            "label": [3, 1],
            "class_name": ["Great Dane", "tench"],
            "name_id": [1, 2],
            "has_gps": [True, False],
            "user": [True, False],  # one bit names nobody
            "origin": [URL, "s3://bucket/key"],
            "lat": [52.5, 13.4],
            "jane@example.com": [1, 2],
        }
    )
    rows, report = filtered(table)
    assert rows[0] == {"label": 3, "class_name": "Great Dane", "name_id": 1, "has_gps": True, "user": True}
    assert report["withheld"] == {"origin": "address", "lat": "place", "*": "contact"}
    assert report["published"] == ["label", "class_name", "name_id", "has_gps", "user"]


def test_few_texts_are_blanked_and_many_withhold_the_column() -> None:
    plain = [f"a cat, number {n}" for n in range(99)]
    rows, report = filtered(column([*plain, f"see {URL}"]))
    assert [row["x"] for row in rows] == [*plain, None]
    assert report["blanked"] == {"x": {"address": 1}}
    assert filtered(column([*plain[:8], URL, URL]))[0][-3:] == [
        {"x": plain[7]},
        {"x": None},
        {"x": None},
    ]  # few say little
    _, report = filtered(column([*plain[:94], *[URL] * 6]))
    assert (report["withheld"], report["published"]) == ({"x": "address"}, [])


def test_a_text_that_leads_somewhere_is_blanked_however_late_it_comes() -> None:
    rows, report = filtered(column(["cat"] * 10), column(["dog", "jane@example.com", '{"url": 1, "ok": 2}', None]))
    assert [row["x"] for row in rows[10:]] == ["dog", None, '{"ok": 2}', None]
    assert report["blanked"] == {"x": {"contact": 1}}
    assert report["withheld"] == {"x.url": "address"}


def test_a_column_without_values_in_the_sample_is_judged_value_by_value() -> None:
    rows, _ = filtered(column([None] * 10, pa.string()), column([URL, "cat"]))
    assert [row["x"] for row in rows[10:]] == [None, "cat"]


def json_column(*values: Any) -> pa.Table:
    return pa.table({"json": [value if isinstance(value, str) else json.dumps(value) for value in values]})


def test_the_keys_of_a_json_member_are_filtered_one_by_one() -> None:
    good = {"caption": "a cat", "width": 24, "tags": ["a", "b"], "objects": [{"name": "cat", "bbox": [1, 2, 3, 4]}]}
    bad = {
        "url": URL,
        "sha256": "0" * 64,
        "exif": {"Make": "X"},
        "objects": [{"name": "cat", "bbox": [1, 2, 3, 4], "uploader": "jane"}],
        "meta": json.dumps({"lat": 1.5, "ok": 1}),  # JSON inside JSON
    }
    rows, report = filtered(json_column(*[{**good, **bad}] * 3))
    assert json.loads(rows[0]["json"]) == {**good, "meta": '{"ok": 1}'}
    assert report["withheld"] == {
        "json.exif": "camera metadata",
        "json.meta.lat": "place",
        "json.objects.uploader": "person",
        "json.sha256": "digest",
        "json.url": "address",
    }


def test_json_without_anything_to_remove_stays_byte_for_byte() -> None:
    text = '{ "caption":"caf\\u00e9",\n "n": 1.50, "bad": NaN }'
    assert filtered(json_column(text))[0] == [{"json": text}]


@pytest.mark.parametrize(
    "text",
    [
        "not json",
        '{"url": "http://a.b", "url": 1}',  # one of the two would pass unseen
        '{"a": ',
        "{'url': 'http://a.b'}",
        "[" * 5000,
        '{"a":' * 50 + "1" + "}" * 50,
        '{"a": "\\ud800"}',
        f'{{"a": {"9" * 5000}}}',
    ],
)
def test_json_that_cannot_be_read_is_not_published(text: str) -> None:
    rows, report = filtered(json_column(*[{"a": 1}] * 99), json_column(text))
    assert "http" not in str(rows[-1]["json"])
    assert "url" not in str(rows[-1]["json"])
    assert sum(kinds.get(UNREADABLE, 0) for kinds in report["blanked"].values()) == 1


def test_a_key_that_is_an_address_itself_is_removed_and_not_shown() -> None:
    rows, report = filtered(json_column({"ok": 1, "jane@example.com": 5, "joe@example.com": True, URL: {"n": 1}}))
    assert json.loads(rows[0]["json"]) == {"ok": 1}
    assert report["withheld"] == {"json.*": "address"} or report["withheld"] == {"json.*": "contact"}
    assert "example" not in json.dumps(report)


def test_nested_columns_lose_fields_and_texts() -> None:
    values = [
        {"source_url": URL, "ok": "fine", "nested": [{"email": "a@b.de", "k": 1}], "links": {"href": "x"}},
        None,
    ]
    table = pa.table(
        {
            "meta": values,
            "only": [{"url": URL}, {"url": URL}],
            "tags": [["a", "b"], None],
            "pairs": pa.array([[("url", "x"), ("k", "v")], []], pa.map_(pa.string(), pa.string())),
            "sizes": pa.array([[1, 2], [3, 4]], pa.list_(pa.int8(), 2)),
        }
    )
    rows, report = filtered(table)
    assert rows[0] == {
        "meta": {"ok": "fine", "nested": [{"k": 1}]},
        "tags": ["a", "b"],
        "pairs": [("k", "v")],
        "sizes": [1, 2],
    }
    assert rows[1]["meta"] is None
    assert set(report["withheld"]) == {
        "meta.source_url",
        "meta.nested.email",
        "meta.links",
        "only.url",
        "pairs.url",
    }
    late = pa.table({**{name: table.column(name) for name in table.column_names}, "tags": [["a", URL], None]})
    assert filtered(table, late)[0][2]["tags"] == ["a", None]


@pytest.mark.parametrize(
    "kind", [pa.large_string(), pa.string_view(), pa.dictionary(pa.int8(), pa.string()), pa.list_(pa.large_string())]
)
def test_every_encoding_of_text_is_looked_at(kind: pa.DataType) -> None:
    value: Any = [URL] if pa.types.is_list(kind) else URL
    assert filtered(column([value] * 3, kind))[1]["withheld"] == {"x": "address"}


def test_what_the_job_lists_is_published_as_it_is() -> None:
    table = pa.table(
        {"url": [URL], "json": [json.dumps({"url": URL, "sha256": "0" * 64})], "meta": [{"user": "jane", "ok": 1}]}
    )
    rows, report = filtered(table, listed=("url", "json.url", "meta.user"))
    assert rows == [{"url": URL, "json": json.dumps({"url": URL}), "meta": {"user": "jane", "ok": 1}}]
    assert report["withheld"] == {"json.sha256": "digest"}
    assert filtered(table, listed=("json",))[0][0]["json"] == table.column("json")[0].as_py()


@pytest.mark.parametrize(
    ("name", "says"),
    [("urls", "did you mean `url`"), ("json.ulr", "did you mean `json.url`"), ("uri", "`url`"), ("q", "there are")],
)
def test_listing_what_is_not_there_is_an_error(name: str, says: str) -> None:
    table = pa.table({"url": [URL], "json": [json.dumps({"url": URL})]})
    with pytest.raises(ConfigError, match=rf"publish\.columns: the manifest has no column or key `{name}`.*{says}"):
        decide(table, table.schema, (name,))


def test_a_column_that_cannot_be_taken_apart_is_an_error_that_says_what_to_do() -> None:
    strange = pa.struct([("t", pa.string()), ("at", pa.timestamp("us", tz="Mars/Olympus"))])
    table = pa.table(
        {"meta": pa.array([{"t": "x", "at": 1}], pa.struct([("t", pa.string()), ("at", pa.int64())])).cast(strange)}
    )
    with pytest.raises(
        ManifestError, match=r"column `meta` .* cannot be checked .*; drop it, or name it in `publish\.columns`"
    ):
        decide(table, table.schema).apply(table)


@pytest.mark.parametrize(("name", "outer"), [("exif.Make", "exif"), ("json.exif.Make", "json.exif")])
def test_a_part_of_what_is_withheld_as_a_whole_cannot_be_listed(name: str, outer: str) -> None:
    table = pa.table({"exif": [{"Make": "X"}], "json": [json.dumps({"exif": {"Make": "X"}})]})
    with pytest.raises(ConfigError, match=rf"`{name}` is a part of `{outer}`, which is not published as a whole"):
        decide(table, table.schema, (name,))


def test_the_terminal_says_what_is_published_and_why_not() -> None:
    _, report = filtered(pa.table({"label": [1], "url": [URL]}))
    assert describe_columns(report) == [
        "columns published: label",
        "columns not published: url (address); to publish one all the same, name it in `publish.columns`",
    ]
    assert describe_columns({}) == []
