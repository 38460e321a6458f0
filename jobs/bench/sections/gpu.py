"""Networks on CUDA, and how long the GPU waits in a run; a line where torch finds none."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from typing import Any

from jobs.bench.comparison import median_of, play, ratio
from jobs.bench.tables import Table, number, ratio_cell, share
from jobs.bench.workplace import Workplace

COMMAND = "python -m jobs.bench --sections gpu"
_PICTURES, _BATCH, _FACES = 256, 32, 64


def measure(place: Workplace) -> dict[str, Any]:
    """Times detector and generator on the GPU and on one core, and runs `gan` on it."""
    import torch

    if not torch.cuda.is_available():
        return {"gpu": None, "torch": torch.__version__}
    figures: dict[str, Any] = {"gpu": torch.cuda.get_device_name(0), "torch": torch.__version__}
    figures |= measure_networks(place, "cuda", _PICTURES)
    return figures | measure_run(place)


def measure_networks(place: Workplace, device: str, images: int, faces: int = _FACES) -> dict[str, Any]:
    """Pictures and faces a second on `device` and on one core of the CPU, by the clock on the wall."""
    from anon_batch.detect.ensemble import build_detector
    from anon_batch.models.store import ModelStore
    from anon_batch.storage import Storage
    from jobs.bench import library

    config = library.job({"detect.batch_size": _BATCH, "detect.backend": "torch"})
    on_cpu = library.job()
    store = ModelStore(Storage(config.storage), config.models)
    pictures = library.at_640_px(library.decoded([source.path for source in place.sources[:images]]))
    there, here = build_detector(config.detect, store, 1, device), build_detector(on_cpu.detect, store)
    weights, clock = store.load("generator"), library.WALL_CLOCK
    contenders = {
        "detector": lambda _: library.detector_speed(there, pictures, _BATCH, clock),
        "detector, one core": lambda _: library.detector_speed(here, pictures[:_BATCH], 8, clock),
        "generator": lambda _: library.generator_speed(weights, device, faces, clock),
        "generator, one core": lambda _: library.generator_speed(weights, "cpu", 4, clock),
    }
    torch_threads(1)
    found = play(contenders, place.settings.rounds, place.say)
    ratios = {f"{name} / one core": ratio(found[name], found[f"{name}, one core"]) for name in ("detector", "generator")}
    return {"per_s": found, "ratios": ratios, "device": device}


def torch_threads(threads: int) -> None:
    """Threads of torch on the CPU."""
    import torch

    torch.set_num_threads(threads)


def measure_run(place: Workplace) -> dict[str, Any]:
    """A run with `gan` and one worker that has the GPU and all cores; how long the GPU idles, by the run's statistics."""
    from anon_batch.stats import time_shares

    cpus = os.cpu_count() or 1
    keys = {
        "anonymize.method": "gan", "engine.num_gpus": 1, "engine.num_cpus": cpus, "engine.io_threads": max(8, 2 * cpus),
        "detect.batch_size": _BATCH, "engine.read_ahead": 4 * _BATCH, "detect.backend": "auto",
    }  # fmt: skip
    pictures = place.photographs(5 * place.settings.images)
    rate = place.run(pictures, 1, keys)
    shares = time_shares(json.loads((place.release / "stats.json").read_text(encoding="utf-8")))
    phases = {phase.name: phase.share for phase in shares.phases}
    return {"run": {"images_per_s": rate.images_per_s, "idle_share": shares.idle_share, "phases": phases, "settings": keys}}


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """Speeds, then the run; or that there is no GPU."""
    if figures["gpu"] is None:
        return [Table((), (), (f"torch {figures['torch']} finds no CUDA device here; on a machine with one: `{COMMAND}`.",))]
    speeds, ratios, run = figures["per_s"], figures["ratios"], figures["run"]
    rows = (
        _row("detector, images/s at 640 x 480 px", speeds, ratios, "detector"),
        _row(f"generator, faces/s at 128 px, {_FACES} a call", speeds, ratios, "generator"),
    )
    note = f"{figures['gpu']}, torch {figures['torch']}; the clock on the wall, transfers of the detector's pictures included."
    phases = sorted(run["phases"].items(), key=lambda item: -item[1])
    spent = tuple((name, share(part)) for name, part in phases)
    line = f"A run with `gan` on local files: {number(run['images_per_s'])} images/s, GPU idle {share(run['idle_share'])}."
    return [Table(("", "GPU", "one CPU core", "ratio"), rows, (note,)), Table(("phase", "share"), spent, (line,))]


def _row(label: str, speeds: Mapping[str, Any], ratios: Mapping[str, Any], name: str) -> tuple[str, ...]:
    here = number(median_of(speeds[f"{name}, one core"]))
    return label, number(median_of(speeds[name])), here, ratio_cell(ratios[f"{name} / one core"])
