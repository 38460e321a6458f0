"""Recognition measures of sets with known answers."""

from __future__ import annotations

import numpy as np
import pytest

from anon_batch.evaluate import recognition as r

RNG = np.random.default_rng(3)


def test_cosines_do_not_depend_on_length_and_zero_rows_have_cosine_0() -> None:
    a = np.array([[3.0, 0.0], [0.0, 0.0]])
    b = np.array([[1.0, 0.0], [0.0, 2.0], [-5.0, 0.0]])
    np.testing.assert_allclose(r.cosines(a, b), [[1, 0, -1], [0, 0, 0]], atol=1e-12)


def test_rank_one_counts_a_tie_as_a_guess() -> None:
    similarity = np.array([[0.9, 0.1, 0.2], [0.9, 0.1, 0.2], [0.5, 0.1, 0.5], [0.3, 0.3, 0.3]])
    np.testing.assert_allclose(r.rank_one_hits(similarity, np.array([0, 1, 2, 0])), [1, 0, 1 / 2, 1 / 3])
    assert r.rank_one_hits(np.zeros((0, 3)), np.zeros(0, np.intp)).shape == (0,)


def test_true_accept_rate_lets_no_more_impostors_pass_than_allowed() -> None:
    impostor = np.arange(1000) / 1000  # 1 % of them are above .989
    genuine = np.array([0.5, 0.9895, 0.9905, 2.0])
    assert r.true_accept_rate(genuine, impostor, 0.01) == 0.75
    assert r.true_accept_rate(genuine, np.full(1000, 0.7), 0.01) == 0.75  # ties are rejected together
    assert r.true_accept_rate(genuine, impostor, 1e-3) is None  # because a single pair is too few
    assert r.true_accept_rate(np.zeros(0), impostor, 0.01) is None


def test_equal_error_rate() -> None:
    low, high = np.array([0.0, 0.1, 0.2]), np.array([0.8, 0.9])
    assert r.equal_error_rate(high, low) == 0
    assert r.equal_error_rate(low, high) == 1
    assert r.equal_error_rate(low, low) == pytest.approx(0.5)
    assert r.equal_error_rate(np.array([0.4]), np.array([0.4])) == pytest.approx(0.5)
    assert r.equal_error_rate(np.zeros(0), low) is None
    # One of four on the wrong side of any threshold, on both sides.
    assert r.equal_error_rate(np.array([0.1, 0.7, 0.8, 0.9]), np.array([0.0, 0.2, 0.3, 0.75])) == pytest.approx(0.25)


def test_equal_error_rate_of_gaussians() -> None:
    """Two unit Gaussians d apart: Phi(-d / 2); for d = 2 that is 0.1587."""
    genuine, impostor = RNG.normal(2, 1, 20_000), RNG.normal(0, 1, 40_000)
    assert r.equal_error_rate(genuine, impostor) == pytest.approx(0.1587, abs=0.006)


def test_spread() -> None:
    found = r.spread(np.arange(101) / 100)
    assert found.count == 101
    assert (found.mean, found.p5, found.p50, found.p95) == pytest.approx((0.5, 0.05, 0.5, 0.95))
    assert r.spread(np.zeros(0)) == r.Spread(0)
