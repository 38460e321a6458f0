"""The seam at a mask's border, on drawn textures."""

from __future__ import annotations

import numpy as np
import pytest

from anon_batch.evaluate.seam import MIN_SIDE_PX, SeamEnergies, SeamMeasure
from anon_batch.records import BoolArray, PixelArray

BOX = np.array([40, 40, 100, 110], np.float32)


def noise(seed: int) -> PixelArray:
    grey = np.random.default_rng(seed).integers(90, 160, (150, 140, 1))
    return np.repeat(grey, 3, axis=2).astype(np.uint8)


def disc() -> BoolArray:
    y, x = np.mgrid[0:150, 0:140]
    return np.hypot(x - 70, y - 75) <= 40


def ratio_of(output: PixelArray, offset: float = 0.0) -> float:
    energies = SeamEnergies(offset)
    energies.add(noise(0), output, disc(), BOX)
    ratio = energies.measure().ratio
    assert ratio is not None
    return ratio


def test_an_untouched_image_has_a_ratio_of_one() -> None:
    assert ratio_of(noise(0)) == pytest.approx(1)


def test_other_texture_without_an_edge_stays_near_one() -> None:
    output = np.where(disc()[:, :, None], noise(1), noise(0))
    assert ratio_of(output) == pytest.approx(1, abs=0.12)


def test_a_step_in_brightness_raises_the_ratio_and_a_blurred_border_lowers_it() -> None:
    inside = disc()[:, :, None]
    brighter = np.where(inside, np.minimum(noise(1).astype(int) + 70, 255), noise(0)).astype(np.uint8)
    assert ratio_of(brighter) > 1.5
    y, x = np.mgrid[0:150, 0:140]
    rays = 127 + 60 * np.sign(np.sin(12 * np.arctan2(y - 75, x - 70)))  # changes along the border alone
    assert ratio_of(np.repeat(rays[:, :, None], 3, axis=2).astype(np.uint8)) < 0.9


def test_an_edge_outside_the_mask_shows_at_its_offset_alone() -> None:
    y, x = np.mgrid[0:150, 0:140]
    wider = (np.hypot(x - 70, y - 75) <= 47)[:, :, None]
    output = np.where(wider, np.minimum(noise(0).astype(int) + 70, 255), noise(0)).astype(np.uint8)
    assert ratio_of(output) == pytest.approx(1, abs=0.1)
    assert ratio_of(output, 0.1) > 1.5


def test_small_faces_and_images_without_a_border_do_not_count() -> None:
    energies = SeamEnergies()
    small = np.array([40, 40, 40 + MIN_SIDE_PX - 1, 60], np.float32)
    energies.add(noise(0), noise(1), disc(), small)
    energies.add(noise(0), noise(1), np.ones((150, 140), np.bool_), BOX)
    energies.add(noise(0), noise(1), np.zeros((150, 140), np.bool_), BOX)
    assert energies.measure() == SeamMeasure(0)
