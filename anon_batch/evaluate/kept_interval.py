"""The interval of the average precision that is kept, by bootstrap over images, because faces in one image are alike.

Originals and outputs are drawn together. Source: B. Efron, Bootstrap methods: another look at the jackknife, Annals of
Statistics 7 (1979), 1-26.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import numpy.typing as npt
from scipy.sparse import csr_array

from anon_batch.stats.detection import BandStats

DRAWS = 1000
_RECALLS = np.linspace(0, 1, 101)

Values = npt.NDArray[np.float64]


def kept_interval(after: Sequence[BandStats], before: Sequence[BandStats], seed: int = 0) -> tuple[float, float] | None:
    """Return the 95 % interval of the share of average precision that is kept; None if nothing can be kept.

    Args:
        after: one for each image, of the outputs.
        before: the same images in the same order, of the originals.
        seed: of the draws.
    """
    images = len(after)
    if images < 2:
        return None
    generator = np.random.default_rng(seed)
    weights = generator.multinomial(images, np.full(images, 1 / images), DRAWS).astype(np.float64)
    first, last = average_precisions(before, weights), average_precisions(after, weights)
    fits = first > 0  # also false for NaN
    if not fits.any():
        return None
    low, high = np.percentile(last[fits] / first[fits], (2.5, 97.5))
    return float(low), float(high)


def average_precisions(images: Sequence[BandStats], weights: Values) -> Values:
    """Return `BandStats.average_precision` of the images together, for each row of their weights; NaN without regions.

    Args:
        images: N of them.
        weights: (R, N), how often each image counts.
    """
    used = sorted({score for own in images for score in (*own.true_positives, *own.false_positives)})
    right = weights @ _table([own.true_positives for own in images], used)
    wrong = weights @ _table([own.false_positives for own in images], used)
    found, wrong = right[:, ::-1].cumsum(axis=1), wrong[:, ::-1].cumsum(axis=1)
    regions = weights @ np.array([own.regions for own in images], np.float64)
    precision = np.divide(found, found + wrong, out=np.zeros_like(found), where=found + wrong > 0)
    best = np.maximum.accumulate(precision[:, ::-1], axis=1)[:, ::-1]
    out = np.full(len(weights), np.nan)
    for row in np.flatnonzero(regions):
        at = np.searchsorted(found[row] / regions[row], _RECALLS, side="left")
        out[row] = np.append(best[row], 0.0)[at].mean()
    return out


def _table(counts: Sequence[Mapping[int, int]], used: Sequence[int]) -> csr_array:
    """Return the counts of N images, (N, number of the bins that are used)."""
    sizes = [len(own) for own in counts]
    columns = np.searchsorted(used, [score for own in counts for score in own])
    values = np.array([value for own in counts for value in own.values()], np.float64)
    return csr_array((values, columns, np.concatenate([[0], np.cumsum(sizes)])), shape=(len(counts), len(used)))
