"""Provenance and audit parts: columns, pass-through types, damaged files."""

from __future__ import annotations

import dataclasses
import datetime as dt
import io
import json
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anon_batch.errors import IntegrityError, TransientStorageError
from anon_batch.formats.audit import AUDIT_SCHEMA, AuditRow, read_outlines, with_outlines, write_audit
from anon_batch.formats.part import FORMAT_VERSION, PartMeta, description, read_meta, read_part
from anon_batch.formats.provenance import PROVENANCE_SCHEMA, write_provenance
from anon_batch.records import Detections, GroundTruth, ProvenanceRow, RegionRecord

META = PartMeta("0000000000-2", "ab-1", "run", "2024-01-02T03:04:05+00:00", "{}", "f" * 64)
GOOD: dict[str, Any] = {
    "image_id": "a",
    "status": "anonymized",
    "output": "images/a.png",
    "regions": (RegionRecord(1, 2, 3, 4, "face", "solid", synthetic=False),),
}
ROWS = [
    ProvenanceRow(**GOOD, sha256="0" * 64, size_bytes=2**40, format="PNG", width=5, height=6, extra={"label": 3}),
    ProvenanceRow("b", "failed", "empty", extra={}),
]


def _part(extra: pa.Schema | None = None, rows: list[ProvenanceRow] | None = None) -> bytes:
    return write_provenance(rows or ROWS, extra or pa.schema([("label", pa.int16())]), ["net@1"], "1.0", META)


def test_a_provenance_part_is_read_as_it_was_written() -> None:
    table = read_part(_part(), "u", PROVENANCE_SCHEMA)
    assert table.schema.remove_metadata() == pa.schema([*PROVENANCE_SCHEMA, ("label", pa.int16())])
    first, second = table.to_pylist()
    assert first["regions"] == [
        {"x1": 1, "y1": 2, "x2": 3, "y2": 4, "label": "face", "method": "solid", "synthetic": False}
    ]
    assert (first["size_bytes"], first["label"], first["models"]) == (2**40, 3, ["net@1"])
    assert (first["run_id"], first["tool_version"]) == ("run", "1.0")
    assert (second["status"], second["reason"], second["output"], second["regions"], second["label"]) == (
        "failed",
        "empty",
        None,
        [],
        None,
    )
    assert read_meta(_part(), "u") == META
    assert read_meta(io.BytesIO(_part()), "u") == META


def test_provenance_has_no_column_about_the_source() -> None:
    names = set(PROVENANCE_SCHEMA.names)
    assert not names & {
        "uri",
        "offset",
        "length",
        "source_sha256",
        "source_size_bytes",
        "detections",
        "landmarks",
        "detail",
    }


@pytest.mark.parametrize(
    ("cell_type", "value"),
    [
        (pa.int8(), -3),
        (pa.uint64(), 2**63),
        (pa.float32(), 0.5),
        (pa.bool_(), True),
        (pa.large_string(), "x"),
        (pa.list_(pa.list_(pa.int32())), [[1], [], None]),
        (pa.struct([("a", pa.date32())]), {"a": dt.date(2024, 1, 1)}),
        (pa.timestamp("us", "Europe/Paris"), dt.datetime(2024, 1, 1, tzinfo=dt.UTC)),
        (pa.time32("ms"), dt.time(1, 2, 3)),
        (pa.duration("ms"), dt.timedelta(seconds=3)),
        (pa.map_(pa.string(), pa.int8()), [("k", 1)]),
        (pa.null(), None),
    ],
)
def test_pass_through_columns_keep_their_types(cell_type: pa.DataType, value: Any) -> None:
    rows = [
        ProvenanceRow("a", "failed", "x", extra={"odd": value}),
        ProvenanceRow("b", "failed", "x", extra={"odd": None}),
    ]
    table = read_part(_part(pa.schema([("odd", cell_type)]), rows), "u", PROVENANCE_SCHEMA)
    assert table.schema.field("odd").type == cell_type
    assert table.column("odd").to_pylist() == [value, None]


