"""The contenders on a handful of pictures: that they run, and that their rates are right."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from benchmarks import contenders, pictures
from benchmarks.pictures import Source

COUNT = 8


def test_bare_loops_put_every_picture(photos: list[Source], tmp_path: Path) -> None:
    pictures.repeat(photos, tmp_path / "pictures", COUNT)
    files = sorted((tmp_path / "pictures").iterdir())
    rate = contenders.bare(files, tmp_path / "out", 2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [path.name for path in files]
    assert rate.images_per_s == pytest.approx(COUNT / rate.seconds)
    assert rate.cpu_ms is not None
    assert rate.cpu_ms > 0


def test_a_bare_loop_that_fails_fails_the_benchmark(photos: list[Source], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(RuntimeError, match="bare loop"):
        contenders.bare([photos[0].path, broken], tmp_path / "out", 2)


def test_deface_is_measured_and_leaves_only_the_originals(photos: list[Source], tmp_path: Path) -> None:
    pictures.repeat(photos, tmp_path / "pictures", COUNT)
    rate = contenders.deface(tmp_path / "pictures", tmp_path / "outputs")
    assert rate.images_per_s == pytest.approx((COUNT - 1) / rate.seconds)
    assert rate.cpu_ms is None  # nobody watched
    assert len(list((tmp_path / "pictures").iterdir())) == COUNT


def _touch(path: Path, at_s: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (1e9 + at_s, 1e9 + at_s))


def test_steady_stretch_begins_when_all_workers_are_at_work(tmp_path: Path) -> None:
    # One worker alone from 0 s to 10 s, two from 10 s to 40 s; half of the first shard lies in the steady stretch.
    for shard, begin, end in (("0000000000-20", 0, 20), ("0000000020-30", 10, 40), ("0000000050-10", 20, 40)):
        _touch(tmp_path / "ledger" / "attempts" / shard / "abc-1", begin)
        _touch(tmp_path / "release" / "provenance" / f"{shard}.parquet", end)
    places = (tmp_path / "release", tmp_path / "ledger", 2)
    assert contenders.steady_stretch(*places) == pytest.approx((1e9 + 10, 1e9 + 40, 10 + 30 + 10))
    # To the end of the shard of 20 rows: a third of the second one is done by then, and none of the third.
    assert contenders.steady_stretch(*places, shard_rows=20) == pytest.approx((1e9 + 10, 1e9 + 20, 10 + 10))
    with pytest.raises(RuntimeError, match="no shard of 7 rows"):
        contenders.steady_stretch(*places, shard_rows=7)


def test_scale_manifest_is_one_the_planner_takes(tmp_path: Path) -> None:
    from anon_batch.config import load_job
    from anon_batch.pipeline.run import open_run
    from anon_batch.pipeline.shard import ShardProcessor
    from anon_batch.records import ShardSpec
    from benchmarks import million_rows as bench_scale

    manifest = bench_scale.write_manifest(tmp_path, COUNT)
    config = load_job(
        None,
        {
            "manifest": str(manifest),
            "output": str(tmp_path / "release"),
            "detect.detectors": ["manifest"],
            "write.layout": "webdataset",
        },
    )
    run, resumed = open_run(config, ())
    result = ShardProcessor(run).process(ShardSpec(0, COUNT))
    assert not resumed
    assert (result.outcome, result.statuses) == ("committed", {"clean": COUNT})


@pytest.mark.full
def test_the_whole_scale_benchmark_runs(tmp_path: Path) -> None:
    from benchmarks import million_rows as bench_scale

    figures = bench_scale.measure(tmp_path, 4 * COUNT, 1, COUNT, verify=True)
    assert figures["verify"]["objects"] == 4 * COUNT
    assert figures["run"]["peak_mib"] < bench_scale.DRIVER_PEAK_LIMIT_MIB
    assert "driver peak" in bench_scale.report(figures)
