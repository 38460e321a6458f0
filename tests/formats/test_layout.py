"""Keys are pure functions of ids, and are parsed as they were made."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.formats import layout
from anon_batch.records import ShardSpec

SPECS = st.builds(ShardSpec, st.integers(0, 9_999_999_999), st.integers(1, 70_000))
FORMATS = sorted(layout.FORMAT_SUFFIXES)


@given(SPECS, st.text("abcdef0123456789-", min_size=1))
def test_keys_of_parts_and_attempts_are_parsed_as_they_were_made(spec: ShardSpec, name: str) -> None:
    folder, _, file = layout.provenance_part(spec.name).partition("/")
    assert folder == layout.PROVENANCE
    assert layout.parse_part(file) == (spec, 1)
    assert layout.parse_part(layout.provenance_part(spec.name, 12).partition("/")[2]) == (spec, 12)
    assert layout.parse_attempt(layout.attempt(spec.name, name).removeprefix(f"{layout.LEDGER_ATTEMPTS}/")) == (
        spec,
        name,
    )


@pytest.mark.parametrize(
    "name",
    [
        "",
        "0000000000-0.parquet",
        "0000000000-4.v1.parquet",
        "0000000000-4.v02.parquet",
        "0000000000-4.v.parquet",
        "0000000000-04.parquet",
        "000000000-4.parquet",
        "0000000000-4.parquet.tmp",
        "x0000000000-4.parquet",
        ".partial-0000000000-4.parquet",
        "a/0000000000-4.parquet",
        "0000000000-4",
        "0000000000--4.parquet",
        "٠000000000-4.parquet",
        "0000000000-4.parquet\n",
    ],
)
def test_other_names_are_not_parsed_as_parts(name: str) -> None:
    assert layout.parse_part(name) is None


@pytest.mark.parametrize("key", ["", "0000000000-4", "0000000000-0/a-1", "0000000000-4/", "0000000000-4/a/b", "x/y"])
def test_other_keys_are_not_parsed_as_attempts(key: str) -> None:
    assert layout.parse_attempt(key) is None


@given(st.text("ab./", min_size=1), st.sampled_from(FORMATS), st.booleans())
def test_an_output_has_an_image_suffix_and_is_among_the_possible_ones(image_id: str, kind: str, keep: bool) -> None:
    name = layout.output_name(image_id, kind, keep)
    assert name.startswith(image_id)
    assert name.lower().endswith(layout.IMAGE_SUFFIXES if keep else layout.FORMAT_SUFFIXES[kind])
    assert name in layout.possible_output_names(image_id, keep)


@pytest.mark.parametrize(
    ("image_id", "kind", "keep", "expected"),
    [
        ("a.JPEG", "PNG", True, "a.JPEG"),
        ("a.JPEG", "JPEG", False, "a.JPEG"),
        ("a.JPEG", "PNG", False, "a.JPEG.png"),
        ("a", "JPEG", True, "a.jpg"),
        ("a.b/c", "WEBP", True, "a.b/c.webp"),
        ("a.txt", "TIFF", True, "a.txt.tif"),
        ("d.jpg/x", "PNG", True, "d.jpg/x.png"),
    ],
)
def test_output_names(image_id: str, kind: str, keep: bool, expected: str) -> None:
    assert layout.output_name(image_id, kind, keep) == expected


def test_shard_files_hold_their_attempt_and_samples_have_one_dot() -> None:
    assert layout.shard_file("0000000004-4", "ab-1", "webdataset") == "shards/0000000004-4-ab-1.tar"
    assert layout.shard_file("0000000004-4", "ab-1", "parquet") == "shards/0000000004-4-ab-1.parquet"
    assert layout.audit_part("0000000004-4", "ab-1") == "audit/0000000004-4-ab-1.parquet"
    assert layout.rows_part(8192, 3) == "0000008192-3.parquet"
    assert layout.rows_folder("ab") == "rows/ab"
