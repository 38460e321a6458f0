"""Figures of face recognition over cosine similarities. Pure functions on arrays.

Rank-1, true and false accept rates and the equal error rate are those of Phillips, Grother, Micheals 2011, "Evaluation
methods in face recognition" (Handbook of Face Recognition, 2nd edition, chapter 21).
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

MIN_FALSE_ACCEPTS = 5  # impostor pairs that must lie above a threshold for its rate to mean something
_Z_95 = 1.959963984540054


def unit(embeddings: npt.NDArray[np.floating[Any]]) -> Values:
    """Rows (N, D) scaled to length 1; rows of zeros stay zeros."""
    rows = np.asarray(embeddings, np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float64)


def cosines(a: npt.NDArray[np.floating[Any]], b: npt.NDArray[np.floating[Any]]) -> Values:
    """(N, M) cosine similarity of each row of `a` (N, D) with each of `b` (M, D)."""
    return np.asarray(unit(a) @ unit(b).T, np.float64)


def rank_one_hits(similarity: Values, own: npt.NDArray[np.integer[Any]]) -> Values:
    """For each probe the probability that the most similar gallery entry is its own: 1, 0, or 1 / k in a tie of k.

    Args:
        similarity: (P, G) of probes with gallery entries.
        own: (P,) index of each probe's own entry.
    """
    if not len(similarity):
        return np.zeros(0)
    best = similarity.max(axis=1, keepdims=True)
    tied = similarity >= best
    mine = tied[np.arange(len(own)), own]
    return np.asarray(mine / tied.sum(axis=1), np.float64)


def wilson_interval(successes: float, trials: float) -> tuple[float, float]:
    """The 95 % interval of a proportion (Wilson 1927, "Probable inference, the law of succession, and statistical
    inference").

    Args:
        successes: 0 .. trials.
        trials: above 0.

    Raises:
        ValueError: numbers outside of these.
    """
    if not 0 <= successes <= trials or trials <= 0:
        raise ValueError(f"{successes} successes in {trials} trials")
    share, z2 = successes / trials, _Z_95**2
    centre = (share + z2 / (2 * trials)) / (1 + z2 / trials)
    half = _Z_95 / (1 + z2 / trials) * math.sqrt(share * (1 - share) / trials + z2 / (4 * trials**2))
    return max(0.0, centre - half), min(1.0, centre + half)


def true_accept_rate(genuine: Values, impostor: Values, false_accept_rate: float) -> float | None:
    """Share of genuine pairs above the threshold that at most this share of impostor pairs exceeds.

    Returns:
        None where there is no genuine pair, or fewer than `MIN_FALSE_ACCEPTS` impostor pairs would lie above.
    """
    allowed = math.floor(false_accept_rate * len(impostor) + 1e-9)
    if not len(genuine) or allowed < MIN_FALSE_ACCEPTS:
        return None
    threshold = np.sort(impostor)[::-1][allowed] if allowed < len(impostor) else -np.inf
    return float((genuine > threshold).mean())


def equal_error_rate(genuine: Values, impostor: Values) -> float | None:
    """The rate at which as large a share of genuine pairs is refused as of impostor pairs is accepted.

    Both shares are step functions of the threshold; where they cross between two steps the straight line between these
    is taken. 0 for sets that a threshold separates, 0.5 for equal ones, above 0.5 where impostors are the more alike.

    Returns:
        None where either set is empty.
    """
    if not len(genuine) or not len(impostor):
        return None
    steps = np.unique(np.concatenate([genuine, impostor]))
    thresholds = np.append(steps, np.inf)
    refused = np.searchsorted(np.sort(genuine), thresholds, side="left") / len(genuine)
    accepted = 1 - np.searchsorted(np.sort(impostor), thresholds, side="left") / len(impostor)
    at = int(np.argmax(refused >= accepted))  # refused rises from 0 to 1, accepted falls from 1 to 0: never the first
    gap_before, gap_at = accepted[at - 1] - refused[at - 1], refused[at] - accepted[at]
    weight = gap_before / (gap_before + gap_at)
    return float(refused[at - 1] + weight * (refused[at] - refused[at - 1]))


def spread(values: Values) -> Mapping[str, float | int | None]:
    """Number, mean, and 5th, 50th and 95th percentile of a distribution; None where it is empty."""
    if not len(values):
        return {"count": 0, "mean": None, "p5": None, "p50": None, "p95": None}
    p5, p50, p95 = (float(v) for v in np.percentile(values, (5, 50, 95)))
    return {"count": len(values), "mean": float(values.mean()), "p5": p5, "p50": p50, "p95": p95}
