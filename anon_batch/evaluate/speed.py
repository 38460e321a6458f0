"""Faces a second of a method on this machine."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

MIN_PASSES = 3
MIN_SECONDS = 1.0
MAX_PASSES = 50


@dataclass(frozen=True, slots=True)
class Timing:
    """Repeated passes over the same batches.

    Args:
        faces: treated in one pass.
        seconds: of each pass.
    """

    faces: int
    seconds: tuple[float, ...]

    def summary(self) -> dict[str, Any]:
        """Faces a second in the median pass, with the slowest and the fastest."""
        rates = [self.faces / max(spent, 1e-9) for spent in self.seconds]
        return {
            "faces": self.faces,
            "passes": len(rates),
            "faces_per_s": statistics.median(rates),
            "slowest": min(rates),
            "fastest": max(rates),
        }


def time_passes(
    treat: Callable[[Any], object], batches: Sequence[Any], faces: int, clock: Callable[[], float] = time.perf_counter
) -> Timing:
    """Runs `treat` over all batches once to warm up, then `MIN_PASSES` times and until `MIN_SECONDS` have gone by.

    Args:
        treat: takes a batch; its result must be complete when it returns.
        batches: what a pass goes over.
        faces: in all batches together.
        clock: seconds.
    """
    for batch in batches:
        treat(batch)
    seconds: list[float] = []
    while len(seconds) < MAX_PASSES and (len(seconds) < MIN_PASSES or sum(seconds) < MIN_SECONDS):
        begin = clock()
        for batch in batches:
            treat(batch)
        seconds.append(clock() - begin)
    return Timing(faces, tuple(seconds))
