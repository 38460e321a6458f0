"""The GPU's section, without a GPU: networks on the CPU, a made-up run, made-up figures as tables."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from anon_batch.anonymize.methods.gan import CUDA_CALL_FACES
from anon_batch.config import ModelsConfig
from anon_batch.errors import ConfigError
from anon_batch.models.backends import CUDA_BATCH_SIZE
from anon_batch.models.cuda_calls import CudaCalls
from anon_batch.models.store import ModelStore
from anon_batch.records import FloatArray
from anon_batch.storage import Storage
from benchmarks import comparison, document, library
from benchmarks.comparison import Rate
from benchmarks.pictures import PictureSet, find_photographs
from benchmarks.sections import gpu
from benchmarks.workplace import Settings, Workplace

SAMPLE = Path(__file__).parents[2] / "manifests/sample"
CALLS = {"detect_pictures": 64, "call_pictures": 8, "call_faces": 64, "in_a_row": 16}
NO_CUDA = pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")


def _run(workers: int, idle: float | None, **phases: float) -> dict[str, Any]:
    keys = gpu.one_worker(16) if workers == 1 else gpu.many_workers(workers, 16_000)
    figures = {"workers": workers, "images_per_s": 100.0 * workers, "seconds": 60.0, "gpu_idle_share": idle}
    return {**figures, "worker_idle_share": 0.25, "phases": phases, "settings": keys}


def _figures(detector: float = 2500.0, generator: float = 6000.0, idle: float | None = 0.125) -> dict[str, Any]:
    speeds = {
        "detector": [detector],
        "detector, one core": [25.0],
        "generator": [generator],
        "generator, one core": [60.0],
    }
    ratios = {f"{name} / one core": comparison.ratio(speeds[name], speeds[f"{name}, one core"]) for name in gpu.TARGETS}
    runs = [_run(1, 0.75, detect=0.7, start=0.3), _run(16, idle, detect=0.5, anonymize=0.4, start=0.1)]
    about = {"gpu": "Some GPU", "torch": "2.0", "device": "cuda", "calls": CALLS}
    return {**about, "per_s": speeds, "ratios": ratios, "runs": runs, "checks": gpu.checks(speeds, runs)}


def test_networks_are_timed_on_any_device(tmp_path: Path) -> None:
    sources = find_photographs(SAMPLE / "photos", None)[:1]
    place = Workplace(tmp_path, sources, Settings(rounds=1), None)
    figures = gpu.measure_networks(place, "cpu", 2, faces=2)
    assert set(figures["per_s"]) == {"detector", "detector, one core", "generator", "generator, one core"}
    assert all(value > 0 for speeds in figures["per_s"].values() for value in speeds)
    assert figures["calls"] == CALLS | {"call_faces": 2, "call_pictures": CUDA_BATCH_SIZE}
    assert set(figures["ratios"]) == {"detector / one core", "generator / one core"}


def test_the_detector_gets_pictures_of_several_calls_at_once(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: dict[str, tuple[int, int]] = {}

    def speed(detector: Any, images: list[Any], batch_size: int, clock: library.Clock) -> float:
        asked[detector] = len(images), batch_size
        return 1.0

    monkeypatch.setattr("anon_batch.detect.ensemble.build_detector", lambda config, *_: config.backend)
    monkeypatch.setattr(library, "detector_speed", speed)
    monkeypatch.setattr(library, "generator_speed", lambda *_: 1.0)
    sources = find_photographs(SAMPLE / "photos", None)[:2]  # fewer than asked for: they are repeated
    gpu.measure_networks(Workplace(tmp_path, sources, Settings(rounds=1), None), "cpu", 150, faces=2)
    assert asked["torch"] == (150, 8 * CUDA_BATCH_SIZE)


def test_calls_of_the_generator_go_in_one_row_from_memory_to_memory() -> None:
    rows: list[list[tuple[tuple[int, ...], ...]]] = []

    def calls(arguments: Iterable[tuple[FloatArray, FloatArray]]) -> Iterator[list[FloatArray]]:
        rows.append([])
        for inputs, latents in arguments:
            assert inputs.dtype == latents.dtype == np.float32
            rows[-1].append((inputs.shape, latents.shape))
            yield [inputs[:, :3]]

    ticks = iter(range(1000))
    speed = library.queued_speed(calls, latent=5, faces=3, clock=lambda: float(next(ticks)))
    assert speed == library.QUEUED_CALLS * 3  # a pass lasts one tick
    assert len(rows) > 3
    assert all(row == [((3, 10, 128, 128), (3, 5))] * library.QUEUED_CALLS for row in rows)


def test_the_row_is_one_that_cuda_calls_take() -> None:
    def network(inputs: torch.Tensor, latents: torch.Tensor) -> tuple[torch.Tensor, ...]:
        return (inputs[:, :3] + latents.sum(),)

    assert library.queued_speed(CudaCalls(network, torch.device("cpu"), capture=None), 5, 1, library.WALL_CLOCK) > 0


@NO_CUDA
def test_on_cuda_the_generator_is_that_of_a_run() -> None:
    weights = ModelStore(Storage(), ModelsConfig()).load("generator")
    with pytest.raises(ConfigError, match=r"method `gan`: .* torch finds no CUDA device"):
        library.generator_speed(weights, "cuda", 1, library.WALL_CLOCK)


@NO_CUDA
def test_without_a_gpu_nothing_is_measured(tmp_path: Path) -> None:
    assert gpu.measure(Workplace(tmp_path, [], Settings(), None)) == {"gpu": None, "torch": torch.__version__}


@pytest.mark.gpu
def test_networks_are_timed_on_cuda(tmp_path: Path) -> None:
    if not torch.cuda.is_available():
        pytest.skip("needs a CUDA device")
    place = Workplace(tmp_path, find_photographs(SAMPLE / "photos", None), Settings(rounds=1), None)
    figures = gpu.measure_networks(place, "cuda", 128, CUDA_CALL_FACES)
    assert all(found["median"] > 1 for found in figures["ratios"].values())


@pytest.mark.parametrize("workers", range(2, 17))
def test_workers_find_room_on_one_gpu_and_have_shards_enough(workers: int) -> None:
    keys = gpu.many_workers(workers, 16_000)
    gpu_share = keys["engine.num_gpus"]
    assert gpu_share == round(gpu_share, 4)
    assert 0.99 < workers * gpu_share <= 1
    assert keys["engine.num_cpus"] == 1
    assert 16_000 / keys["engine.shard_rows"] >= 8 * workers
    library.job(keys)
    assert gpu.many_workers(16, 16)["engine.shard_rows"] == 1
    assert gpu.many_workers(2, 10**6)["engine.shard_rows"] == 512


class Place(Workplace):
    """Whose runs are the files that a run leaves, of half a second's length; they begin when a file is there."""

    def __init__(self, folder: Path, begun: Path | None = None) -> None:
        super().__init__(folder, [], Settings(images=100), None)
        self.begun = begun
        self.asked: list[tuple[str, int | None, dict[str, Any]]] = []

    def photographs(self, images: int) -> PictureSet:
        return PictureSet(self.folder, Path(f"{images}.parquet"), {}, {})

    def run(self, pictures: PictureSet, workers: int | None = None, settings: Mapping[str, Any] | None = None) -> Rate:
        self.asked.append((pictures.manifest.stem, workers, dict(settings or {})))
        self.release = self.folder / f"release-{len(self.asked)}"
        marker = Path(f"{self.release}-ledger") / "attempts/0000000000-10/a-1"
        marker.parent.mkdir(parents=True)
        end = time.monotonic() + 20
        while self.begun is not None and not self.begun.exists() and time.monotonic() < end:
            time.sleep(0.01)
        (self.release / "provenance").mkdir(parents=True)
        marker.touch()
        time.sleep(0.5)
        (self.release / "provenance/0000000000-10.parquet").touch()
        stats = {"seconds": {}, "timing": {"worker_seconds": {"detect": 3.0, "wait_input": 1.0}}}
        (self.release / "stats.json").write_text(json.dumps(stats))
        return Rate(20.0, 0.5)


