"""A linear layer on a frozen recogniser, trained on anonymized copies of known images: the parrot attack.

The attack: McPherson, Shokri, Shmatikov 2016, "Defeating image obfuscation with deep learning"; "parrot recognition": Newton,
Sweeney, Malin 2005, "Preserving privacy by de-identifying face images", section 4. The layer is a ridge regression of features
onto persons (Hoerl, Kennard 1970), whose penalty is chosen by cross-validation over copies. It has a closed form, so equal
features give equal layers.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from anon_batch.evaluate.attacks.scores import standardised
from anon_batch.evaluate.recognition import Values
from anon_batch.records import FloatArray

PENALTIES = (1e-3, 1e-2, 1e-1, 1.0, 10.0)  # in means of the kernel's eigenvalues
FOLDS = 4
_UNTESTED = 1e-1  # with too few copies for folds


@dataclass(frozen=True, slots=True, eq=False)
class Layer:
    """Scores of persons from a feature.

    Args:
        mean: (D,) of the features of training.
        weights: (D, N); a column of NaN for a person of whom there is no copy.
        penalty: that was chosen.
    """

    mean: Values
    weights: Values
    penalty: float

    def score(self, probes: FloatArray) -> Values:
        """Return (M, N) scores of probes (M, D), comparable between probes; rows of NaN for features of NaN."""
        values = (probes.astype(np.float64) - self.mean) @ self.weights
        known = np.isfinite(self.weights).all(axis=0)
        if known.any():
            values[:, known] = standardised(values[:, known])
        return np.asarray(values, np.float64)


def fit(copies: FloatArray) -> Layer:
    """Fit a layer.

    Args:
        copies: (C, N, D) features of C copies of an image of each of N persons; NaN where there is none.
    """
    count, persons, dimensions = copies.shape
    rows = copies.reshape(-1, dimensions).astype(np.float64)
    person, number = np.tile(np.arange(persons), count), np.repeat(np.arange(count), persons)
    present = np.isfinite(rows).all(axis=1)
    rows, person, number = rows[present], person[present], number[present]
    weights = np.full((dimensions, persons), np.nan)
    known = np.unique(person)
    if not len(known):
        return Layer(np.zeros(dimensions), weights, _UNTESTED)
    targets = (person[:, None] == known).astype(np.float64)
    penalty = _choose_penalty(rows, targets, number % FOLDS) if count >= FOLDS else _UNTESTED
    mean = rows.mean(axis=0)
    [dual] = _solve(rows - mean, targets - targets.mean(axis=0), (penalty,))
    weights[:, known] = (rows - mean).T @ dual
    return Layer(mean, weights, penalty)


def _choose_penalty(rows: Values, targets: Values, fold: np.ndarray) -> float:
    """Return the penalty with the least squared error on copies that were left out."""
    errors = np.zeros(len(PENALTIES))
    for left_out in range(FOLDS):
        train = fold != left_out
        if train.all() or not train.any():
            continue
        mean, level = rows[train].mean(axis=0), targets[train].mean(axis=0)
        across = (rows[~train] - mean) @ (rows[train] - mean).T
        for at, dual in enumerate(_solve(rows[train] - mean, targets[train] - level, PENALTIES)):
            errors[at] += ((across @ dual + level - targets[~train]) ** 2).sum()
    return PENALTIES[int(errors.argmin())]


def _solve(rows: Values, targets: Values, penalties: tuple[float, ...]) -> Iterator[Values]:
    """Yield the dual solution (n, N) of the ridge regression for each penalty."""
    values, vectors = np.linalg.eigh(rows @ rows.T)
    values = np.clip(values, 0, None)
    turned = vectors.T @ targets
    for penalty in penalties:
        yield vectors @ (turned / (values + penalty * values.mean() + 1e-12)[:, None])
