"""Measures of face recognition on cosine similarities, as pure functions on arrays.

Rank-1, true and false accept rates and the equal error rate are those of Phillips, Grother, Micheals 2011, "Evaluation
methods in face recognition" (Handbook of Face Recognition, 2nd edition, chapter 21).
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

MIN_FALSE_ACCEPTS = 5  # impostor pairs above a threshold, below which its rate is not reported


@dataclass(frozen=True, slots=True)
class Spread:
    """A distribution of similarities.

    Args:
        count: number of values.
        mean: None if there is no value, like the percentiles.
        p5, p50, p95: percentiles.
    """

    count: int
    mean: float | None = None
    p5: float | None = None
    p50: float | None = None
    p95: float | None = None


def unit(embeddings: npt.NDArray[np.floating[Any]]) -> Values:
    """Scale rows (N, D) to length 1; rows of zeros stay zeros."""
    rows = np.asarray(embeddings, np.float64)
    return np.asarray(rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-12), np.float64)


def cosines(a: npt.NDArray[np.floating[Any]], b: npt.NDArray[np.floating[Any]]) -> Values:
    """Return the (N, M) cosine similarities of each row of `a` (N, D) with each of `b` (M, D)."""
    return np.asarray(unit(a) @ unit(b).T, np.float64)


def rank_one_hits(similarity: Values, own: npt.NDArray[np.integer[Any]]) -> Values:
    """Return for each probe the probability that the most similar gallery entry is its own: 1, 0, or 1 / k in a tie of k.

    Args:
        similarity: (P, G) of probes with gallery entries.
        own: (P,) index of each probe's own entry.
    """
    if not len(similarity):
        return np.zeros(0)
    best = similarity.max(axis=1, keepdims=True)
    tied = similarity >= best
    hit = tied[np.arange(len(own)), own]
    return np.asarray(hit / tied.sum(axis=1), np.float64)


def true_accept_rate(genuine: Values, impostor: Values, false_accept_rate: float) -> float | None:
    """Return the share of genuine pairs above the threshold that at most this share of impostor pairs exceeds.

    Returns:
        None without genuine pairs, or if fewer than `MIN_FALSE_ACCEPTS` impostor pairs would be above.
    """
    allowed = math.floor(false_accept_rate * len(impostor) + 1e-9)
    if not len(genuine) or allowed < MIN_FALSE_ACCEPTS:
        return None
    threshold = np.sort(impostor)[::-1][allowed] if allowed < len(impostor) else -np.inf
    return float((genuine > threshold).mean())


def equal_error_rate(genuine: Values, impostor: Values) -> float | None:
    """Return the rate at which equal shares of genuine pairs are rejected and of impostor pairs are accepted.

    Both shares are step functions of the threshold, interpolated linearly between two steps. The rate is 0 for sets that a
    threshold separates, 0.5 for equal sets, and above 0.5 if impostors are more similar.

    Returns:
        None if either set is empty.
    """
    if not len(genuine) or not len(impostor):
        return None
    steps = np.unique(np.concatenate([genuine, impostor]))
    thresholds = np.append(steps, np.inf)
    rejected = np.searchsorted(np.sort(genuine), thresholds, side="left") / len(genuine)
    accepted = 1 - np.searchsorted(np.sort(impostor), thresholds, side="left") / len(impostor)
    at = int(
        np.argmax(rejected >= accepted)
    )  # never the first, because rejected rises from 0 and accepted falls from 1
    gap_before, gap_at = accepted[at - 1] - rejected[at - 1], rejected[at] - accepted[at]
    weight = gap_before / (gap_before + gap_at)
    return float(rejected[at - 1] + weight * (rejected[at] - rejected[at - 1]))


def spread(values: Values) -> Spread:
    """Return the spread of a distribution."""
    if not len(values):
        return Spread(0)
    p5, p50, p95 = (float(v) for v in np.percentile(values, (5, 50, 95)))
    return Spread(len(values), float(values.mean()), p5, p50, p95)
