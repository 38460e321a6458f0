"""The shards of the source: where they begin, which are too large, and what becomes of one that has to be divided."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest
from hypothesis import given
from hypothesis import strategies as st
from pipeline_fixtures import job, verdict
from releases import RUN_KEY
from twins import drawn

from anon_batch.errors import ManifestError
from anon_batch.formats.plan import Plan
from anon_batch.formats.tar_shard import Sample, write_samples
from anon_batch.manifest.build import build_manifest
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.pipeline.source_shards import MAX_BYTES, MAX_ROWS, SourceShards
from anon_batch.records import ShardSpec
from anon_batch.shards import pending, split
from anon_batch.storage import Storage

FILE, TAR, CELLS = "/src/a.jpg", "s3://b/t.tar", "/p.parquet#column=image&row=1"


def _table(rows: list[tuple[str, int | None]]) -> pa.Table:
    uris = [uri for uri, _ in rows]
    return pa.table(
        {
            "image_id": [f"i{at}" for at in range(len(rows))],
            "uri": pa.array(uris, pa.string()),
            "offset": pa.array([512 if uri.endswith(".tar") else None for uri in uris], pa.int64()),
            "length": pa.array([length for _, length in rows], pa.int64()),
            "size_bytes": pa.nulls(len(rows), pa.int64()),
        }
    )


def _find(uris: list[str], shard_rows: int = 2, chunk: int = 3) -> tuple[tuple[int, ...], int]:
    shards = SourceShards("m", shard_rows)
    for start in range(0, len(uris), chunk):
        shards.feed(_table([(uri, 1) for uri in uris[start : start + chunk]]))
    return shards.finish()


def test_a_shard_begins_with_each_tar_and_parquet_file() -> None:
    cells = [CELLS, CELLS.replace("row=1", "row=2"), "/q.parquet#column=image&row=1"]
    assert _find([TAR] * 4 + ["s3://b/u.tar"] + cells) == ((0, 4, 5, 7), 4)


def test_images_that_are_files_of_their_own_are_shards_of_rows() -> None:
    assert _find([FILE] * 5 + [TAR] * 3) == ((0, 2, 4, 5), 3)
    with pytest.raises(ManifestError, match="this source has none"):
        _find([FILE] * 5)


@given(st.lists(st.sampled_from([FILE, TAR, "/u.tar", CELLS]), min_size=1, max_size=30), st.integers(1, 9))
def test_shards_do_not_depend_on_how_the_rows_are_read(uris: list[str], chunk: int) -> None:
    uris = [TAR, *uris]
    assert _find(uris, chunk=chunk) == _find(uris, chunk=100)


@pytest.mark.parametrize("rows", [[(TAR, MAX_BYTES), (TAR, 1)], [(TAR, 1)] * (MAX_ROWS + 1)], ids=["bytes", "rows"])
def test_a_shard_that_does_not_fit_into_memory_is_refused(rows: list[tuple[str, int | None]]) -> None:
    SourceShards("m", 2).feed(_table(rows[:-1]))
    shards = SourceShards("m", 2)
    shards.feed(_table(rows[: len(rows) // 2]))
    with pytest.raises(ManifestError, match=r"(?s)'i0'.*at most 65,536 images and 4 GiB.*Leave out"):
        shards.feed(_table(rows[len(rows) // 2 :]))


def test_a_plan_keeps_the_shards() -> None:
    plan = Plan("r", 9, 5, (), {}, "x", "2026-01-01", starts=(0, 5, 7))
    assert plan.cuts == (5, 7, 9)
    assert Plan.from_json(plan.to_json(), "u") == plan


def test_a_shard_without_attempts_left_is_divided_and_the_release_is_complete(tmp_path: Path) -> None:
    for name, count in (("a", 12), ("b", 3)):
        samples = [Sample(str(n), ((f"{n}.jpg", drawn(n)), (f"{n}.cls", b"1"))) for n in range(count)]
        (tmp_path / f"{name}.tar").write_bytes(write_samples(samples))
    build_manifest(Storage(), [str(tmp_path / "{a,b}.tar")], str(tmp_path / "m.parquet"))
    (tmp_path / "key").write_bytes(RUN_KEY)
    keys = {"write__layout": "webdataset", "write__shards": "source", "detect__detectors": ["centerface"]}
    run, _ = open_run(job(str(tmp_path), sources__allow=[str(tmp_path)], **keys), ())
    plan, gone = run.plan, ShardSpec(0, 12)
    todo = list(pending(plan.total, plan.shard_rows, [], [gone], plan.cuts))
    assert todo == [*split(gone), ShardSpec(12, 3)]
    processor = ShardProcessor(run)
    assert [processor.process(spec).outcome for spec in todo] == ["committed"] * 3
    finalize(run)
    assert verdict(run).faults == []
    assert run.release.read_run_json().source_shards == 2 < len(run.release.parts())
