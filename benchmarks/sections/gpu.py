"""Networks on CUDA, and runs on a GPU: how fast, and how long the GPU waits; a line where torch finds none."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from benchmarks import contenders
from benchmarks.comparison import check, median_of, play, ratio
from benchmarks.gpu_use import GpuUse
from benchmarks.pictures import PictureSet
from benchmarks.tables import Table, number, ratio_cell, share
from benchmarks.workplace import Workplace

COMMAND = "python -m benchmarks --sections gpu"
TARGETS = {"detector": 2000.0, "generator": 5000.0}
IDLE_TARGET = 0.2
_UNITS = {"detector": "images/s", "generator": "faces/s"}
_PICTURES, _CALLS, _BATCH = 512, 8, 32
_MOST_WORKERS = 16
_SETS = (5, 16)  # pictures of the run with one worker and of that with several, in units of --images
_SHARDS = 8  # of each of several workers


def measure(place: Workplace) -> dict[str, Any]:
    """Times detector and generator on the GPU and on one core, and runs `gan` on it, with one worker and with several."""
    import torch

    from anon_batch.anonymize.methods.gan import CUDA_CALL_FACES

    if not torch.cuda.is_available():
        return {"gpu": None, "torch": torch.__version__}
    found = torch.cuda.get_device_properties(0)
    networks = measure_networks(place, "cuda", _PICTURES, CUDA_CALL_FACES)
    known = getattr(found, "uuid", None)  # not of every version of torch
    runs = measure_runs(place, "0" if known is None else f"GPU-{known}")
    about = {"gpu": found.name, "torch": torch.__version__}
    return {**about, **networks, "runs": runs, "checks": checks(networks["per_s"], runs)}


def measure_networks(place: Workplace, device: str, images: int, faces: int) -> dict[str, Any]:
    """Pictures and faces a second on `device` and on one core of the CPU, by the clock on the wall.

    Args:
        place: has the photographs, repeated to `images`.
        device: `cpu`, `cuda` or `cuda:N`.
        images: of a pass of the detector.
        faces: of a call of the generator on the device.
    """
    from anon_batch.detect.ensemble import build_detector
    from anon_batch.models.backends import CUDA_BATCH_SIZE
    from anon_batch.models.runtime import Runtime
    from anon_batch.models.store import ModelStore
    from anon_batch.storage import Storage
    from benchmarks import library

    one_look = {"detect.refine_small": False}  # else the figure would be one of how many faces the pictures have
    config, on_cpu = library.job({"detect.backend": "torch", **one_look}), library.job(one_look)
    store = ModelStore(Storage(config.storage), config.models)
    distinct = library.at_640_px(library.decoded([source.path for source in place.sources[:images]]))
    pictures = [distinct[at % len(distinct)] for at in range(images)]
    there, here = (
        build_detector(config.detect, Runtime(store, 1, device)),
        build_detector(on_cpu.detect, Runtime(store)),
    )
    weights, clock, at_once = store.load("generator"), library.WALL_CLOCK, _CALLS * CUDA_BATCH_SIZE
    contestants = {
        "detector": lambda _: library.detector_speed(there, pictures, at_once, clock),
        "detector, one core": lambda _: library.detector_speed(here, pictures[:_BATCH], 8, clock),
        "generator": lambda _: library.generator_speed(weights, device, faces, clock),
        "generator, one core": lambda _: library.generator_speed(weights, "cpu", 4, clock),
    }
    torch_threads(1)
    found = play(contestants, place.settings.rounds, place.say)
    ratios = {f"{name} / one core": ratio(found[name], found[f"{name}, one core"]) for name in TARGETS}
    calls = {
        "detect_pictures": at_once,
        "call_pictures": CUDA_BATCH_SIZE,
        "call_faces": faces,
        "in_a_row": library.QUEUED_CALLS,
    }
    return {"per_s": found, "ratios": ratios, "device": device, "calls": calls}


def torch_threads(threads: int) -> None:
    """Threads of torch on the CPU."""
    import torch

    torch.set_num_threads(threads)


def measure_runs(place: Workplace, gpu: str) -> list[dict[str, Any]]:
    """Runs `gan` with one worker that has the GPU and all cores, then with a worker for each core.

    Args:
        place: has the photographs.
        gpu: as `GpuUse` takes it.
    """
    cpus = os.cpu_count() or 1
    alone, several = (times * place.settings.images for times in _SETS)
    workers = min(cpus, _MOST_WORKERS)
    runs = [measure_run(place, place.photographs(alone), 1, one_worker(cpus), gpu)]
    if workers > 1:
        runs.append(measure_run(place, place.photographs(several), workers, many_workers(workers, several), gpu))
    return runs


def one_worker(cpus: int) -> dict[str, Any]:
    """Keys of a worker that has the GPU and all cores to itself."""
    threads = {"engine.num_gpus": 1, "engine.num_cpus": cpus, "engine.io_threads": max(8, 2 * cpus)}
    return {"anonymize.method": "gan", **threads, "detect.batch_size": _BATCH, "engine.read_ahead": 4 * _BATCH}


def many_workers(workers: int, pictures: int) -> dict[str, Any]:
    """Keys of workers that share the GPU, a core each; Ray knows a GPU's share to four digits."""
    shared = {"engine.num_gpus": 10_000 // workers / 10_000, "engine.num_cpus": 1}
    rows = min(512, max(1, pictures // (_SHARDS * workers)))  # all of them are to be at work for most of the run
    sizes = {"detect.batch_size": _BATCH, "engine.read_ahead": 4 * _BATCH, "engine.shard_rows": rows}
    return {"anonymize.method": "gan", **shared, **sizes}


def measure_run(
    place: Workplace, pictures: PictureSet, workers: int, keys: Mapping[str, Any], gpu: str
) -> dict[str, Any]:
    """A run: its rate, and over the same stretch how long the GPU ran nothing; over the whole run the workers' phases."""
    from anon_batch.stats import time_shares

    with GpuUse(gpu) as use:
        rate = place.run(pictures, workers, {"detect.backend": "auto", **keys})
    begin, end, _ = contenders.steady_stretch(place.release, Path(f"{place.release}-ledger"), workers)
    idle = use.idle_share(begin, end)
    place.say(f"run with gan, {workers} workers: {rate.images_per_s:.1f} images/s, GPU idle {_known(idle)}")
    shares = time_shares(json.loads((place.release / "stats.json").read_text(encoding="utf-8")))
    return {
        "workers": workers,
        "images_per_s": rate.images_per_s,
        "seconds": rate.seconds,
        "gpu_idle_share": idle,
        "worker_idle_share": shares.idle_share,
        "phases": {phase.name: phase.share for phase in shares.phases},
        "settings": dict(keys),
    }


def checks(per_s: Mapping[str, Sequence[float]], runs: Sequence[Mapping[str, Any]]) -> dict[str, Any]:
    """Speeds, and the GPU's idle share in the run with the most workers where that is known, with their limits."""
    found = {
        name: check(median_of(per_s[name]) or 0.0, TARGETS[name], unit, at_most=False) for name, unit in _UNITS.items()
    }
    idle = runs[-1]["gpu_idle_share"]
    if idle is not None:
        found[f"GPU idle, {_workers(runs[-1])}"] = check(idle, IDLE_TARGET, "share", at_most=True)
    return found


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """Speeds, then the runs and their workers' time; or that there is no GPU."""
    if figures["gpu"] is None:
        return [
            Table((), (), (f"torch {figures['torch']} finds no CUDA device here; on a machine with one: `{COMMAND}`.",))
        ]
    return [_speeds(figures), _runs(figures["runs"]), _phases(figures["runs"])]


def _speeds(figures: Mapping[str, Any]) -> Table:
    calls = figures["calls"]
    labels = {"detector": "detector, images/s at 640 x 480 px", "generator": "generator, faces/s at 128 px"}
    rows = tuple(
        (
            label,
            number(median_of(figures["per_s"][name]), 0),
            f"at least {number(TARGETS[name], 0)}",
            number(median_of(figures["per_s"][f"{name}, one core"])),
            ratio_cell(figures["ratios"][f"{name} / one core"]),
        )
        for name, label in labels.items()
    )
    note = (
        f"{figures['gpu']}, torch {figures['torch']}; the clock on the wall, one process, from pixels in the host's memory to "
        f"results there. The detector gets {calls['detect_pictures']} pictures at once, which are calls of "
        f"{calls['call_pictures']}, and its figure holds their preparation and what is made of the outputs; the generator's is "
        f"that of its network alone, {calls['in_a_row']} calls of {calls['call_faces']} faces in a row."
    )
    return Table(("", "GPU", "target", "one CPU core", "ratio"), rows, (note,))


def _runs(runs: Sequence[Mapping[str, Any]]) -> Table:
    rows = tuple(
        (
            _workers(run),
            f"{run['settings']['engine.num_gpus']:g}",
            str(run["settings"]["engine.num_cpus"]),
            number(run["images_per_s"]),
            _known(run["gpu_idle_share"]),
            _known(run["worker_idle_share"]),
        )
        for run in runs
    )
    note = (
        "Runs with `gan` on local files. GPU idle: by `nvidia-smi`, the share of time without any kernel, while all workers were "
        f"at work; target of the last run: at most {IDLE_TARGET:.0%}. Workers idle: by the run's own statistics, the share of "
        "the workers' time outside detecting and anonymizing, starting included."
    )
    return Table(("run", "GPUs each", "CPUs each", "images/s", "GPU idle", "workers idle"), rows, (note,))


def _phases(runs: Sequence[Mapping[str, Any]]) -> Table:
    names = sorted(
        {name for run in runs for name in run["phases"]}, key=lambda name: -runs[-1]["phases"].get(name, 0.0)
    )
    rows = tuple((name, *(share(run["phases"].get(name)) for run in runs)) for name in names)
    return Table(("workers' time", *map(_workers, runs)), rows)


def _workers(run: Mapping[str, Any]) -> str:
    return "1 worker" if run["workers"] == 1 else f"{run['workers']} workers"


def _known(value: float | None) -> str:
    return "unknown" if value is None else share(value)
