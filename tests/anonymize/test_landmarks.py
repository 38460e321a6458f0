"""Landmarks: fits, mirror images, what is believed, and maps."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replacement_scenes import regions, turned

from anon_batch.anonymize.faces import landmarks

ANGLES = st.floats(-180, 180)
SCALES = st.floats(0.01, 100)
SHIFTS = st.tuples(st.floats(-5000, 5000), st.floats(-5000, 5000))
SEEDS = st.integers(0, 2**32)
BOX = (100.0, 60.0, 160.0, 140.0)


def transform(degrees, scale, shift):
    cosine, sine = np.cos(np.radians(degrees)) * scale, np.sin(np.radians(degrees)) * scale
    return np.array([[cosine, -sine, shift[0]], [sine, cosine, shift[1]]])


def cloud(seed, n=5):
    return np.random.default_rng(seed).normal(size=(n, 2)) * (30, 50)


def squared_error(fit, source, target):
    return float(((landmarks.apply(fit, source) - target) ** 2).sum())


@given(ANGLES, SCALES, SHIFTS, SEEDS)
def test_a_similarity_is_recovered(degrees, scale, shift, seed):
    asked = transform(degrees, scale, shift)
    source = cloud(seed)
    found = landmarks.similarity(source, landmarks.apply(asked, source))
    assert np.allclose(found[:, :2], asked[:, :2], rtol=0, atol=1e-9 * scale + 1e-10)
    assert np.allclose(found, asked, rtol=1e-9, atol=1e-8 * max(scale, 1))


def test_a_quarter_turn_goes_from_x_to_y():
    square = np.array([[0.0, 0], [1, 0], [1, 1], [0, 1]])
    found = landmarks.similarity(square, np.array([[5.0, 7], [5, 9], [3, 9], [3, 7]]))
    assert np.allclose(found, [[0, -2, 5], [2, 0, 7]])


@given(SEEDS, SEEDS, st.floats(-1, 1), st.floats(0.9, 1.1), st.tuples(st.floats(-1, 1), st.floats(-1, 1)))
def test_no_similarity_nearby_has_a_smaller_error(seed, other, degrees, scale, shift):
    source, target = cloud(seed), cloud(other)
    fit = landmarks.similarity(source, target)
    best = squared_error(fit, source, target)
    nudge = transform(degrees, scale, shift)
    moved = np.concatenate([nudge[:, :2] @ fit[:, :2], (nudge[:, :2] @ fit[:, 2:]) + nudge[:, 2:]], axis=1)
    assert squared_error(moved, source, target) >= best * (1 - 1e-9) - 1e-9


@given(SEEDS, SEEDS)
def test_the_fit_is_that_of_linear_least_squares(seed, other):
    source, target = cloud(seed), cloud(other)
    x, y = source.T
    one, zero = np.ones(5), np.zeros(5)
    rows = np.concatenate([np.stack([x, -y, one, zero], 1), np.stack([y, x, zero, one], 1)])
    a, b, right, down = np.linalg.lstsq(rows, target.T.ravel(), rcond=None)[0]
    assert np.allclose(landmarks.similarity(source, target), [[a, -b, right], [b, a, down]], atol=1e-8)


def test_many_fits_at_once_are_those_of_each():
    sources, targets = np.stack([cloud(i) for i in range(4)]), np.stack([cloud(9 + i) for i in range(4)])
    together = landmarks.similarity(sources, targets)
    assert together.shape == (4, 2, 3)
    assert np.allclose(together, [landmarks.similarity(*pair) for pair in zip(sources, targets, strict=True)])
    points = landmarks.apply(together, sources)
    assert np.allclose(points[2], landmarks.apply(together[2], sources[2]))


def test_points_that_are_all_one_give_no_nan():
    found = landmarks.similarity(np.full((5, 2), 3.0), cloud(1))
    assert np.isfinite(found).all()


@given(ANGLES, SCALES, SHIFTS, SEEDS)
def test_the_inverse_leads_back(degrees, scale, shift, seed):
    there = transform(degrees, scale, shift)
    back = landmarks.apply(landmarks.inverse(there), landmarks.apply(there, cloud(seed)))
    assert np.allclose(back, cloud(seed), atol=1e-6 / min(scale, 1))


@given(SEEDS, st.floats(1, 5000))
def test_mirroring_twice_is_the_identity(seed, width):
    points = cloud(seed)
    assert np.allclose(landmarks.mirror(landmarks.mirror(points, width), width), points)


def test_mirroring_swaps_the_sides_and_keeps_the_order():
    points = np.array([[10.0, 20], [30, 21], [22, 30], [12, 40], [28, 41]])
    flipped = landmarks.mirror(points, 100)
    assert np.array_equal(flipped, [[70, 21], [90, 20], [78, 30], [72, 41], [88, 40]])
    assert np.allclose(landmarks.mirror(landmarks.CANONICAL, 1), landmarks.CANONICAL)
    assert points[0, 0] == 10  # the given ones are left as they are


def region(points):
    return regions(BOX, width=400, height=300, points=None if points is None else [points])[0]


FITTED = np.array(BOX[:2]) + landmarks.CANONICAL * (60, 80)


def test_plausible_landmarks_are_used():
    own = turned(BOX, 35)
    assert np.allclose(landmarks.landmarks_of(region(own)), own, atol=1e-4)


@pytest.mark.parametrize(
    "points",
    [
        None,
        np.full((5, 2), 130.0),
        (FITTED - FITTED.mean(axis=0)) * 0.2 + FITTED.mean(axis=0),
        FITTED + np.array([90, 0]),
        FITTED - np.array([0, 100]),
        np.where(np.arange(5)[:, None] == 3, (130, 250), FITTED),
        np.where(np.arange(5)[:, None] == 3, np.inf, FITTED),
    ],
    ids=["none", "one point", "bunched", "to the right", "above", "one far below", "one infinite"],
)
def test_canonical_landmarks_replace_implausible_ones(points):
    assert np.allclose(landmarks.landmarks_of(region(points)), FITTED)


def test_canonical_landmarks_are_fitted_to_the_box_not_to_the_expanded_one():
    (wide,) = regions(BOX, width=400, height=300, expansion=2)
    assert np.allclose(landmarks.landmarks_of(wide), FITTED)


def test_a_box_without_size_has_finite_landmarks():
    (one,) = regions((50, 50, 50, 50), width=90, height=90)
    assert np.isfinite(landmarks.landmarks_of(one)).all()


@given(st.integers(0, 2**32))
def test_maps_have_their_peaks_at_the_landmarks(seed):
    points = np.random.default_rng(seed).uniform(2, 62, (2, 5, 2))
    made = landmarks.maps(points, 64, 3.0)
    assert made.shape == (2, 5, 64, 64)
    assert made.dtype == np.float32
    assert made.min() >= 0
    assert made.max() <= 1
    for face in range(2):
        for mark in range(5):
            row, column = np.unravel_index(made[face, mark].argmax(), (64, 64))
            assert abs(column + 0.5 - points[face, mark, 0]) <= 0.501
            assert abs(row + 0.5 - points[face, mark, 1]) <= 0.501


def test_maps_fall_as_a_gaussian():
    made = landmarks.maps(np.full((1, 5, 2), (20.5, 40.5)), 64, 3.0)[0, 0]
    assert made[40, 20] == 1
    assert made[40, 23] == pytest.approx(np.exp(-0.5))
    assert made[44, 23] == pytest.approx(np.exp(-25 / 18))


def test_maps_of_landmarks_outside_are_dim():
    assert landmarks.maps(np.full((1, 5, 2), -40.0), 64, 3.0).max() < 1e-6
