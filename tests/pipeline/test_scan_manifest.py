"""Rows of the plan: sampling, digest, chunks."""

from __future__ import annotations

import io
import random
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from pipeline_fixtures import FACES, job

from anon_batch.config import StorageConfig
from anon_batch.errors import IntegrityError, ManifestError, ObjectNotFoundError
from anon_batch.formats.ledger import Ledger
from anon_batch.manifest import chunks as chunks_module
from anon_batch.manifest.chunks import PlannedRows
from anon_batch.pipeline import scan_manifest as scan_module
from anon_batch.pipeline.fingerprint import RowsDigest
from anon_batch.pipeline.scan_manifest import scan_manifest
from anon_batch.records import ShardSpec
from anon_batch.storage import Storage, join

IDS = [f"d/{n}.png" for n in range(50)]


def _manifest(base: str, ids: list[str], group_rows: int = 1000, **columns: Any) -> None:
    table = {
        "image_id": pa.array(ids),
        "uri": pa.array([f"s3://src/{i}" for i in ids]),
        "faces": pa.array([[]] * len(ids), FACES),
        **columns,
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(table), buffer, row_group_size=group_rows)
    Storage().put(join(base, "m.parquet"), buffer.getvalue())


def _scan(base: str, rows_id: str | None = "id", **keys: Any) -> tuple[int, str]:
    return scan_manifest(job(base, **keys), Ledger(Storage(), base), rows_id)[:2]


def _planned(base: str, total: int, storage: Storage | None = None) -> PlannedRows:
    return PlannedRows(Ledger(storage or Storage(), base), "id", total)


def _ids(base: str, total: int) -> list[str]:
    return [row.image_id for row in _planned(base, total).read(ShardSpec(0, total))]


@pytest.fixture
def small_chunks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks_module, "CHUNK_ROWS", 8)
    monkeypatch.setattr(scan_module, "CHUNK_ROWS", 8)


@settings(max_examples=20, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.integers(1, 60), st.integers(0, 2**40), st.randoms(use_true_random=False))
def test_a_sample_has_the_requested_size_and_does_not_depend_on_the_order(
    tmp_path: Path, limit: int, seed: int, rng: random.Random
) -> None:
    base = str(tmp_path)
    samples = []
    for shuffled in (IDS, rng.sample(IDS, len(IDS))):
        _manifest(base, shuffled, group_rows=7)
        total, _ = _scan(base, sample__limit=limit, sample__seed=seed)
        assert total == min(limit, len(IDS))
        samples.append(_ids(base, total))
    assert set(samples[0]) == set(samples[1])
    assert samples[0] == sorted(samples[0], key=IDS.index), "rows stay in the manifest's order"


def test_another_seed_gives_another_sample(tmp_path: Path) -> None:
    _manifest(str(tmp_path), IDS)
    samples = []
    for seed in (1, 2):
        total, _ = _scan(str(tmp_path), sample__limit=10, sample__seed=seed)
        samples.append(_ids(str(tmp_path), total))
    assert samples[0] != samples[1]


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize("group_rows", [1, 3, 8, 50])
def test_digest_and_chunks_do_not_depend_on_row_groups(tmp_path: Path, group_rows: int) -> None:
    base = str(tmp_path)
    labels = pa.array([None if n % 5 == 0 else n for n in range(50)])
    _manifest(base, IDS, 50, label=labels)
    expected = _scan(base, None)
    _manifest(base, IDS, group_rows, label=labels)
    assert _scan(base) == expected
    sizes = [info.key for info in Storage().list(join(base, "rows/id"))]
    assert sizes[0] == "0000000000-8.parquet"
    assert sizes[-1] == "0000000048-2.parquet"


CELLS: dict[str, tuple[pa.DataType, list[Any]]] = {
    "text": (pa.string(), ["", "a", "b", None]),
    "int": (pa.int64(), [0, 1, None]),
    "float": (pa.float64(), [0.0, 0.5, None]),
    "flag": (pa.bool_(), [True, False, None]),
    "tags": (pa.list_(pa.string()), [[], [""], ["", ""], ["a"], [None], None]),
    "place": (
        pa.struct([("a", pa.int32()), ("b", pa.string())]),
        [{"a": 1, "b": None}, {"a": None, "b": ""}, {"a": 1, "b": ""}],
    ),
    "when": (pa.timestamp("ms"), [0, 1, None]),
    "boxes": (FACES, [[], [{"x1": 0.0, "y1": 0.0, "x2": 1.0, "y2": 1.0, "ignore": False}], None]),
}


