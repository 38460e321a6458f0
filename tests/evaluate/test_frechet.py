"""The distance of Gaussians whose distance is known."""

from __future__ import annotations

import numpy as np
import pytest

from anon_batch.evaluate.frechet import FeatureMoments, frechet_distance


def _moments(samples: np.ndarray, parts: int = 1) -> FeatureMoments:
    moments = FeatureMoments(samples.shape[1])
    for part in np.array_split(samples, parts):
        moments.add(part)
    return moments


def _white(count: int, dimensions: int, seed: int) -> np.ndarray:
    """Samples with mean 0 and covariance 1 exactly."""
    rows = np.random.default_rng(seed).normal(size=(count, dimensions))
    rows -= rows.mean(axis=0)
    factor = np.linalg.cholesky(np.linalg.inv(np.cov(rows, rowvar=False)))
    return np.asarray(rows @ factor)


def test_equal_sets_are_at_distance_0() -> None:
    rows = np.random.default_rng(1).normal(size=(200, 8))
    assert frechet_distance(_moments(rows), _moments(rows)) == pytest.approx(0, abs=1e-9)


def test_a_shift_alone_gives_its_square() -> None:
    rows, shift = _white(100, 5, 2), np.array([3.0, 0, 4.0, 0, 0])
    assert frechet_distance(_moments(rows), _moments(rows + shift)) == pytest.approx(25)


def test_different_widths_and_axes() -> None:
    """tr(C1 + C2 - 2 (C1 C2)^(1/2)) for C1 = 1 and C2 with eigenvalues 4 and 9: (2 - 1)^2 + (3 - 1)^2."""
    rows = _white(100, 2, 3)
    turn = np.array([[0.6, -0.8], [0.8, 0.6]])
    stretched = _white(100, 2, 4) * np.array([2.0, 3.0]) @ turn
    assert frechet_distance(_moments(rows), _moments(stretched)) == pytest.approx(5)
    assert frechet_distance(_moments(stretched), _moments(rows)) == pytest.approx(5)


def test_moments_do_not_depend_on_how_samples_come() -> None:
    rows = np.random.default_rng(5).normal(3, 2, size=(90, 4))
    whole, parts = _moments(rows), _moments(rows, 7)
    assert parts.count == 90
    for a, b in zip(whole.mean_and_covariance(), parts.mean_and_covariance(), strict=True):
        np.testing.assert_allclose(a, b, atol=1e-12)
    np.testing.assert_allclose(whole.mean_and_covariance()[1], np.cov(rows, rowvar=False), atol=1e-12)


def test_features_that_do_not_vary_are_no_trouble() -> None:
    rows = np.zeros((20, 3))
    assert frechet_distance(_moments(rows), _moments(rows + 1)) == pytest.approx(3)


def test_too_few_samples_give_no_figure() -> None:
    rows = np.random.default_rng(6).normal(size=(16, 8))
    assert frechet_distance(_moments(rows[:15]), _moments(rows)) is None
    assert frechet_distance(_moments(rows), _moments(rows)) is not None
    with pytest.raises(ValueError, match="dimensions"):
        frechet_distance(FeatureMoments(3), FeatureMoments(4))
    with pytest.raises(ValueError, match="samples"):
        FeatureMoments(3).mean_and_covariance()
