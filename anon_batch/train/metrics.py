"""metrics.jsonl: one line for each report of a training."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

from anon_batch.errors import StorageError

FILENAME = "metrics.jsonl"
HELD_OUT = "held_out_"  # prefix of metrics on held-out faces


class MetricsFile:
    """Append metrics of a training that resumes at some step; drop the lines of later steps, which are done again.

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
            raise self._write_error(exc) from None

    def write(self, metrics: dict[str, Any]) -> None:
        """Append a line; `metrics` contains `step`.

        Raises:
            StorageError: the file cannot be written.
        """
        try:
            with self._path.open("a", encoding="utf-8") as file:
                file.write(f"{json.dumps(metrics)}\n")
        except OSError as exc:
            raise self._write_error(exc) from None

    def _write_error(self, exc: OSError) -> StorageError:
        return StorageError(f"cannot write metrics: {exc.strerror or exc}", str(self._path))


def read_metrics(folder: Path) -> list[dict[str, Any]]:
    """Return the lines so far, without a truncated one that a killed process may leave."""
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
    """Return the last metrics on held-out faces up to a step, with their `step`; empty if there are none."""
    lines = [
        line for line in read_metrics(folder) if line["step"] <= step and any(key.startswith(HELD_OUT) for key in line)
    ]
    return lines[-1] if lines else {}
