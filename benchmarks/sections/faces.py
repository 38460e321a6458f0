"""Faces a second of library calls on one core, by CPU time: what other programs do meanwhile does not count."""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any

from anon_batch.anonymize.registry import BUILT_IN
from benchmarks.comparison import median_of, play, ratio
from benchmarks.tables import Table, number
from benchmarks.workplace import Workplace

NETWORK = "generator's network alone"
_CALL_FACES = 1  # what `gan` takes at once on a CPU


def measure(place: Workplace) -> dict[str, Any]:
    """Times every method in a process of its own."""
    paths = [source.path for source in place.sources]
    with ProcessPoolExecutor(1, mp_context=multiprocessing.get_context("spawn")) as pool:
        figures: dict[str, Any] = pool.submit(measure_here, paths, tuple(BUILT_IN), place.settings.rounds).result()
    return figures


def measure_here(paths: Sequence[Path], methods: Sequence[str], rounds: int) -> dict[str, Any]:
    """Times methods in this process, which gets one thread for good.

    Raises:
        RuntimeError: no faces in any of the files.
    """
    from anon_batch.anonymize.registry import load_method
    from anon_batch.detect.ensemble import build_detector
    from anon_batch.models.runtime import Runtime
    from anon_batch.models.store import ModelStore
    from anon_batch.process import limit_threads
    from anon_batch.storage import Storage
    from benchmarks import library

    limit_threads(1)
    config = library.job()
    store = ModelStore(Storage(config.storage), config.models)
    sample = library.sample_of(
        paths, build_detector(config.detect, Runtime(store)), config.anonymize.min_replaced_score
    )
    if not sample.faces:
        raise RuntimeError("section faces: no face is found in any photograph; name others with --photos")
    loaded = {name: load_method(name, config.anonymize, store, 1, "cpu") for name in methods}

    def timed(method: Any) -> Callable[[int], tuple[float, int]]:
        return lambda _: library.method_speed(method, config, sample, library.CPU_CLOCK)

    contenders = {name: timed(method) for name, method in loaded.items()}
    if "gan" in loaded:
        weights = store.load("generator")
        contenders[NETWORK] = lambda _: (
            library.generator_speed(weights, "cpu", _CALL_FACES, library.CPU_CLOCK),
            _CALL_FACES,
        )
    results = play(contenders, rounds, lambda _: None)
    return {
        "pictures": len(sample.images),
        "found": sample.faces,
        "faces_per_s": {name: [speed for speed, _ in own] for name, own in results.items()},
        "faces": {name: own[0][1] for name, own in results.items()},
        "ratios": _ratios({name: [speed for speed, _ in own] for name, own in results.items()}),
    }


def _ratios(speeds: Mapping[str, Sequence[float]]) -> dict[str, Any]:
    there = {name: own for name, own in speeds.items() if all(own)}
    pairs = (("swap", "gan"), (NETWORK, "gan"))
    return {f"{a} / {b}": ratio(there[a], there[b]) for a, b in pairs if a in there and b in there}


def tables(figures: Mapping[str, Any]) -> list[Table]:
    """Faces a second and milliseconds a face."""
    rows = []
    for name, speeds in figures["faces_per_s"].items():
        speed = median_of(speeds) or 0.0
        digits = 0 if speed >= 1000 else 1
        spread = " to ".join(number(bound, digits) for bound in (min(speeds), max(speeds)))
        treated = "" if name == NETWORK else str(figures["faces"][name])
        rows.append((name, number(speed, digits), spread, number(1e3 / speed if speed else None, 2), treated))
    note = (
        f"One thread, CPU time; batches of 8 pictures, {figures['pictures']} in all with {figures['found']} faces that "
        "`anonymize.min_replaced_score` does not leave to the fallbacks; without decoding, detection, the ladder's checks and "
        f"encoding. The network takes {_CALL_FACES} face of 128 px a call."
    )
    return [Table(("call", "faces/s of a core", "rounds", "ms a face", "faces treated"), tuple(rows), (note,))]
