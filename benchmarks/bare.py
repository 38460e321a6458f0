"""The bare loop as a process: `python -m benchmarks.bare FOLDER OUTPUT METHOD`. Prints images and images a second as JSON."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path

from anon_batch import Anonymizer
from anon_batch.process import keep_freed_memory, limit_threads


def main(folder: str, output: str, method: str) -> None:
    """Anonymize every file of a folder; the clock starts when the models are loaded."""
    limit_threads(1)
    keep_freed_memory()
    anonymizer = Anonymizer(policy=method, key=b"key of the benchmark")
    paths = sorted(Path(folder).iterdir())
    begin = time.monotonic()
    for path in paths:
        (Path(output) / path.name).write_bytes(anonymizer.anonymize_bytes(path.read_bytes(), path.name))
    print(json.dumps({"images": len(paths), "images_per_s": len(paths) / (time.monotonic() - begin)}))


if __name__ == "__main__":
    main(*sys.argv[1:])
