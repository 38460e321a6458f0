from __future__ import annotations

import time
import tracemalloc

import numpy as np
import pyarrow as pa
import pytest

from anon_batch.errors import ManifestError
from anon_batch.manifest import check_ids, check_rows
from anon_batch.manifest.names import is_safe
from anon_batch.manifest.schema import FIXED_SCHEMA


def table_of(ids, **columns):
    count = len(ids)
    given = {"image_id": ids, "uri": ["/x"] * count, **columns}
    return pa.table([pa.array(given.get(f.name, [None] * count), f.type) for f in FIXED_SCHEMA], schema=FIXED_SCHEMA)


def fault_of(*tables, **options):
    with pytest.raises(ManifestError) as caught:
        check_rows(lambda: iter(tables), "m.parquet", **options)
    return str(caught.value)


def test_good_rows_are_counted():
    tables = [
        table_of(["a.jpg", "sub/b.jpg"]),
        table_of(["ünï/ço dé (1).JPG", ".hidden.png", "a..b.png", "deep/~x.png"]),
    ]
    assert check_rows(lambda: iter(tables)) == 6


@pytest.mark.parametrize(
    "image_id",
    [
        "/abs.jpg",
        "../up.jpg",
        "a/../b.jpg",
        "a/./b.jpg",
        ".",
        "..",
        "a//b.jpg",
        "a/",
        "a\\b.jpg",
        "a\nb.jpg",
        "a\x00.jpg",
        "a\x7f.jpg",
        "a\u0085.jpg",
        "a\u2028.jpg",
        "~/a.jpg",
        "~root/a.jpg",
        "C:/a.jpg",
        "c:a.jpg",
        "s3://b/a.jpg",
        "zip::a.jpg",
        "x" * 251,
        "é" * 126,
        "/".join(["x" * 100] * 10),
        ".partial-1.jpg",
        "sub/.partial-0",
    ],
)
def test_ids_that_cannot_name_an_output_are_refused(image_id):
    assert not is_safe(image_id)
    message = fault_of(table_of(["ok.jpg", image_id]))
    assert "cannot name an output" in message
    assert "row 1 (" in message


def test_lengths_count_bytes_not_characters():
    assert is_safe("é" * 125)
    assert is_safe("x" * 250)
    assert is_safe("/".join(["x" * 99] * 9))


def test_faults_are_named_by_row_across_tables():
    message = fault_of(
        table_of(["a", None, ""]),
        table_of(
            ["b", "c", "d"],
            uri=["", None, "/x"],
            offset=[1, None, -1],
            length=[None, 5, -2],
            size_bytes=[-1, 0, 1],
        ),
        table_of(["e"], sha256=["xyz"]),
    )
    assert "image_id is null or empty: rows 1, 2" in message
    assert "uri is null or empty: rows 3, 4" in message
    assert "offset without length, or length without offset: rows 3, 4" in message
    assert "offset is negative: row 5" in message
    assert "length is negative: row 5" in message
    assert "size_bytes is negative: row 3" in message
    assert "sha256 is not 64 hexadecimal digits: row 6" in message
    assert "more than once" not in message


def test_boxes_are_checked():
    def regions(x1, x2, label="face"):
        return [{"x1": x1, "y1": 0.0, "x2": x2, "y2": 1.0, "label": label, "ignore": False, "keep": False}]

    good = table_of(["a", "b", "c"], regions=[None, [], regions(0.0, 0.0)])
    bad = table_of(
        ["d", "e", "f", "g"],
        regions=[
            regions(0.0, 1.0) + regions(float("nan"), 1.0),
            regions(0.0, float("inf")),
            regions(2.0, 1.0),
            regions(0.0, 1.0, "") + regions(0.0, 1.0, "a\nb"),
        ],
    )
    message = fault_of(good, bad)
    assert "null, NaN or infinite: rows 3, 4" in message
    assert "x2 < x1 or y2 < y1: row 5" in message
    assert "empty, too long or has control characters: row 6" in message


def test_at_most_ten_rows_of_a_kind_are_named_and_all_counted():
    message = fault_of(table_of(["", *[f"/{i}" for i in range(25)]]))
    assert "(25 in all)" in message
    assert "10 ('/9')" in message
    assert "11 (" not in message


def test_duplicate_ids_are_found_across_tables():
    message = fault_of(table_of(["a.jpg", "b.jpg"]), table_of(["c.jpg", "a.jpg"]), table_of(["a.jpg", "b.jpg"]))
    assert (
        "more than once: rows 3 ('a.jpg', as in row 0), 4 ('a.jpg', as in row 0), 5 ('b.jpg', as in row 1)" in message
    )


def test_different_ids_with_equal_hashes_are_not_duplicates(monkeypatch):
    def weak(texts):
        return np.asarray([len(t) for t in texts.to_pylist()], np.uint64)

    monkeypatch.setattr(check_ids, "hashes", weak)
    monkeypatch.setattr(check_ids, "_GROUPS", 1)
    assert check_rows(lambda: iter([table_of(["a.jpg", "b.jpg", "cc.jpg", "dd.jpg"])])) == 4
    assert "3 ('dd.jpg', as in row 2)" in fault_of(table_of(["a.jpg", "b.jpg", "dd.jpg", "dd.jpg"]))


@pytest.mark.parametrize(
    "ids",
    [
        ["a", "b.jpg", "a.jpg"],
        ["x/a.PNG", "x/a"],
        ["a.jpg", "a.jpg/b.png"],
        ["d/a.jpg/c/b", "d/a.jpg"],
        ["a", "a.jpg/b"],
    ],
)
def test_ids_that_lead_to_the_same_output_are_refused(ids):
    message = fault_of(table_of(ids[:1]), table_of(ids[1:]))
    assert "to the same output" in message


@pytest.mark.parametrize(
    "ids",
    [
        ["a.jpg", "a.png"],
        ["a", "b.jpg"],
        ["a", "a/b.jpg"],
        ["a.jpg", "a.jpg.png"],
        ["x.jpg/a", "x.jpg/b"],
        ["a.txt", "a.jpg"],
    ],
)
def test_ids_that_lead_to_different_outputs_pass(ids):
    assert check_rows(lambda: iter([table_of(ids)])) == len(ids)


def test_a_fixed_format_makes_more_ids_conflict():
    assert "to the same output" in fault_of(table_of(["a.png", "a.png.jpg"]), keep_format=False)
    assert check_rows(lambda: iter([table_of(["a.png", "a.jpg"])]), keep_format=False) == 2


def million(last):
    for start in range(0, 1_000_000, 8192):
        ids = [f"n{i % 1000:08d}/n{i % 1000:08d}_{i}.JPEG" for i in range(start, min(start + 8192, 1_000_000))]
        if start + 8192 >= 1_000_000:
            ids[-1] = last
        yield table_of(ids)


def test_a_million_rows_take_seconds_and_little_memory():
    tables = list(million("last.JPEG"))
    tracemalloc.start()
    start, before = time.perf_counter(), pa.total_allocated_bytes()
    assert check_rows(lambda: iter(tables)) == 1_000_000
    seconds, peak = time.perf_counter() - start, tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak + pa.total_allocated_bytes() - before < 100e6
    assert seconds < 30  # about 2 without tracing


def test_one_duplicate_in_a_million_is_found():
    tables = list(million("n00000003/n00000003_3.JPEG"))
    assert "row 999999 ('n00000003/n00000003_3.JPEG', as in row 3)" in fault_of(*tables)
