"""A linear classifier on frozen features that needs no tuning: Fisher's discriminant with a shrunken covariance.

All classes count alike, so that a rare one is not given up. The covariance within classes is shrunken towards a multiple of the
identity as far as its own error asks for (Ledoit and Wolf 2004, "A well-conditioned estimator for large-dimensional covariance
matrices", Journal of Multivariate Analysis 88). Its solution is one system of equations, so that it has no seed.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]
Codes = npt.NDArray[np.int64]

_LEAST_SPREAD = 1e-3  # of a feature, as a share of the most varied one's, because constant ones must not be scaled up


class LinearProbe:
    """Predicts classes.

    Args:
        features: (N, D) of the rows to learn from.
        classes: (N,) codes 0 .. `count` - 1. A class without rows is never predicted.
        count: of the classes.

    Raises:
        ValueError: no row.
    """

    def __init__(self, features: npt.NDArray[np.floating[Any]], classes: Codes, count: int) -> None:
        rows = np.asarray(features, np.float64)
        if not len(rows):
            raise ValueError("no rows to learn from")
        self._mean, spread = rows.mean(axis=0), rows.std(axis=0)
        self._spread = np.maximum(spread, max(_LEAST_SPREAD * float(spread.max()), 1e-12))
        scaled = (rows - self._mean) / self._spread
        members = np.bincount(classes, minlength=count).astype(np.float64)
        sums = np.zeros((count, rows.shape[1]))
        np.add.at(sums, classes, scaled)
        means = sums / np.maximum(members, 1)[:, None]
        covariance = _shrunken(scaled - means[classes])
        self._weights = np.linalg.solve(covariance, means.T)
        self._offsets = np.where(members > 0, -0.5 * (means.T * self._weights).sum(axis=0), -np.inf)

    def predict(self, features: npt.NDArray[np.floating[Any]]) -> Codes:
        """Return the (M,) codes of the likeliest classes of M rows."""
        scaled = (np.asarray(features, np.float64) - self._mean) / self._spread
        return np.asarray((scaled @ self._weights + self._offsets).argmax(axis=1), np.int64)


def _shrunken(residuals: Values) -> Values:
    """Return the covariance (D, D) of residuals (N, D), positive definite."""
    rows, size = residuals.shape
    covariance = residuals.T @ residuals / rows
    level = float(np.trace(covariance)) / size
    if level <= 0:  # because every class has one row, or equal ones
        return np.eye(size)
    squared = float(np.square(covariance).sum())
    distance = squared - size * level**2
    error = (float(np.square(np.square(residuals).sum(axis=1)).sum()) / rows - squared) / rows
    share = 1.0 if distance <= 0 else min(1.0, max(error / distance, 1e-6))
    return np.asarray((1 - share) * covariance + share * level * np.eye(size), np.float64)
