"""Run methods in many fresh processes and check that every one gives the same bytes.

Each process starts under other conditions: memory that was allocated and freed before, the C library's settings of a
worker or its own, a stack that starts elsewhere, arrays at other offsets, one to four threads in OpenCV, torch, BLAS and
the detector, another order and other batches of the images. What differs depends on memory, threads or order.

    python -m tools.check_determinism --processes 200 --methods gan,swap,plate,inpaint,blur,pixelate,solid
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[1]
PHOTOS = ROOT / "manifests/sample/photos"
PORTRAITS = (
    "astronaut.png",
    "grace_hopper.jpg",
    *(f"london/{name}.jpg" for name in ("003_neutral", "005_smiling", "007_neutral", "135_grey", "six_people")),
)
METHODS = ("gan", "swap", "plate", "inpaint", "blur", "pixelate", "solid")
THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def main(arguments: list[str] | None = None) -> int:
    """Run the processes and print which outputs differ.

    Returns:
        0 when all processes agree, else 1.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--processes", type=int, default=200)
    parser.add_argument("--at-once", type=int, default=os.cpu_count() or 1)
    parser.add_argument("--methods", default=",".join(METHODS))
    parser.add_argument("--seed", type=int, default=0, help="seed of the conditions")
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args(arguments)
    methods = options.methods.split(",")
    if options.child is not None:
        print(json.dumps(digests(options.child, methods)))
        return 0
    seeds = range(options.seed, options.seed + options.processes)
    results = run_processes(seeds, methods, options.at_once)
    return 1 if report(results) else 0


def run_processes(seeds: range, methods: list[str], at_once: int) -> list[dict[str, str]]:
    """Return the digests of one process for each seed, by "method/image". Ctrl-C ends it early, with those that are done."""
    results: list[dict[str, str]] = []
    try:
        for start in range(seeds.start, seeds.stop, at_once):
            running = [_start(seed, methods) for seed in range(start, min(start + at_once, seeds.stop))]
            for process in running:
                output, _ = process.communicate()
                if process.returncode:
                    raise RuntimeError(f"{' '.join(map(str, process.args))} ended with {process.returncode}")
                results.append(json.loads(output.splitlines()[-1]))
            print(f"{len(results)} of {len(seeds)} processes", file=sys.stderr, flush=True)
    except KeyboardInterrupt:
        if not results:
            raise
    return results


def report(results: list[dict[str, str]]) -> int:
    """Print how many digests each output has, and return the number of outputs with more than one."""
    differing = 0
    for name in sorted(results[0]):
        counts = Counter(result[name] for result in results)
        if len(counts) > 1:
            differing += 1
            print(
                f"{name}: {len(counts)} different results: {', '.join(f'{d[:12]} x{n}' for d, n in counts.most_common())}"
            )
    print(f"{len(results)} processes, {len(results[0])} outputs each, {differing} of them differ")
    return differing


def _start(seed: int, methods: list[str]) -> subprocess.Popen[str]:
    chance = random.Random(seed)
    environment = dict(os.environ)
    environment.update({name: str(chance.randint(1, 4)) for name in THREAD_VARIABLES})
    environment["STACK_PADDING"] = "x" * chance.randrange(4096)
    command = [sys.executable, "-m", "tools.check_determinism", "--child", str(seed), "--methods", ",".join(methods)]
    return subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True)


def digests(seed: int, methods: list[str]) -> dict[str, str]:
    """Return SHA-256 of each output of each method, computed under conditions that the seed chooses."""
    chance = random.Random(seed)
    kept = _disturb_memory(chance)
    import cv2
    import torch

    cv2.setNumThreads(chance.randint(1, 4))
    torch.set_num_threads(chance.randint(1, 4))
    names = list(PORTRAITS)
    chance.shuffle(names)
    found: dict[str, str] = {}
    for method in methods:
        kept += _disturb_memory(chance)
        found |= _outputs(method, names, chance)
    return found


def _outputs(method: str, names: list[str], chance: random.Random) -> dict[str, str]:
    """Return the digests of a method's detections, pixels and files."""
    import numpy as np

    from anon_batch import Anonymizer
    from anon_batch.config import ModelsConfig
    from anon_batch.models.runtime import Runtime
    from anon_batch.models.store import ModelStore
    from anon_batch.outcomes import Anonymized
    from anon_batch.storage import Storage

    policy = {"face": {"method": method, "soft_edge": 0.05}}
    runtime = Runtime(ModelStore(Storage(), ModelsConfig()), threads=chance.randint(1, 4))
    anonymizer = Anonymizer(policy=policy, key=b"key of the determinism check", runtime=runtime)
    outcomes: list[Any] = []
    step = chance.randint(1, len(names))
    for at in range(0, len(names), step):
        batch = names[at : at + step]
        outcomes += anonymizer([(PHOTOS / "people" / name).read_bytes() for name in batch], batch)
    arrays = [_moved(np.array(outcome.source.decode().pixels), chance.randrange(61)) for outcome in outcomes]
    moved = anonymizer(arrays, names)
    found = {}
    for name, outcome, again in zip(names, outcomes, moved, strict=True):
        if not isinstance(outcome, Anonymized) or not isinstance(again, Anonymized):
            raise TypeError(f"{method}: {name} ended as {outcome} and, as an array, {again}")
        boxes = outcome.detections
        found[f"detections/{name}"] = _digest(boxes.boxes, boxes.scores, boxes.landmarks, boxes.witnesses)
        found[f"{method}/pixels/{name}"] = _digest(outcome.pixels)
        found[f"{method}/pixels of a moved array/{name}"] = _digest(again.pixels)
        encoded = anonymizer.encode(outcome)
        found[f"{method}/file/{name}"] = hashlib.sha256(encoded.data).hexdigest()
    return found


def _digest(*arrays: Any) -> str:
    return hashlib.sha256(b"".join(array.tobytes() for array in arrays)).hexdigest()


def _disturb_memory(chance: random.Random) -> list[bytearray]:
    """Allocate blocks of many sizes, free some of them, and return the others."""
    if chance.random() < 0.5:
        from anon_batch.process import keep_freed_memory

        keep_freed_memory()
    blocks = [
        bytearray(chance.choice((17, 40, 500, 4_000, 100_000, 3_000_000)) + chance.randrange(64)) for _ in range(400)
    ]
    chance.shuffle(blocks)
    return blocks[: chance.randrange(len(blocks))]


def _moved(array: Any, offset: int) -> Any:
    """Return a copy of the array whose memory starts `offset` bytes later than allocated."""
    import numpy as np

    room = np.empty(array.nbytes + offset, np.uint8)
    view = room[offset:].view(array.dtype).reshape(array.shape)
    view[...] = array
    return view


if __name__ == "__main__":
    sys.exit(main())
