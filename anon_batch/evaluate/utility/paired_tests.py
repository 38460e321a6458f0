"""Tests of paired answers, right or wrong before and after, and a correction for many of them."""

from __future__ import annotations

import math
from collections.abc import Sequence

from scipy.special import bdtr

from anon_batch.stats.intervals import Z_95


def mcnemar(lost: int, gained: int) -> float:
    """Return the two-sided exact p-value of as many or more one-sided changes, if both directions were equally likely.

    Args:
        lost: answers that were right before and are wrong after.
        gained: the other way round.

    Source: McNemar 1947, "Note on the sampling error of the difference between correlated proportions or percentages",
    Psychometrika 12; exact by the binomial distribution.
    """
    if lost < 0 or gained < 0:
        raise ValueError(f"{lost} lost and {gained} gained answers")
    return min(1.0, 2 * float(bdtr(min(lost, gained), lost + gained, 0.5)))


def change_interval(lost: int, gained: int, rows: int) -> tuple[float, float]:
    """Return the 95 % interval of the change of a share of right answers, (gained - lost) / rows.

    Args:
        lost: as for `mcnemar`.
        gained: likewise.
        rows: all answers, at least 1.

    Source: Bonett and Price 2012, "Adjusted Wald confidence interval for a difference of binomial proportions based on paired
    data", Journal of Educational and Behavioral Statistics 37.
    """
    down, up = (lost + 1) / (rows + 2), (gained + 1) / (rows + 2)
    half = Z_95 * math.sqrt((up + down - (up - down) ** 2) / (rows + 2))
    return max(-1.0, up - down - half), min(1.0, up - down + half)


def holm(p_values: Sequence[float]) -> list[float]:
    """Return p-values corrected such that the chance of any false one below 5 % is at most 5 %, whatever they depend on.

    Source: Holm 1979, "A simple sequentially rejective multiple test procedure", Scandinavian Journal of Statistics 6.
    """
    corrected, largest = [1.0] * len(p_values), 0.0
    for rank, at in enumerate(sorted(range(len(p_values)), key=lambda at: p_values[at])):
        largest = max(largest, min(1.0, (len(p_values) - rank) * p_values[at]))
        corrected[at] = largest
    return corrected