def test_an_audit_part_is_read_as_it_was_written() -> None:
    found = Detections(
        np.array([[1, 2, 3, 4]], np.float32),
        np.array([0.5], np.float32),
        np.full((1, 5, 2), np.nan, np.float32),
        ("net",),
        ("licence_plate",),
    )
    truth = GroundTruth(
        np.array([[1, 2, 3, 4], [5, 6, 7, 8]], np.float32),
        np.array([False, True]),
        ("licence_plate", "face"),
        np.array([False, True]),
    )
    rows = [
        AuditRow("a", "s3://x", 1, 2, "s", 3, "anonymized", None, None, found, {0: "solid"}, truth, [0, -1], "{}"),
        AuditRow("b", "s3://y", None, None, None, None, "failed", "empty", "why", None, {}, None, [], "{}"),
        AuditRow("c", "s3://z", None, None, None, None, "failed", "empty", "why", None, {}, truth, [], "{}"),
    ]
    table = read_part(write_audit(rows, META), "u", AUDIT_SCHEMA)
    a, b, c = table.to_pylist()
    assert a["detections"][0]["method"] == "solid"
    assert a["detections"][0]["label"] == "licence_plate"
    assert [region["label"] for region in a["ground_truth"]] == ["licence_plate", "face"]
    assert [region["keep"] for region in a["ground_truth"]] == [False, True]
    assert [face["detection"] for face in a["ground_truth"]] == [0, -1]
    assert [face["ignore"] for face in a["ground_truth"]] == [False, True]
    assert (b["detections"], b["ground_truth"]) == (None, None)
    assert [face["detection"] for face in c["ground_truth"]] == [-1, -1]
    with pytest.raises(IntegrityError, match="column"):
        read_part(write_audit(rows, META), "u", PROVENANCE_SCHEMA)


def _parquet(metadata: dict[bytes, bytes]) -> bytes:
    sink = io.BytesIO()
    pq.write_table(pa.table({"a": [1]}).replace_schema_metadata(metadata), sink)
    return sink.getvalue()


def _meta(**fields: Any) -> bytes:
    known = {
        "version": str(FORMAT_VERSION),
        "shard": "s",
        "attempt": "a",
        "run_id": "r",
        "finished_at": "2024-01-01T00:00:00+00:00",
        "stats": "",
    }
    return _parquet({b"anon_batch": json.dumps({**known, **fields}).encode()})


def test_metadata_without_optional_fields_is_read() -> None:
    assert read_meta(_meta(), "u").shard_sha256 == ""


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"PAR1",
        b"x" * 200,
        _part()[:-4],
        _part()[:-40],
        _part()[:-300] + bytes(292) + _part()[-8:],
        _parquet({}),
        _parquet({b"anon_batch": b"{"}),
        _parquet({b"anon_batch": b"5"}),
        _parquet({b"anon_batch": b"[]"}),
        _parquet({b"anon_batch": b"\xff"}),
        _parquet({b"anon_batch": b"{}"}),
        _meta(version="1"),
        _meta(version="4"),
        _meta(more=1),
        _meta(stats=5),
        _meta(shard=None),
        _meta(finished_at="yesterday"),
        _meta(finished_at="2024-01-01T00:00:00"),
        _meta(shard_sha256=[]),
    ],
)
def test_other_and_damaged_files_are_refused(data: bytes) -> None:
    with pytest.raises(IntegrityError, match="the-address"):
        read_meta(data, "the-address")
    with pytest.raises(IntegrityError, match="the-address"):
        read_part(data, "the-address", PROVENANCE_SCHEMA)
    with pytest.raises(IntegrityError, match="the-address"):
        read_meta(io.BytesIO(data), "the-address")


def test_a_part_with_a_good_footer_and_truncated_rows_is_refused() -> None:
    assert read_meta(_part()[100:], "u") == META
    with pytest.raises(IntegrityError, match="the-address"):
        read_part(_part()[100:], "the-address", PROVENANCE_SCHEMA)


