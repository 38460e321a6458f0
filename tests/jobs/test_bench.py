"""The benchmark's pieces on a handful of pictures: that they run, and that their sums are right."""

from __future__ import annotations

import json
import os
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jobs import bench_scale
from jobs.bench import __main__ as bench
from jobs.bench import accuracy, contenders, record

COUNT = 8


@pytest.fixture
def photos(tmp_path: Path) -> list[Path]:
    """Smooth pictures of two sizes, without a face."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for number in range(3):
        ramp = np.linspace(0, 200, 64 + 32 * (number % 2), dtype=np.uint8)
        pixels = np.stack(np.broadcast_arrays(ramp[:, None], ramp[None, ::-1], np.uint8(40 * number)), axis=2)
        Image.fromarray(np.ascontiguousarray(pixels)).save(folder / f"{number}.jpg")
    return sorted(folder.iterdir())


def test_repeat_gives_every_picture_a_name_and_the_photographs_bytes(photos: list[Path], tmp_path: Path) -> None:
    originals = bench.repeat(photos, tmp_path / "pictures", COUNT)
    files = sorted((tmp_path / "pictures").iterdir())
    assert [path.name for path in files] == sorted(originals)
    assert len(files) == COUNT
    assert all(path.read_bytes() == originals[path.name].read_bytes() for path in files)


def test_bare_loops_put_every_picture(photos: list[Path], tmp_path: Path) -> None:
    bench.repeat(photos, tmp_path / "pictures", COUNT)
    files = sorted((tmp_path / "pictures").iterdir())
    rate = contenders.bare(files, tmp_path / "out", 2)
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == [path.name for path in files]
    assert rate.images_per_s == pytest.approx(COUNT / rate.seconds)


def test_a_bare_loop_that_fails_fails_the_benchmark(photos: list[Path], tmp_path: Path) -> None:
    broken = tmp_path / "broken.jpg"
    broken.write_bytes(b"no picture")
    with pytest.raises(RuntimeError, match="bare loop"):
        contenders.bare([photos[0], broken], tmp_path / "out", 2)


def test_deface_is_measured_and_leaves_only_the_originals(photos: list[Path], tmp_path: Path) -> None:
    bench.repeat(photos, tmp_path / "pictures", COUNT)
    rate = contenders.deface(tmp_path / "pictures")
    assert rate.images_per_s == pytest.approx((COUNT - 1) / rate.seconds)
    assert len(list((tmp_path / "pictures").iterdir())) == COUNT


def test_steady_rate_counts_from_the_moment_all_workers_are_at_work(tmp_path: Path) -> None:
    # One worker alone from 0 s to 10 s, two from 10 s to 40 s; half of the first shard lies in the steady stretch.
    for shard, begin, end in (("0000000000-20", 0, 20), ("0000000020-30", 10, 40), ("0000000050-20", 20, 40)):
        _touch(tmp_path / "ledger" / "attempts" / shard / "abc-1", begin)
        _touch(tmp_path / "release" / "provenance" / f"{shard}.parquet", end)
    rate = contenders.steady_rate(tmp_path / "release", tmp_path / "ledger", 2)
    assert rate.seconds == pytest.approx(30)
    assert rate.images_per_s == pytest.approx((10 + 30 + 20) / 30)


def _touch(path: Path, at_s: float) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.touch()
    os.utime(path, (1e9 + at_s, 1e9 + at_s))


def test_deface_is_scored_once_a_photograph_and_counted_for_each_copy(photos: list[Path], tmp_path: Path) -> None:
    labels = tmp_path / "labels.json"
    labels.write_text(json.dumps({photo.name: [[8, 8, 40, 40, "face"]] for photo in photos}), encoding="utf-8")
    originals = bench.repeat(photos, tmp_path / "pictures", COUNT)
    truth = bench.repeated_labels(labels, originals, tmp_path / "repeated.json")
    scores = accuracy.of_deface(originals, truth)
    assert scores["all"]["faces"] == COUNT
    assert scores["all"]["recall"] == 0  # there is no face to find


def test_targets_are_judged_by_the_median_of_paired_ratios() -> None:
    rates = {"bare": [100.0, 50.0, 100.0], "run": [90.0, 45.0, 10.0], "deface": [20.0, 10.0, 20.0]}
    found = bench.summary(rates, None)
    assert found["median_ratios"]["run / bare"] == pytest.approx(0.9)
    assert found["median_ratios"]["run / deface"] == pytest.approx(4.5)
    assert found["targets_met"]
    lower = {"all": {"recall": 0.5}}, {"all": {"recall": 0.6}}
    assert not bench.summary(rates, {"run": lower[0], "deface": lower[1]})["targets_met"]


def test_scale_manifest_is_one_the_planner_takes(tmp_path: Path) -> None:
    from anon_batch.config import load_job
    from anon_batch.pipeline.run import open_run
    from anon_batch.pipeline.shard import ShardProcessor
    from anon_batch.records import ShardSpec

    manifest = bench_scale.write_manifest(tmp_path, COUNT)
    config = load_job(None, {
        "manifest": str(manifest), "output": str(tmp_path / "release"), "detect.detectors": ["manifest"],
        "write.layout": "webdataset",
    })
    run, resumed = open_run(config, ())
    result = ShardProcessor(run).process(ShardSpec(0, COUNT))
    assert not resumed
    assert (result.outcome, result.statuses) == ("committed", {"clean": COUNT})


def test_figures_are_kept_with_machine_and_versions(tmp_path: Path) -> None:
    path = record.keep("bench", {"machine": record.machine()}, tmp_path / "results")
    machine = json.loads(path.read_text(encoding="utf-8"))["machine"]
    assert machine["cpu_count"] == os.cpu_count()
    assert machine["versions"]["ray"]


@pytest.mark.slow
def test_the_whole_benchmark_runs(photos: list[Path], tmp_path: Path) -> None:
    figures = bench.measure(tmp_path, photos, None, bench.Setup(COUNT, workers=2, rounds=1))
    assert all(values[0] > 0 for values in figures["images_per_s"].values())
    assert "run / bare" in bench.report(figures)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.parquet", "photos", "pictures"]


@pytest.mark.slow
def test_the_whole_scale_benchmark_runs(tmp_path: Path) -> None:
    figures = bench_scale.measure(tmp_path, 4 * COUNT, 1, COUNT, verify=True)
    assert figures["verify"]["objects"] == 4 * COUNT
    assert figures["run"]["peak_mib"] < bench_scale.DRIVER_PEAK_LIMIT_MIB
    assert "driver peak" in bench_scale.report(figures)
