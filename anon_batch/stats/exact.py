"""Exact intervals of shares, for claims of the kind "at most x %".

Source: C. J. Clopper, E. S. Pearson, The use of confidence or fiducial limits illustrated in the case of the binomial,
Biometrika 26 (1934), 404-413.
"""

from __future__ import annotations

import math

from scipy.special import betaincinv


def clopper_pearson(hits: int, trials: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """Return the two-sided exact interval of a share; None without trials.

    Args:
        hits: how often it happened, 0 to `trials`.
        trials: of how many, all independent.
        confidence: least probability that the interval contains the true share, above 0 and below 1.

    Raises:
        ValueError: a number outside its range.
    """
    _check(hits, trials, confidence)
    if not trials:
        return None
    tail = (1 - confidence) / 2
    low = 0.0 if hits == 0 else float(betaincinv(hits, trials - hits + 1, tail))
    high = 1.0 if hits == trials else float(betaincinv(hits + 1, trials - hits, 1 - tail))
    return low, high


def upper_bound(hits: int, trials: int, confidence: float = 0.95) -> float:
    """Return the one-sided exact upper bound of a share; 1 without trials.

    Args:
        hits: how often it happened, 0 to `trials`.
        trials: of how many, all independent.
        confidence: least probability that the true share is not above the bound.

    Raises:
        ValueError: a number outside its range.
    """
    _check(hits, trials, confidence)
    return 1.0 if hits == trials else float(betaincinv(hits + 1, trials - hits, confidence))


def lower_bound(hits: int, trials: int, confidence: float = 0.95) -> float:
    """Return the one-sided exact lower bound of a share; 0 without trials. See `upper_bound`."""
    _check(hits, trials, confidence)
    return 0.0 if hits == 0 else float(betaincinv(hits, trials - hits + 1, 1 - confidence))


def clean_sample_size(share: float, confidence: float = 0.95) -> int:
    """Return how many independent trials without a hit prove that the true share is at most `share`.

    It is the smallest n with (1 - share)^n <= 1 - confidence: 299 for 1 %, 598 for 0.5 %, 2,995 for 0.1 % at 95 %.

    Args:
        share: above 0, below 1.
        confidence: as for `upper_bound`.

    Raises:
        ValueError: a number outside its range.
    """
    if not 0 < share < 1 or not 0 < confidence < 1:
        raise ValueError(f"share {share} and confidence {confidence} must lie between 0 and 1")
    return math.ceil(math.log(1 - confidence) / math.log1p(-share) - 1e-9)


def _check(hits: int, trials: int, confidence: float) -> None:
    if not 0 <= hits <= trials:
        raise ValueError(f"{hits} of {trials}: expected 0 to {trials}")
    if not 0 < confidence < 1:
        raise ValueError(f"confidence {confidence} must lie between 0 and 1")
