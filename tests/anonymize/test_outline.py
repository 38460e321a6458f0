"""The outline of a donor: a narrow face reaches the mask's border, a wide one ends there, and features stay in place."""

from __future__ import annotations

import numpy as np
import pytest
from replacement_scenes import plain_crop

from anon_batch.anonymize.faces.outline import fill_outline

SIDES = (64, 96, 192)


def oval(crop, share):
    """A matte that ends at a share of the way from the middle to the mask's border."""
    side = crop.side
    grid = np.arange(side) + 0.5 - side / 2
    radius = np.hypot(grid[None, :], grid[:, None])
    return np.asarray(radius < share * (radius - crop.distance), np.float32)


def image_of(crop, matte):
    y, x = np.mgrid[0 : crop.side, 0 : crop.side].astype(np.float32)
    return np.dstack([x, y, matte])


def across(matte, row):
    return float(matte[row].sum())


@pytest.mark.parametrize("side", SIDES)
def test_the_jaw_of_a_narrow_face_reaches_the_border(side):
    crop = plain_crop(127, side)
    narrow, row = oval(crop, 0.8), round(0.6 * side)
    mask = float((crop.distance[row] < 0).sum())
    moved = fill_outline(image_of(crop, narrow), narrow, crop)[:, :, 2]
    assert across(narrow, row) < 0.83 * mask
    assert across(moved, row) > 0.86 * mask + 1


@pytest.mark.parametrize("side", SIDES)
def test_a_wide_face_ends_at_the_border(side):
    crop = plain_crop(127, side)
    wide, row = oval(crop, 1.12), round(0.6 * side)
    moved = fill_outline(image_of(crop, wide), wide, crop)[:, :, 2]
    assert across(moved, row) < across(wide, row) - 0.03 * side
    assert np.mean(moved[crop.distance < -1.5]) > 0.97


@pytest.mark.parametrize("share", [0.82, 1.0, 1.12])
def test_features_and_forehead_stay_where_they_are(share):
    crop = plain_crop(127, 96)
    matte = oval(crop, share)
    before = image_of(crop, matte)
    moved = fill_outline(before, matte, crop)
    inner = crop.distance < 0.62 * crop.distance.min()
    assert np.allclose(moved[inner], before[inner], atol=0.6)
    above = np.zeros_like(inner)
    above[:20, 44:52] = True
    assert np.allclose(moved[above], before[above], atol=0.6)


def test_a_face_that_fits_is_not_resampled():
    crop = plain_crop(127, 96)
    matte = oval(crop, 1.0)
    image = image_of(crop, matte)
    assert fill_outline(image, matte, crop) is image


def test_a_face_moves_no_further_than_a_quarter():
    crop = plain_crop(127, 96)
    tiny, row = oval(crop, 0.4), 56
    moved = fill_outline(image_of(crop, tiny), tiny, crop)[:, :, 2]
    assert across(moved, row) < 1.35 * across(tiny, row) + 2
