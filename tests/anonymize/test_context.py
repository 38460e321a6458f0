"""Surroundings in numbers: length, scale, greyness, and skin that shows."""

from __future__ import annotations

import re

import numpy as np
import pytest
from replacement_scenes import DESCRIBED, SKIN, crop_of, lab, plain_crop, regions, scenery, turned

from anon_batch.anonymize.faces.align import CROP_SIDE, Crop
from anon_batch.anonymize.faces.context import GRID, describe_surroundings, target_tone

BLUE = (40, 80, 170)
POINTS = slice(GRID * GRID * 3, GRID * GRID * 3 + 10)  # of a describe_surroundings
NOISE = np.random.default_rng(0).integers(0, 256, (CROP_SIDE, CROP_SIDE, 3))


def with_skin(rows, columns, colour=SKIN, around=BLUE):
    """A crop of one colour with a patch of another."""
    pixels = np.empty((CROP_SIDE, CROP_SIDE, 3), np.float32)
    pixels[:] = around
    pixels[rows, columns] = colour
    return plain_crop(pixels)


NECK = (slice(108, 128), slice(44, 84))
LEFT = (slice(50, 80), slice(0, 28))


def test_docstring_states_the_length_of_a_description():
    (length,) = re.findall(r"\((\d+),\) float32", describe_surroundings.__doc__)
    assert int(length) == DESCRIBED


@pytest.mark.parametrize("colours", [NOISE, 0, 127, 255, SKIN], ids=["noise", "black", "grey", "white", "skin"])
@pytest.mark.parametrize("side", [CROP_SIDE, 2 * CROP_SIDE])
def test_description_is_finite_and_of_one_length(colours, side):
    pixels = np.kron(colours, np.ones((2, 2, 1))) if np.ndim(colours) == 3 and side > CROP_SIDE else colours
    crop = plain_crop(pixels, side)
    described, tone = describe_surroundings(crop), target_tone(crop)
    assert described.shape == (DESCRIBED,)
    assert described.dtype == np.float32
    assert np.isfinite(described).all()
    assert tone.shape == (3,)
    assert 10 < tone[0] < 85
    assert tone[1:].min() >= 0
    assert tone[1:].max() < 40


def test_unknown_crop_gets_an_average_tone():
    crop = Crop(
        np.full((CROP_SIDE, CROP_SIDE, 3), 127, np.float32), np.ones((CROP_SIDE, CROP_SIDE), bool), np.zeros((5, 2))
    )
    assert np.isfinite(describe_surroundings(crop)).all()
    tone = target_tone(crop)
    assert 40 < tone[0] < 70
    assert tone[1:].min() > 5


def test_grid_and_points_are_where_the_docstring_states():
    pixels = np.zeros((CROP_SIDE, CROP_SIDE, 3), np.float32)
    pixels[:, CROP_SIDE // 2 :] = 255
    crop = plain_crop(pixels)
    described = describe_surroundings(crop)
    grid = described[: GRID * GRID * 3].reshape(GRID, GRID, 3)
    assert np.allclose(grid[:, :6], 0, atol=0.1)
    assert np.allclose(grid[:, 6:, 0], 100, atol=0.1)
    assert np.allclose(described[POINTS], crop.points.ravel(), atol=1e-3)
    assert described[-6:] == pytest.approx([50, 0, 0, 50, 0, 0], abs=0.1)  # mean and deviation of L, a, b


@pytest.mark.parametrize("degrees", [0, 30])
def test_description_hardly_depends_on_the_side_of_the_crop(degrees):
    box = (150, 140, 250, 260)
    pixels = scenery(400, 400, seed=5)
    (region,) = regions(box, width=400, height=400, points=[turned(box, degrees)])
    crops = [crop_of(pixels, region, side) for side in (CROP_SIDE, 2 * CROP_SIDE)]
    small, large = (describe_surroundings(crop) for crop in crops)
    difference = np.abs(small - large)
    assert difference[: GRID * GRID * 3].max() < 8  # at single edges of the mask
    assert np.percentile(difference[: GRID * GRID * 3], 95) < 4
    assert difference[: GRID * GRID * 3].mean() < 0.8
    assert difference[POINTS].max() < 1e-3
    assert difference[POINTS.stop :].max() < 1
    assert target_tone(crops[0]) == pytest.approx(target_tone(crops[1]), abs=0.5)


def test_different_surroundings_have_different_descriptions():
    (region,) = regions((150, 140, 250, 260), width=400, height=400)
    one, other = (describe_surroundings(crop_of(scenery(400, 400, seed=seed), region)) for seed in (5, 6))
    assert np.abs(one - other).mean() > 5


@pytest.mark.parametrize("colours", [0, 60, 200, 255, NOISE[:, :, :1]], ids=["0", "60", "200", "255", "noise"])
def test_grey_image_gets_a_grey_tone(colours):
    assert np.abs(target_tone(plain_crop(colours))[1:]).max() < 0.3


def test_pale_image_gets_a_paler_tone():
    coloured, pale = (target_tone(plain_crop(colour)) for colour in (BLUE, (112, 116, 122)))
    assert pale[0] == pytest.approx(coloured[0], abs=12)
    assert (0.1 * coloured[1:] < pale[1:]).all()
    assert (pale[1:] < 0.7 * coloured[1:]).all()


def test_greyness_comes_from_known_pixels_alone():
    crop = plain_crop(90)
    crop.pixels[crop.unknown] = (250, 20, 20)
    assert np.abs(target_tone(crop)[1:]).max() < 0.3


@pytest.mark.parametrize("place", [NECK, LEFT], ids=["neck", "left"])
@pytest.mark.parametrize("colour", [SKIN, (240, 205, 185), (120, 80, 60)], ids=["middling", "light", "dark"])
def test_tone_follows_skin_beside_the_mask(place, colour):
    none, tone = target_tone(plain_crop(BLUE)), target_tone(with_skin(*place, colour))
    # A face is a little redder than the neck; some of the tone is always a middling face's.
    without, left = np.abs(none - lab(colour))[0], np.abs(tone - lab(colour))[0]
    assert left < max(0.6 * without, 4)
    assert np.abs(tone - lab(colour))[1:].max() < 6


def test_dark_skin_gets_a_darker_tone_than_light_skin():
    dark, middling, light = (target_tone(with_skin(*NECK, c))[0] for c in ((100, 65, 50), SKIN, (245, 215, 195)))
    assert dark + 8 < middling < light - 5


def test_skin_far_from_the_mask_has_little_weight():
    none, tone = target_tone(plain_crop(BLUE)), target_tone(with_skin(slice(0, 12), slice(0, 12), (100, 65, 50)))
    assert np.abs(tone - none).max() < 2


@pytest.mark.parametrize("colour", [(30, 160, 60), (40, 80, 170), (180, 60, 190)])
def test_non_skin_pixels_do_not_affect_the_tone(colour):
    described = describe_surroundings(plain_crop(colour))
    assert np.abs(described[POINTS.stop : -6]).max() < 1e-6  # neither a colour nor an amount of skin
    assert target_tone(plain_crop(colour))[1:] == pytest.approx(target_tone(plain_crop(BLUE))[1:])


def test_dim_scene_gets_a_dimmer_face():
    bright, dim = (target_tone(plain_crop(colour)) for colour in ((150, 190, 255), (15, 25, 60)))
    assert dim[0] < bright[0] - 15


def test_masked_pixels_do_not_affect_tone_or_description():
    crop = plain_crop(BLUE)
    crop.pixels[crop.unknown] = (100, 65, 50)
    assert target_tone(crop) == pytest.approx(target_tone(plain_crop(BLUE)))
