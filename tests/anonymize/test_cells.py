"""Surroundings in small whole numbers."""

from __future__ import annotations

import numpy as np
import pytest
from replacement_scenes import crop_of, regions, scenery, turned

from anon_batch.anonymize.faces.cells import CELLS, LAB_STEP, compared_cells, shrink, whole_colours, whole_slopes
from anon_batch.anonymize.faces.surroundings import SIDE, describe


def noise(seed=0, spread=40):
    return np.random.default_rng(seed).normal((50, 0, 0), spread, (SIDE, SIDE, 3)).astype(np.float32)


@pytest.mark.parametrize("values", ["noise", "wild", "black", "white"])
def test_colours_and_slopes_are_whole_and_small(values):
    lab = {"noise": noise(), "wild": noise(spread=1000), "black": noise() * 0, "white": noise() * 0 + (100, 0, 0)}[
        values
    ]
    colours, slopes = whole_colours(lab.astype(np.float32)), whole_slopes(lab.astype(np.float32))
    assert colours.shape == (CELLS, CELLS, 3)
    assert slopes.shape == (CELLS, CELLS, 2)
    for whole in (colours, slopes):
        assert whole.dtype == np.float32
        assert np.array_equal(whole, np.rint(whole))
        assert np.array_equal(whole, whole.astype(np.int8)), "they are stored as int8"
        assert np.abs(whole).max() <= 31


def test_colours_say_what_they_stand_for():
    lab = np.empty((SIDE, SIDE, 3), np.float32)
    lab[:] = (72, 11, -23)
    assert np.abs(whole_colours(lab) * LAB_STEP + (50, 0, 0) - lab[0, 0]).max() <= LAB_STEP / 2
    assert not whole_slopes(lab).any()


def test_slopes_have_the_direction_of_lightness():
    lab = np.zeros((SIDE, SIDE, 3), np.float32)
    lab[..., 0] = np.linspace(0, 94, SIDE)
    inner = whole_slopes(lab)[2:-2, 2:-2]
    assert (inner[..., 0] == 4).all()  # 2 a pixel, Sobel's weights 8, a quarter of that
    assert not inner[..., 1].any()
    assert (whole_slopes(np.ascontiguousarray(lab.transpose(1, 0, 2)))[2:-2, 2:-2, 1] == 4).all()


def test_a_mirrored_image_has_mirrored_cells():
    lab = describe(crop_of(scenery(200, 200, seed=1), regions((60, 60, 130, 150), width=200, height=200)[0])).lab
    flipped = np.ascontiguousarray(lab[:, ::-1])
    assert np.abs(whole_colours(flipped)[:, ::-1] - whole_colours(lab)).max() <= 1
    turned_slopes = whole_slopes(flipped)[:, ::-1] * (-1, 1)
    assert np.abs(turned_slopes - whole_slopes(lab)).max() <= 1
    assert (turned_slopes == whole_slopes(lab)).mean() > 0.99


def test_shrink_takes_means():
    values = np.random.default_rng(0).uniform(0, 1, (SIDE, SIDE)).astype(np.float32)
    assert np.allclose(shrink(values), values.reshape(CELLS, 2, CELLS, 2).mean(axis=(1, 3)), atol=1e-6)


def test_compared_cells_hold_all_that_is_known_around_usual_faces():
    compared = compared_cells()
    assert np.array_equal(compared, compared[:, ::-1])
    assert np.array_equal(compared, compared[::-1])
    assert not compared[CELLS // 2, CELLS // 2]
    assert compared[0].all()
    lost = []
    for seed in range(8):
        rng = np.random.default_rng(seed)
        box = (60, 60, 60 + rng.uniform(52, 64), 60 + rng.uniform(70, 84))
        points = [turned(box, rng.uniform(-30, 30))]
        (region,) = regions(box, width=220, height=220, shape="face", expansion=1.15, points=points)
        weight = shrink(describe(crop_of(scenery(220, 220), region)).weight)
        lost.append(weight[~compared].sum() / weight.sum())
    assert max(lost) < 0.02
