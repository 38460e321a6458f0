"""The fit of a donor: a similarity by landmarks, then each axis stretched a little towards the box."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from replacement_scenes import plain_crop

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.fit import STRETCH, box_sides, fit_donor

SIDE = 208
POINTS = (landmarks.CANONICAL - 0.5) * (74, 100) + SIDE / 2
BOX = np.array([SIDE / 2 - 37, SIDE / 2 - 50, SIDE / 2 + 37, SIDE / 2 + 50])


def crop_with(points, box):
    return replace(plain_crop(120), points=np.asarray(points), box=None if box is None else np.asarray(box))


def transform(degrees, scale, shift, stretch=(1.0, 1.0)):
    cosine, sine = np.cos(np.radians(degrees)) * scale, np.sin(np.radians(degrees)) * scale
    linear = np.diag(stretch) @ np.array([[cosine, -sine], [sine, cosine]])
    return np.concatenate([linear, np.reshape(shift, (2, 1))], axis=1)


def test_box_sides_are_the_middles_of_its_sides():
    assert box_sides(np.array([10.0, 20, 30, 60])).tolist() == [[20, 20], [20, 60], [10, 40], [30, 40]]
    assert box_sides(np.zeros((7, 4))).shape == (7, 4, 2)


@given(st.floats(-180, 180), st.floats(0.1, 4), st.floats(-200, 200), st.floats(-200, 200))
def test_a_similarity_is_found_exactly(degrees, scale, x, y):
    asked = transform(degrees, scale, (x, y))
    fitted = fit_donor(POINTS, BOX, crop_with(landmarks.apply(asked, POINTS), None))
    assert np.allclose(fitted, asked, atol=1e-9 * (1 + scale * SIDE))


@given(st.floats(0.2, 3), st.floats(-100, 100), st.floats(-100, 100), st.floats(0.95, 1.06), st.floats(0.95, 1.06))
def test_a_small_stretch_of_both_axes_is_found_exactly(scale, x, y, across, down):
    asked = transform(0, scale, (x, y), (across, down))
    box = landmarks.apply(asked, BOX.reshape(2, 2)).ravel()
    fitted = fit_donor(POINTS, BOX, crop_with(landmarks.apply(asked, POINTS), box))
    assert np.allclose(landmarks.apply(fitted, POINTS), landmarks.apply(asked, POINTS), atol=1e-6 * (1 + scale))
    assert np.allclose(fitted, asked, atol=1e-6 * (1 + abs(x) + abs(y)))


@pytest.mark.parametrize("axis", [0, 1])
@pytest.mark.parametrize("factor", [0.4, 2.5])
def test_a_stretch_is_limited(axis, factor):
    own = landmarks.similarity(POINTS, POINTS)
    half = (BOX[2:] - BOX[:2]) / 2
    half[axis] *= factor
    centre = np.array([SIDE / 2, SIDE / 2])
    fitted = fit_donor(POINTS, BOX, crop_with(POINTS, np.concatenate([centre - half, centre + half])))
    stretch = fitted[axis, axis] / own[axis, axis]
    assert STRETCH[0] - 1e-9 <= stretch <= STRETCH[1] + 1e-9
    assert abs(stretch - 1) > 0.1
    assert fitted[1 - axis, 1 - axis] == pytest.approx(1, abs=1e-6)


def test_a_stretch_brings_the_box_nearer():
    wide = np.array([BOX[0] - 8, BOX[1], BOX[2] + 8, BOX[3]])
    fitted = fit_donor(POINTS, BOX, crop_with(POINTS, wide))
    reached = landmarks.apply(fitted, BOX.reshape(2, 2)).ravel()
    assert np.abs(reached - wide).sum() < np.abs(BOX - wide).sum() - 4
    assert np.abs(reached[1::2] - wide[1::2]).max() < 1e-6


def test_corners_of_the_mouth_move_the_height_little():
    asked = POINTS.copy()
    asked[3:, 1] += 12  # an open mouth
    fitted = fit_donor(POINTS, BOX, crop_with(asked, BOX))
    eyes = landmarks.apply(fitted, POINTS)[:2]
    assert np.abs(eyes - POINTS[:2]).max() < 5


def test_a_turned_donor_is_turned_upright_first():
    middle = SIDE / 2
    turn = transform(25, 1.0, (0, 0))
    turn[:, 2] = (middle, middle) - turn[:, :2] @ (middle, middle)
    points = landmarks.apply(turn, POINTS)
    fitted = fit_donor(points, BOX + np.array([-8, -6, 8, 6]), crop_with(POINTS, BOX))
    assert np.abs(landmarks.apply(fitted, points) - POINTS).max() < 6
    assert abs(np.degrees(np.arctan2(fitted[1, 0], fitted[0, 0])) + 25) < 4
