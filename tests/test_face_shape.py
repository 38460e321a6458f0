from __future__ import annotations

import math

import numpy as np
import pytest

from anon_batch import face_shape
from anon_batch.anonymize.faces.landmarks import CANONICAL
from anon_batch.face_outline import CHIN, MaskShape
from anon_batch.face_shape import mask_shape, upright_sides

BOX = (40.0, 30.0, 70.0, 70.0)


def marks(degrees=0.0, box=BOX, canonical=CANONICAL):
    x1, y1, x2, y2 = box
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    own = (canonical - 0.5) * [x2 - x1, y2 - y1] @ np.array([[cosine, sine], [-sine, cosine]])
    return np.add(own, ((x1 + x2) / 2, (y1 + y2) / 2)).tolist()


def turned_box(width, height, degrees):
    """Sides of the bounding box of an ellipse that is turned."""
    cosine, sine = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    return math.hypot(width * cosine, height * sine), math.hypot(width * sine, height * cosine)


@pytest.mark.parametrize("degrees", [-40, -12, 0, 5, 30, 45])
def test_the_angle_is_that_of_the_face(degrees):
    found = mask_shape(BOX, 0.9, marks(degrees), [], 1.15)
    assert found.shape == "face"
    assert found.angle == pytest.approx(math.radians(degrees), abs=1e-9)


def test_the_eyes_of_a_profile_say_little_about_its_angle():
    profile = CANONICAL.copy()
    profile[1] = np.add(profile[0], (0.03, 0.04))  # the line between the eyes points down by half a right angle
    profile[4] = np.add(profile[3], (0.02, 0.0))
    found = mask_shape(BOX, 0.9, marks(0, canonical=profile), [], 1.15)
    assert found.shape == "face"
    assert abs(found.angle) < math.radians(12)


@pytest.mark.parametrize("degrees", [0, 10, 25, 40])
@pytest.mark.parametrize("aspect", [0.7, 0.78, 0.9])
def test_an_upright_size_is_found_behind_the_box_of_a_turned_face(degrees, aspect):
    width, height = upright_sides(*turned_box(30 * aspect, 30, degrees), math.radians(degrees))
    tolerance = (
        0.02 if aspect == 0.78 or degrees <= 10 else 0.16
    )  # of other proportions a turned box says less and less
    assert (width, height) == pytest.approx((30 * aspect, 30), rel=tolerance)
    across, down = turned_box(width, height, degrees)
    box = turned_box(30 * aspect, 30, degrees)
    assert across >= box[0] * (1 - 1e-9)
    assert down >= box[1] * (1 - 1e-9)


@pytest.mark.parametrize("sides", [(1.0, 1000.0), (1000.0, 1.0), (1e30, 1e30)])
@pytest.mark.parametrize("degrees", [0, 30, 45])
def test_odd_boxes_have_finite_sides(sides, degrees):
    width, height = upright_sides(*sides, math.radians(degrees))
    assert 0 < width < math.inf
    assert 0 < height < math.inf


def test_landmarks_inside_change_nothing():
    alone = mask_shape(BOX, 0.9, marks(), [], 1.15)
    assert alone.radii == pytest.approx((30 * 1.15 / 2, 40 * 1.15 / 2))
    assert mask_shape(BOX, 0.9, marks(), marks(8), 1.15) == alone


def test_growth_is_the_least_that_holds_the_landmarks():
    """A point on the lower border of the grown mask, less the margin, asks for that mask and no larger one."""
    alone = mask_shape(BOX, 0.9, marks(), [], 1.15)
    margin = 0.05 * 2 * alone.radii[1]
    grown = mask_shape(BOX, 0.9, marks(), [(55.0, 50 + alone.radii[1] * CHIN * 1.1 - margin)], 1.15)
    assert grown.shape == "face"
    assert 1.1 <= grown.radii[1] / alone.radii[1] < 1.15


@pytest.mark.parametrize("far", [20.0, 1e3, 1e30])
def test_landmarks_that_contradict_the_box_get_an_ellipse_of_limited_size(far):
    largest = face_shape.MAX_GROWTH * 1.3 / 2
    found = mask_shape(BOX, 0.9, marks(), [(70.0 + far, 50.0)], 1.15)
    assert (found.shape, found.angle) == ("ellipse", 0)
    assert found.radii == pytest.approx((30 * largest, 40 * largest))


@pytest.mark.parametrize("score", [0.4999, math.nan, -1.0])
def test_a_doubtful_score_gets_the_usual_ellipse(score):
    assert mask_shape(BOX, score, marks(), [], 1.15) == MaskShape("ellipse", (30 * 1.3 / 2, 40 * 1.3 / 2), 0.0)
