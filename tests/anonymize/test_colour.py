"""Lab colours: conversions, skin, and the colour that an image has."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from replacement_scenes import SKIN

from anon_batch.anonymize.faces.colour import colour_share, lab_to_rgb, rgb_to_lab, skin_likeness, smoothstep

SKINS = [SKIN, (240, 205, 185), (120, 80, 60), (70, 45, 35), (190, 120, 90)]
OTHERS = [(40, 80, 170), (30, 160, 60), (180, 60, 190), (127, 127, 127), (0, 0, 0), (255, 255, 255), (0, 200, 200)]


def lab_of(colour):
    return rgb_to_lab(np.array([[colour]], np.float32))


@pytest.mark.parametrize("name", ["noise", "black", "white", "grey"])
def test_rgb_comes_back_from_lab(name):
    noise = np.random.default_rng(0).uniform(0, 255, (32, 48, 3)).astype(np.float32)
    rgb = {"noise": noise, "black": noise * 0, "white": noise * 0 + 255, "grey": noise * 0 + 127}[name]
    lab = rgb_to_lab(rgb)
    assert lab.dtype == np.float32
    assert lab[..., 0].min() >= -1e-3
    assert lab[..., 0].max() <= 100.01
    assert np.abs(lab_to_rgb(lab) - rgb).max() < 1
    if name != "noise":
        assert np.abs(lab[..., 1:]).max() < 0.2


def test_known_colours_have_their_lab():
    assert lab_of((255, 0, 0))[0, 0] == pytest.approx((53.2, 80.1, 67.2), abs=0.4)
    assert lab_of((0, 0, 255))[0, 0] == pytest.approx((32.3, 79.2, -107.9), abs=0.5)


@pytest.mark.parametrize("colour", SKINS)
def test_skin_is_like_skin(colour):
    assert skin_likeness(lab_of(colour)) > 0.7


@pytest.mark.parametrize("colour", OTHERS)
def test_other_colours_are_not(colour):
    assert skin_likeness(lab_of(colour)) == 0


def test_likeness_is_a_share_without_steps():
    lab = rgb_to_lab(np.random.default_rng(1).uniform(0, 255, (64, 64, 3)).astype(np.float32))
    likeness = skin_likeness(lab)
    assert likeness.shape == (64, 64)
    assert likeness.dtype == np.float32
    assert likeness.min() == 0
    assert likeness.max() == 1
    line = np.linspace(lab_of(SKIN)[0, 0], lab_of((40, 80, 170))[0, 0], 400, dtype=np.float32)
    assert np.abs(np.diff(skin_likeness(line))).max() < 0.1


def test_a_grey_image_keeps_no_colour():
    grey = np.repeat(np.random.default_rng(2).uniform(0, 255, (500, 1)), 3, axis=1).astype(np.float32)
    assert colour_share(rgb_to_lab(grey[None])[0]) < 0.02
    assert colour_share(rgb_to_lab(np.random.default_rng(2).uniform(0, 255, (1, 500, 3)).astype(np.float32))[0]) == 1


def test_a_pale_image_keeps_part_of_its_colour_and_single_pixels_do_not_count():
    pale = np.tile(np.array([112, 116, 122], np.float32), (500, 1))
    assert 0.1 < colour_share(rgb_to_lab(pale[None])[0]) < 0.7
    grey = np.full((500, 3), 120, np.float32)
    grey[:20] = (255, 0, 0)  # fewer than one in twenty
    assert colour_share(rgb_to_lab(grey[None])[0]) < 0.05


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_pixels_have_a_share(count):
    share = colour_share(np.tile(np.array([50, 20, 20], np.float32), (count, 1)))
    assert share == 1.0


def test_smoothstep():
    assert smoothstep(np.array([-1, 0, 0.5, 1, 4])).tolist() == [0, 0, 0.5, 1, 1]
    assert smoothstep(np.linspace(0, 1, 9)).dtype == np.float32


def test_conversions_are_opencv_s():
    rgb = np.random.default_rng(3).uniform(0, 255, (8, 8, 3)).astype(np.float32)
    assert np.array_equal(rgb_to_lab(rgb), cv2.cvtColor(rgb * np.float32(1 / 255), cv2.COLOR_RGB2LAB))
