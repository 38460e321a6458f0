"""Laws of erasing: whatever rows are erased in whatever order, all others stay, and nothing of the erased ones does."""

from __future__ import annotations

import hashlib
import string

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.formats.release import Part
from anon_batch.formats.tombstone import digest_of, erased_id, parse_erased_id
from anon_batch.pipeline.versions.rewrite import replace_rows
from anon_batch.records import ShardSpec
from anon_batch.release.erase.tombstones import erased_rows, tombstones_of
from anon_batch.shards import holds_any

_COLUMNS = ("image_id", "status", "reason", "output", "sha256", "regions", "models", "run_id", "tool_version", "label")
_WORDS = st.text(string.ascii_lowercase, min_size=8, max_size=12)


@st.composite
def _parts(draw: st.DrawFn) -> tuple[ShardSpec, pa.Table, set[int]]:
    count = draw(st.integers(1, 12))
    spec = ShardSpec(draw(st.integers(0, 10**9)), count)
    rows = []
    for word in draw(st.lists(_WORDS, min_size=count, max_size=count, unique=True)):
        digest = draw(st.sampled_from([None, hashlib.sha256(word.encode()).hexdigest()]))
        own = [f"id-{word}", "clean", None, f"images/{word}", digest, [], ["m@1"], "run", "1", f"label-{word}"]
        rows.append(dict(zip(_COLUMNS, own, strict=True)))
    schema = pa.schema(
        [(name, pa.list_(pa.string()) if name in ("regions", "models") else pa.string()) for name in _COLUMNS]
    )
    numbers = draw(st.sets(st.integers(max(0, spec.start - 2), spec.stop + 2)))
    return spec, pa.Table.from_pylist(rows, schema), numbers


@given(_parts())
def test_erased_rows_keep_their_places_alone(drawn: tuple[ShardSpec, pa.Table, set[int]]) -> None:
    spec, table, numbers = drawn
    part = Part(None, table)  # type: ignore[arg-type]
    rows = erased_rows(part, spec, numbers)
    assert sorted(rows) == sorted(own for own in numbers if spec.start <= own < spec.stop)
    after = replace_rows(table, spec.start, {number: row.provenance for number, row in rows.items()})
    assert after.schema == table.schema
    for number, old, new in zip(range(spec.start, spec.stop), table.to_pylist(), after.to_pylist(), strict=True):
        if number not in numbers:
            assert new == old
        else:
            assert parse_erased_id(new["image_id"]) == number
            assert old["image_id"].removeprefix("id-") not in str(new)
    assert sorted(own.row for own in tombstones_of(part, spec, numbers)) == sorted(rows)
    digests = {own.row: own.digest for own in tombstones_of(part, spec, numbers)}
    for number, digest in digests.items():
        sha256 = table.column("sha256")[number - spec.start].as_py()
        assert digest == ("" if sha256 is None else digest_of(sha256))
        assert sha256 is None or digest != sha256


@given(_parts())
def test_erasing_at_once_or_one_after_the_other_is_the_same(drawn: tuple[ShardSpec, pa.Table, set[int]]) -> None:
    spec, table, numbers = drawn
    rows = {number: row.provenance for number, row in erased_rows(Part(None, table), spec, numbers).items()}  # type: ignore[arg-type]
    single = table
    for number in sorted(rows, reverse=True):
        single = replace_rows(single, spec.start, {number: rows[number]})
    assert single.equals(replace_rows(table, spec.start, rows))
    assert replace_rows(single, spec.start, rows).equals(single)


@given(st.integers(0, 10**12))
def test_an_erased_id_says_its_row(row: int) -> None:
    assert parse_erased_id(erased_id(row)) == row


@pytest.mark.parametrize(
    "image_id", ["erased", "erased/", "erased/1.png", "x/erased/1", "erased/1\n", "erased/-1", "Erased/1"]
)
def test_other_ids_are_no_erased_ones(image_id: str) -> None:
    assert parse_erased_id(image_id) is None


@given(st.integers(0, 100), st.integers(1, 20), st.sets(st.integers(0, 140)))
def test_a_shard_holds_a_row_or_not(start: int, count: int, numbers: set[int]) -> None:
    spec = ShardSpec(start, count)
    assert holds_any(spec, sorted(numbers)) == any(start <= number < spec.stop for number in numbers)
