"""Confidence intervals of shares and means."""

from __future__ import annotations

import math
from collections.abc import Mapping

Z_95 = 1.959964  # of the normal distribution, two-sided 95 %


def wilson(hits: float, trials: float, z: float = Z_95) -> tuple[float, float] | None:
    """Return Wilson's score interval of a share.

    Args:
        hits: how often it happened, 0 to `trials`; a fraction where a tie counts in part.
        trials: of how many, all independent.
        z: quantile of the normal distribution.

    Returns:
        Lower and upper bound in [0, 1], useful also for 0 hits and for few trials; None without trials.

    Raises:
        ValueError: fewer than no hits, or more than trials.

    Source: E. B. Wilson, Probable inference, the law of succession, and statistical inference, JASA 22 (1927), 209-212.
    """
    if trials <= 0:
        return None
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} of {trials}: expected 0 to {trials}")
    share = hits / trials
    spread = 1 + z * z / trials
    centre = (share + z * z / (2 * trials)) / spread
    half = z / spread * math.sqrt(share * (1 - share) / trials + z * z / (4 * trials * trials))
    # Because of rounding, the bounds of shares of 0 and 1 are set.
    return (0.0 if hits == 0 else max(0.0, centre - half)), (1.0 if hits == trials else min(1.0, centre + half))


def mean_interval(counts: Mapping[int, int], z: float = Z_95) -> tuple[float, float, float] | None:
    """Return the mean of a distribution and its interval by the normal approximation, valid from dozens of observations.

    Args:
        counts: value -> observations.
        z: quantile of the normal distribution.

    Returns:
        Mean, lower and upper bound; the bounds are the mean where there is a single observation. None without any.
    """
    observations = sum(counts.values())
    if not observations:
        return None
    mean = sum(value * n for value, n in counts.items()) / observations
    squares = sum(n * (value - mean) ** 2 for value, n in counts.items())
    half = z * math.sqrt(squares / max(observations - 1, 1) / observations)
    return mean, max(0.0, mean - half) if min(counts) >= 0 else mean - half, mean + half