def test_a_part_of_another_format_version_is_refused_with_advice() -> None:
    with pytest.raises(IntegrityError, match=r"older version of anon-batch.*run the job again"):
        read_meta(_meta(version="1"), "u")
    with pytest.raises(IntegrityError, match="Update anon-batch"):
        read_meta(_meta(version="4"), "u")


def test_a_storage_error_while_reading_a_footer_is_not_reported_as_damage() -> None:
    class Broken(io.BytesIO):
        def read(self, *_: object) -> bytes:
            raise TimeoutError("gone")

    with pytest.raises(TransientStorageError, match="gone"):
        read_meta(Broken(_part()), "u")


def test_text_that_is_not_utf8_is_refused() -> None:
    bad = pa.array([b"\xff\xfe"], pa.binary()).view(pa.string())
    table = pa.table({f.name: (bad if f.name == "image_id" else pa.nulls(1, f.type)) for f in PROVENANCE_SCHEMA})
    sink = io.BytesIO()
    pq.write_table(table, sink)
    with pytest.raises(IntegrityError, match="damaged"):
        read_part(sink.getvalue(), "u", PROVENANCE_SCHEMA)


@pytest.mark.parametrize(
    "change",
    [
        {"status": "fine"},
        {"status": "clean"},
        {"status": "failed"},
        {"output": None},
        {"reason": "x"},
        {"regions": ()},
        {"status": "withheld", "reason": "x", "regions": ()},
        {"status": "failed", "output": None, "reason": None, "regions": ()},
        {"status": "withheld", "output": None, "reason": "x"},
    ],
)
def test_contradictory_rows_cannot_be_constructed(change: dict[str, Any]) -> None:
    with pytest.raises(ValueError, match="status"):
        ProvenanceRow(**{**GOOD, **change})


@pytest.mark.parametrize("schema", [PROVENANCE_SCHEMA, AUDIT_SCHEMA])
def test_every_column_and_every_field_of_a_struct_has_a_description(schema: pa.Schema) -> None:
    for field in schema:
        assert description(field), field.name
        item = getattr(field.type, "value_type", None)
        for index in range(item.num_fields if item is not None and pa.types.is_struct(item) else 0):
            assert description(item.field(index)), f"{field.name}.{item.field(index).name}"


def test_descriptions_of_columns_are_not_written_into_each_part() -> None:
    schema = pq.read_schema(pa.BufferReader(_part()))
    assert [
        description(field) for field in (schema.field("status"), schema.field("regions").type.value_type.field(0))
    ] == ["", ""]


def test_outlines_are_a_column_of_parts_that_have_one_alone():
    from anon_batch.records import OUTLINE_SIDE

    outline = np.random.default_rng(0).random((OUTLINE_SIDE, OUTLINE_SIDE)) < 0.5
    none = Detections(
        np.zeros((1, 4), np.float32), np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32), ("net",)
    )
    both = dataclasses.replace(Detections.merge([none, none]), outlines=(None, outline))

    def part(*found):
        rows = [AuditRow("a", "s3://x", *(None,) * 4, "clean", None, None, own, {}, None, [], "{}") for own in found]
        return read_part(write_audit(rows, META), "u", AUDIT_SCHEMA)

    plain, outlined = part(none, None), part(none, both, None)
    assert "outlines" not in plain.column_names
    first, second, third = outlined.to_pylist()
    assert third["outlines"] is None
    assert read_outlines(first["outlines"], 1) == (None,)
    assert read_outlines(plain.to_pylist()[0].get("outlines"), 1) == (None,)
    [empty, full] = read_outlines(second["outlines"], 2)
    assert empty is None
    np.testing.assert_array_equal(full, outline)
    assert with_outlines(outlined) is outlined
    assert with_outlines(plain).schema == outlined.schema
    assert with_outlines(plain).column("outlines").to_pylist() == [None, None]
