"""Whether an attacker does better than a guess, though it is the best of several attackers.

Who is who among the persons is permuted, for all attackers alike. The share of permutations in which the best of all attackers
finds as many persons as the best one really does is the p-value, corrected for having chosen the best: the single-step maxT
procedure of Westfall, Young 1993, "Resampling-based multiple testing".
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binom

from anon_batch.evaluate.recognition import Values

PERMUTATIONS = 9_999
SIGNIFICANT = 0.01  # the level below which an attacker counts as better than a guess
_AT_ONCE = 1_000


def p_values(found: Sequence[Values], seed: int, permutations: int = PERMUTATIONS) -> list[float]:
    """Return for each attacker the corrected p-value of finding so many persons by chance.

    Args:
        found: of each attacker, (N, N) as `Scores.found`.
        seed: of the permutations.
        permutations: number of them; the least p-value is 1 / (permutations + 1).
    """
    if not found or not len(found[0]):
        return [1.0 for _ in found]
    # Because a missing probe finds nobody, for any order of the persons.
    squares = np.stack([np.nan_to_num(square, nan=0.0) for square in found])
    persons = squares.shape[1]
    rows = np.arange(persons)
    observed = squares[:, rows, rows].sum(axis=1)
    rng = np.random.default_rng(seed)
    reached = np.zeros(len(found), np.int64)
    for start in range(0, permutations, _AT_ONCE):
        count = min(_AT_ONCE, permutations - start)
        columns = rng.permuted(np.tile(rows, (count, 1)), axis=1)
        best = np.full(count, -np.inf)
        for square in squares:
            best = np.maximum(best, square[rows, columns].sum(axis=1))
        reached += (best[None, :] >= observed[:, None] - 1e-9).sum(axis=1)
    return [float((1 + number) / (1 + permutations)) for number in reached]


def least_recognisable(persons: int, level: float = SIGNIFICANT) -> float | None:
    """Return the smallest share of persons, found by one attacker, that is above chance at this level.

    A leak that lets fewer be found stays unnoticed with so few persons. It is the exact binomial test of one guess for each
    person; None where even finding everybody could be chance.
    """
    if persons < 2:
        return None
    tails = binom.sf(np.arange(persons + 1) - 1, persons, 1 / persons)
    enough = np.flatnonzero(tails < level)
    # Because a permutation can only be as rare as one of all.
    if not len(enough) or 1 / math.factorial(min(persons, 20)) >= level:
        return None
    return float(enough[0] / persons)