def test_one_worker_and_then_many_run_while_the_gpu_is_watched(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    smi = tmp_path / "nvidia-smi"
    begun = tmp_path / "begun"
    smi.write_text(f'#!/bin/sh\n[ "$2" = GPU-7 ] || exit 6\nwhile :; do echo 90; touch {begun}; sleep 0.02; done\n')
    smi.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(os, "cpu_count", lambda: 20)
    place = Place(tmp_path, begun)
    alone, several = gpu.measure_runs(place, "GPU-7")
    assert [(name, workers) for name, workers, _ in place.asked] == [("500", 1), ("1600", 16)]
    assert all(keys["anonymize.method"] == "gan" and keys["detect.backend"] == "auto" for _, _, keys in place.asked)
    assert (alone["settings"]["engine.num_gpus"], alone["settings"]["engine.num_cpus"]) == (1, 20)
    assert (several["settings"]["engine.num_gpus"], several["settings"]["engine.num_cpus"]) == (0.0625, 1)
    for run in (alone, several):
        assert run["gpu_idle_share"] == pytest.approx(0.1)
        assert run["worker_idle_share"] == pytest.approx(0.25)
        assert run["phases"] == pytest.approx({"detect": 0.75, "wait_input": 0.25})
    assert json.loads(json.dumps([alone, several])) == [alone, several]


def test_one_core_has_one_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr(os, "cpu_count", lambda: 1)
    [alone] = gpu.measure_runs(Place(tmp_path), "0")
    assert alone["gpu_idle_share"] is None
    assert alone["workers"] == 1


def test_speeds_runs_and_workers_time_are_shown() -> None:
    speeds, runs, phases = gpu.tables(json.loads(json.dumps(_figures())))
    assert speeds.rows == (
        ("detector, images/s at 640 x 480 px", "2,500", "at least 2,000", "25.0", "100.00"),
        ("generator, faces/s at 128 px", "6,000", "at least 5,000", "60.0", "100.00"),
    )
    assert "Some GPU, torch 2.0" in speeds.notes[0]
    assert "64 pictures at once, which are calls of 8" in speeds.notes[0]
    assert "16 calls of 64 faces in a row" in speeds.notes[0]
    assert runs.rows == (
        ("1 worker", "1", "16", "100.0", "75.0%", "25.0%"),
        ("16 workers", "0.0625", "1", "1,600.0", "12.5%", "25.0%"),
    )
    assert phases.columns == ("workers' time", "1 worker", "16 workers")
    assert phases.rows == (
        ("detect", "70.0%", "50.0%"),
        ("anonymize", "-", "40.0%"),
        ("start", "30.0%", "10.0%"),
    )
    assert "GPU idle: by `nvidia-smi`" in document.terminal({"gpu": _figures()})


def test_targets_are_of_the_speeds_and_of_the_last_run() -> None:
    shown = document.markdown({"gpu": _figures()})
    assert "| gpu | detector | 2,500 images/s | at least 2,000 images/s | met |" in shown
    assert "| gpu | generator | 6,000 faces/s | at least 5,000 faces/s | met |" in shown
    assert "| gpu | GPU idle, 16 workers | 12.5% | at most 20.0% | met |" in shown
    slow = {"gpu": _figures(detector=1999.0, generator=4999.0, idle=0.21)}
    assert comparison.missed(slow) == ["gpu: detector", "gpu: generator", "gpu: GPU idle, 16 workers"]


def test_an_unknown_idle_share_is_called_so_and_meets_nothing() -> None:
    figures = _figures(idle=None)
    assert set(figures["checks"]) == {"detector", "generator"}
    assert gpu.tables(figures)[1].rows[1] == ("16 workers", "0.0625", "1", "1,600.0", "unknown", "25.0%")
