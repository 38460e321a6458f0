"""Distances between the features of originals and of their outputs, as figures with intervals.

They compare what a named network sees in both sets. None of them is the FID or KID of papers, which take the features of a
certain Inception network: compare values of one network, of one number of rows.
"""

from __future__ import annotations

import math
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.special import stdtrit

from anon_batch.evaluate.frechet import MIN_SAMPLES_PER_DIMENSION, FeatureMoments, frechet_of
from anon_batch.evaluate.utility.jackknife import interval
from anon_batch.stats.figure import Figure

Features = npt.NDArray[np.floating[Any]]

BLOCKS = 10  # at least, of the kernel distance
_MOST_IN_BLOCK, _LEAST_IN_BLOCK = 1000, 10
MIN_ROWS = BLOCKS * _LEAST_IN_BLOCK
_GROUPS = 10  # left out in turn for the Frechet distance's interval


def kernel_distance(before: Features, after: Features, unit: str) -> Figure:
    """Return the kernel distance of pairs of rows: the squared maximum mean discrepancy with the kernel (x.y / D + 1)^3.

    The mean over blocks of rows of the unbiased estimate in each (Binkowski et al. 2018, "Demystifying MMD GANs"; Zaremba et al.
    2013, "B-tests"), so that it costs N times the block's size, and the blocks' spread gives an interval. It may be negative
    where nothing differs. A row and its own output are never compared with each other, so that it is unbiased for pairs too
    (Gretton et al. 2012, "A kernel two-sample test", lemma 6).

    Args:
        before: (N, D) features of originals, in an order that says nothing.
        after: of their outputs.
        unit: what a row is.
    """
    rows, size = before.shape
    if rows < MIN_ROWS:
        return Figure.missing(f"not measured: {rows:,} {unit}; needs at least {MIN_ROWS}")
    blocks = max(BLOCKS, math.ceil(rows / _MOST_IN_BLOCK))
    cuts = [rows * at // blocks for at in range(blocks + 1)]
    found = [
        _discrepancy(np.asarray(before[a:b], np.float64), np.asarray(after[a:b], np.float64), size)
        for a, b in pairwise(cuts)
    ]
    value = math.fsum(found) / blocks
    error = math.sqrt(math.fsum((own - value) ** 2 for own in found) / (blocks - 1) / blocks)
    half = float(stdtrit(blocks - 1, 0.975)) * error
    note = f"unbiased; standard error {error:.2g} over {blocks} blocks of about {rows // blocks}"
    return Figure(value, value - half, value + half, rows, unit, note)


def _discrepancy(x: Features, y: Features, size: int) -> float:
    """Return the unbiased estimate of one block: the mean over i != j of k(xi, xj) + k(yi, yj) - k(xi, yj) - k(xj, yi)."""
    rows = len(x)
    total = 0.0
    for a, b, sign in ((x, x, 1), (y, y, 1), (x, y, -2)):
        kernel = (a @ b.T / size + 1) ** 3
        total += sign * float(kernel.sum() - np.trace(kernel))
    return total / (rows * (rows - 1))


def frechet_figure(before: Features, after: Features, unit: str) -> Figure:
    """Return the squared Frechet distance of features (N, D) of originals and outputs.

    With few rows it is too large, for covariances of few rows differ by chance: below twice D it has no interval, and says so.
    """
    rows, size = before.shape
    if rows < MIN_ROWS:
        return Figure.missing(f"not measured: {rows:,} {unit}; needs at least {MIN_ROWS}")
    parts = [
        (_moments(old, size), _moments(new, size))
        for old, new in zip(np.array_split(before, _GROUPS), np.array_split(after, _GROUPS), strict=True)
    ]
    old, new = _without(parts, None)
    value = frechet_of(old, new)
    enough = MIN_SAMPLES_PER_DIMENSION * size
    if rows < enough:
        note = f"too large: {rows:,} {unit} for {size:,} dimensions, trust it from {enough:,}; no interval"
        return Figure(value, n=rows, unit=unit, note=note)
    left_out = [frechet_of(*_without(parts, at)) for at in range(_GROUPS)]
    low, high = interval(value, left_out, lowest=0.0) or (None, None)
    return Figure(value, low, high, rows, unit, "grows as rows get fewer; interval: delete-a-group jackknife")


def _moments(rows: Features, size: int) -> FeatureMoments:
    moments = FeatureMoments(size)
    moments.add(rows)
    return moments


def _without(
    parts: list[tuple[FeatureMoments, FeatureMoments]], left_out: int | None
) -> tuple[FeatureMoments, FeatureMoments]:
    kept = [part for at, part in enumerate(parts) if at != left_out]
    old, new = kept[0]
    for more_old, more_new in kept[1:]:
        old, new = old.merge(more_old), new.merge(more_new)
    return old, new
