"""metrics.jsonl: a line for each time that a training says how it goes."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from anon_batch.errors import StorageError

FILENAME = "metrics.jsonl"
HELD_OUT = "held_out_"  # what metrics on held-out faces begin with


class Journal:
    """The metrics of a training that stands at some step; what was said of later steps is dropped, as they are done again.

    Args:
        folder: of the training.
        step: steps done.

    Raises:
        StorageError: the folder cannot be written.
    """

    def __init__(self, folder: Path, step: int) -> None:
        self._path = folder / FILENAME
        kept = [line for line in read_metrics(folder) if line["step"] <= step]
        partial = folder / f".{FILENAME}-{os.getpid()}"
        try:
            partial.write_text("".join(f"{json.dumps(line)}\n" for line in kept), "utf-8")
            os.replace(partial, self._path)
        except OSError as exc:
            raise self._unwritable(exc) from None

    def write(self, metrics: dict[str, Any]) -> None:
        """Appends a line; `metrics` hold `step`.

        Raises:
            StorageError: the file cannot be written.
        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(metrics)}\n")
        except OSError as exc:
            raise self._unwritable(exc) from None

    def _unwritable(self, exc: OSError) -> StorageError:
        return StorageError(f"metrics cannot be written: {exc.strerror or exc}", str(self._path))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """The lines so far; one that is not whole, as a killed process leaves it, is none."""
    path, lines = folder / FILENAME, []
    if path.is_file():
        for text in path.read_text("utf-8", errors="replace").splitlines():
            try:
                line = json.loads(text)
            except ValueError:
                continue
            if isinstance(line, dict) and isinstance(line.get("step"), int):
                lines.append(line)
    return lines


def last_held_out(folder: Path, step: int) -> dict[str, Any]:
    """The last metrics on held-out faces up to a step, with their `step`; empty where there are none."""
    told = [
        line for line in read_metrics(folder) if line["step"] <= step and any(key.startswith(HELD_OUT) for key in line)
    ]
    return told[-1] if told else {}
