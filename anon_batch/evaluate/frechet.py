"""The Frechet distance between two sets of features, each modelled as a Gaussian.

Dowson and Landau 1982, "The Frechet distance between multivariate normal distributions":
|m1 - m2|^2 + tr(C1 + C2 - 2 (C1 C2)^(1/2)). Reports name the features. It is not the FID,
which applies the same formula to the features of a certain Inception network.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Values = npt.NDArray[np.float64]

MIN_SAMPLES_PER_DIMENSION = 2  # fewer do not determine a covariance


@dataclass(slots=True, eq=False)
class FeatureMoments:
    """Sums that determine mean and covariance, of fixed size for any number of samples.

    Args:
        dimensions: of a feature.
    """

    dimensions: int
    count: int = 0
    total: Values | None = None
    outer: Values | None = None

    def add(self, features: npt.NDArray[np.floating[Any]]) -> None:
        """Add (N, D) features."""
        rows = np.asarray(features, np.float64).reshape(-1, self.dimensions)
        self.count += len(rows)
        total, outer = rows.sum(axis=0), rows.T @ rows
        self.total = total if self.total is None else self.total + total
        self.outer = outer if self.outer is None else self.outer + outer

    def merge(self, other: FeatureMoments) -> FeatureMoments:
        """Return the sums of both; neither changes."""
        if self.total is None or self.outer is None or other.total is None or other.outer is None:
            own = self if other.total is None else other
            return FeatureMoments(self.dimensions, own.count, own.total, own.outer)
        return FeatureMoments(
            self.dimensions, self.count + other.count, self.total + other.total, self.outer + other.outer
        )

    @property
    def enough(self) -> bool:
        """Return whether there are enough samples for a covariance."""
        return self.count >= MIN_SAMPLES_PER_DIMENSION * self.dimensions

    def mean_and_covariance(self) -> tuple[Values, Values]:
        """Return the (D,) mean and the (D, D) unbiased covariance.

        Raises:
            ValueError: fewer than two samples.
        """
        if self.count < 2 or self.total is None or self.outer is None:
            raise ValueError(f"{self.count} samples, expected at least two")
        mean = self.total / self.count
        covariance = (self.outer - self.count * np.outer(mean, mean)) / (self.count - 1)
        return np.asarray(mean, np.float64), np.asarray((covariance + covariance.T) / 2, np.float64)


@dataclass(frozen=True, slots=True)
class FrechetMeasure:
    """A Frechet distance.

    Args:
        name: names the features.
        distance: squared.
        samples: features of the outputs.
        dimensions: of a feature.
    """

    name: str
    distance: float
    samples: int
    dimensions: int


def frechet_distance(a: FeatureMoments, b: FeatureMoments) -> float | None:
    """Return the squared distance, as is usual; None if either side has too few samples.

    Raises:
        ValueError: features of different dimensions.
    """
    if a.dimensions != b.dimensions:
        raise ValueError(f"{a.dimensions} and {b.dimensions} dimensions")
    return frechet_of(a, b) if a.enough and b.enough else None


def frechet_of(a: FeatureMoments, b: FeatureMoments) -> float:
    """Return the squared distance of at least two samples each.

    The trace of (C1 C2)^(1/2) equals that of (C1^(1/2) C2 C1^(1/2))^(1/2), which is symmetric and has no complex roots.
    The distance is biased upwards for few samples, so compare values at similar sample counts only.
    """
    (mean_a, cov_a), (mean_b, cov_b) = a.mean_and_covariance(), b.mean_and_covariance()
    root_a = _root(cov_a)
    product = root_a @ cov_b @ root_a
    cross = np.sqrt(np.clip(np.linalg.eigvalsh((product + product.T) / 2), 0, None)).sum()
    distance = ((mean_a - mean_b) ** 2).sum() + np.trace(cov_a) + np.trace(cov_b) - 2 * cross
    return max(0.0, float(distance))


def _root(covariance: Values) -> Values:
    values, vectors = np.linalg.eigh(covariance)
    return np.asarray((vectors * np.sqrt(np.clip(values, 0, None))) @ vectors.T, np.float64)