@given(st.sampled_from(sorted(CELLS)), st.data())
def test_the_digest_changes_with_any_cell(kind: str, data: st.DataObject) -> None:
    cell_type, values = CELLS[kind]
    cells = data.draw(st.lists(st.sampled_from(values), min_size=1, max_size=12))
    at = data.draw(st.integers(0, len(cells) - 1))
    other = [*cells]
    other[at] = data.draw(st.sampled_from(values).filter(lambda v: v != cells[at]))
    assert _digest(cells, cell_type) == _digest(cells, cell_type)
    assert _digest(cells, cell_type) != _digest(other, cell_type)
    assert _digest(cells, cell_type) != _digest([*cells, cells[-1]], cell_type)


def _digest(cells: list[Any], cell_type: pa.DataType, name: str = "c") -> str:
    digest = RowsDigest()
    digest.update(pa.table({name: pa.array(cells, cell_type)}))
    return digest.hexdigest()


def test_the_digest_changes_with_names_and_types() -> None:
    digests = {
        _digest([1], pa.int32()),
        _digest([1], pa.int64()),
        _digest([1], pa.int64(), "d"),
        _digest(["1"], pa.string()),
    }
    assert len(digests) == 4


def test_the_digest_of_a_slice_is_that_of_its_values() -> None:
    whole = pa.table({"t": ["a", "bb", None, "c"], "l": [[1], None, [], [2, 3]], "f": [True, None, False, True]})
    fresh = pa.table({"t": ["bb", None, "c"], "l": [None, [], [2, 3]], "f": [None, False, True]})
    digests = []
    for table in (whole.slice(1), fresh):
        digest = RowsDigest()
        digest.update(table)
        digests.append(digest.hexdigest())
    assert digests[0] == digests[1]


@pytest.mark.parametrize(
    "cell_type",
    [
        pa.float16(),
        pa.decimal128(9, 2),
        pa.time64("ns"),
        pa.duration("us"),
        pa.timestamp("ns", "UTC"),
        pa.date64(),
        pa.map_(pa.string(), pa.int8()),
        pa.list_(pa.int8(), 2),
        pa.large_list(pa.int8()),
        pa.null(),
        pa.large_string(),
        pa.dictionary(pa.int8(), pa.string()),
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
        pa.uint64(),
        pa.string_view(),
    ],
    ids=str,
)
def test_columns_of_rare_types_pass_through(tmp_path: Path, cell_type: pa.DataType) -> None:
    base = str(tmp_path)
    _manifest(base, IDS[:3], odd=pa.nulls(3, cell_type))
    total, _ = _scan(base)
    assert _planned(base, total).extra_schema.names == ["odd"]
    assert [row.extra for row in _planned(base, 3).read(ShardSpec(0, 3))] == [{"odd": None}] * 3


@pytest.mark.usefixtures("small_chunks")
@pytest.mark.parametrize(("start", "count"), [(0, 50), (0, 1), (7, 2), (8, 8), (5, 30), (49, 1)])
def test_rows_are_read_across_chunk_borders(tmp_path: Path, start: int, count: int) -> None:
    _manifest(str(tmp_path), IDS)
    _scan(str(tmp_path))
    rows = _planned(str(tmp_path), 50).read(ShardSpec(start, count))
    assert [(row.index, row.image_id) for row in rows] == [(n, IDS[n]) for n in range(start, start + count)]


@pytest.mark.parametrize(
    "damage",
    [
        lambda d: b"",
        lambda d: d[:-9],
        lambda d: d[: len(d) // 2] + b"\xff" * 8 + d[len(d) // 2 + 8 :],
        lambda d: d[:30] + b"\xff" * 8 + d[38:],
    ],
)
def test_a_damaged_chunk_is_refused(tmp_path: Path, damage: Any) -> None:
    base = str(tmp_path)
    _manifest(base, IDS)
    _scan(base)
    [info] = Storage().list(join(base, "rows/id"))
    uri = join(base, f"rows/id/{info.key}")
    Storage().put(uri, damage(Storage().read(uri)))
    with pytest.raises(IntegrityError, match="damaged"):
        _planned(base, 50).read(ShardSpec(0, 5))


def test_rows_beyond_the_end_of_the_plan_are_refused(tmp_path: Path) -> None:
    base = str(tmp_path)
    _manifest(base, IDS)
    _scan(base)
    with pytest.raises(IntegrityError, match="incomplete"):
        _planned(base, 50).read(ShardSpec(48, 5))
    with pytest.raises(ObjectNotFoundError):
        _planned(base, 60, Storage(StorageConfig(retries=0, retry_for_s=0))).read(ShardSpec(0, 5))


def test_a_manifest_without_boxes_is_refused_for_the_manifest_detector(tmp_path: Path) -> None:
    _manifest(str(tmp_path), IDS, faces=pa.nulls(50, FACES))
    with pytest.raises(ManifestError, match="--ground-truth"):
        _scan(str(tmp_path))
