"""The membrane: light and colour match at the border, what is no light is ignored, and the surroundings decide."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replacement_scenes import SKIN, lab, plain_crop

from anon_batch.anonymize.faces.colour import lab_to_rgb, rgb_to_lab
from anon_batch.anonymize.faces.membrane import match_colours
from anon_batch.anonymize.faces.surroundings import describe

SIDES = [48, 96, 160]
DARK, MIDDLE, LIGHT = (95, 62, 48), (165, 120, 98), (240, 205, 185)
# Surroundings, and donors whose lightness a gamma within its limits changes to theirs.
PAIRS = [
    ((60, 38, 30), DARK),
    (DARK, MIDDLE),
    (MIDDLE, DARK),
    (MIDDLE, SKIN),
    (SKIN, MIDDLE),
    (LIGHT, SKIN),
    (SKIN, LIGHT),
]


def everywhere(side):
    return np.ones((side, side), bool)


def plain(colour, side):
    face = np.empty((side, side, 3), np.float32)
    face[:] = lab(colour)
    return face


def shaded(colour, side, seed=0):
    """A face of a colour with soft light and shadow."""
    rng = np.random.default_rng(seed)
    face = plain(colour, side)
    y, x = np.mgrid[:side, :side] / side
    face[..., 0] += (8 * np.cos(3 * x + rng.uniform(0, 3)) * np.sin(4 * y)).astype(np.float32)
    return face


def core(crop):
    return crop.distance < 0.5 * crop.distance.min()


def matched(face, crop, cheek=None, tone=None, valid=None):
    cheek = face[core(crop)].mean(axis=0) if cheek is None else cheek
    tone = describe(crop).tone if tone is None else tone
    matte = np.ones((crop.side, crop.side), np.float32)
    return match_colours(
        face, everywhere(crop.side) if valid is None else valid, matte, crop, np.asarray(tone, float), cheek
    )


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize(("colour", "donor"), PAIRS)
def test_a_constant_difference_is_taken_away(side, colour, donor):
    crop = plain_crop(colour, side)
    made = matched(plain(donor, side), crop, tone=lab(colour))
    assert np.abs(made - lab(colour))[crop.distance < 0].max() < 4
    assert np.abs(made - lab(colour))[core(crop)].mean() < 1.5
    assert made.dtype == np.float32
    assert made.shape == (side, side, 3)


def test_a_donor_that_fits_stays_as_it_is():
    crop = plain_crop(SKIN)
    face = shaded(SKIN, 96)
    made = matched(face, crop, tone=lab(SKIN))
    assert np.abs(made - face)[core(crop)].mean() < 2.5


@pytest.mark.parametrize("side", [48, 96])
@pytest.mark.parametrize("other", [(20, 60, 200), (8, 8, 10), (30, 200, 40)], ids=["blue", "black", "green"])
def test_other_things_at_the_border_are_no_light(side, other):
    crop = plain_crop(DARK, side)
    y = np.arange(side)[:, None] < 0.32 * side
    pixels = crop.pixels.copy()
    pixels[np.broadcast_to(y, (side, side))] = other  # hair, a hat or a wall above the forehead
    with_hair = replace(crop, pixels=pixels, lab=rgb_to_lab(pixels))
    plain_one, hair = (matched(plain(MIDDLE, side), own, tone=lab(DARK)) for own in (crop, with_hair))
    middle = core(crop)
    assert np.abs(hair - plain_one)[middle].mean() < 2.5
    assert np.abs(hair[middle].mean(axis=0) - lab(DARK)).max() < 4


@pytest.mark.parametrize("level", [0, 40, 90, 127, 200, 255])
def test_grey_surroundings_give_a_grey_face(level):
    crop = plain_crop(level)
    made = matched(shaded(SKIN, 96), crop)
    assert np.abs(made[..., 1:]).max() < 0.5
    rgb = lab_to_rgb(made)
    assert (rgb.max(axis=2) - rgb.min(axis=2)).max() < 3


def test_pale_surroundings_give_a_pale_face():
    made, colourful = (
        matched(shaded(SKIN, 96), plain_crop(colour), tone=(60.0, 12, 16))
        for colour in ((112, 116, 122), (60, 110, 190))
    )
    assert np.abs(made[..., 1:]).mean() < 0.7 * np.abs(colourful[..., 1:]).mean()
    assert np.abs(made[..., 1:]).mean() > 0.5


@pytest.mark.parametrize(("colour", "donor"), PAIRS)
def test_the_face_is_about_as_light_as_the_skin_around_it(colour, donor):
    crop = plain_crop(colour)
    made = matched(shaded(donor, 96), crop)
    assert made[core(crop)][:, 0].mean() == pytest.approx(lab(colour)[0], abs=9)


@pytest.mark.parametrize(("colour", "donor"), [(DARK, LIGHT), (LIGHT, DARK)])
def test_a_donor_of_a_far_tone_comes_at_least_half_way(colour, donor):
    crop = plain_crop(colour)
    made = matched(shaded(donor, 96), crop)[core(crop)][:, 0].mean()
    near, far = lab(colour)[0], lab(donor)[0]
    assert abs(made - near) < 0.55 * abs(far - near)


def test_dark_surroundings_without_skin_get_the_asked_tone():
    crop = plain_crop((14, 22, 40))
    dark, light = (
        matched(shaded(SKIN, 96), crop, tone=(lightness, 12, 15))[core(crop)][:, 0].mean() for lightness in (35, 75)
    )
    assert dark + 12 < light


def test_a_face_lit_from_one_side_follows_its_surroundings():
    crop = plain_crop(SKIN)
    x = np.arange(96)[None, :, None] / 96
    pixels = (crop.pixels * (0.55 + 0.5 * x)).clip(0, 255).astype(np.float32)
    lit = replace(crop, pixels=pixels, lab=rgb_to_lab(pixels))
    made = matched(plain(SKIN, 96), lit)
    inside = crop.distance < -2
    left, right = (
        made[inside & half][:, 0].mean() for half in (np.arange(96)[None, :] < 40, np.arange(96)[None, :] > 56)
    )
    assert left + 5 < right


@pytest.mark.parametrize("level", [0, 255])
def test_black_and_white_stay_within_range(level):
    crop = plain_crop(level)
    face = shaded(SKIN, 96)
    face[40:44], face[50:54] = (0, 0, 0), (100, 0, 0)
    made = matched(face, crop)
    assert np.isfinite(made).all()
    assert made[..., 0].min() >= 0
    assert made[..., 0].max() <= 100.01


def test_white_stays_white_and_black_stays_black():
    crop = plain_crop(DARK)
    face = shaded(SKIN, 96)
    face[46:48, 40:56], face[52:54, 40:56] = (0, 0, 0), (100, 0, 0)  # a pupil and a tooth
    made = matched(face, crop)
    assert made[46:48, 40:56, 0].max() < 6
    assert made[52:54, 40:56, 0].min() > 90


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("known", ["nothing", "a corner", "everything"])
def test_too_little_at_the_border_still_gives_a_face_of_the_asked_tone(side, known):
    crop = plain_crop(127, side)
    unknown = np.full((side, side), known != "everything")
    if known == "a corner":
        unknown[:2, :2] = False
    made = matched(shaded(SKIN, side), replace(crop, unknown=unknown), tone=(40.0, 10, 12))
    assert np.isfinite(made).all()
    if known == "nothing":
        assert made[core(crop)].mean(axis=0)[0] == pytest.approx(40, abs=1.5)


def test_what_the_donor_s_image_does_not_show_is_no_anchor():
    crop = plain_crop(DARK)
    face = plain(SKIN, 96)
    face[:, :38] += (18, 4, 6)  # another colour, continued from its last column
    valid = everywhere(96)
    valid[:, :38] = False
    made, whole = matched(face, crop, valid=valid, cheek=lab(SKIN)), matched(plain(SKIN, 96), crop, cheek=lab(SKIN))
    right = core(crop) & (np.arange(96)[None, :] > 44)
    assert np.abs(made - whole)[right].mean() < 0.5


@settings(deadline=None, max_examples=30)
@given(st.integers(0, 2**32), st.sampled_from(SIDES), st.floats(0, 255), st.floats(0, 255))
def test_any_colours_give_finite_ones(seed, side, low, high):
    rng = np.random.default_rng(seed)
    crop = plain_crop(rng.uniform(min(low, high), max(low, high), (side, side, 3)), side)
    face = rgb_to_lab(rng.uniform(0, 255, (side, side, 3)).astype(np.float32))
    made = matched(face, crop, cheek=rng.uniform((0, -20, -20), (100, 40, 40)))
    assert np.isfinite(made).all()
    assert made[..., 0].min() >= 0
    assert made[..., 0].max() <= 100.01


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32), st.sampled_from([48, 96]))
def test_what_is_rebuilt_under_the_mask_has_no_influence(seed, side):
    rng = np.random.default_rng(seed)
    crop = plain_crop(rng.uniform(0, 255, (side, side, 3)), side)
    other = replace(
        crop, lab=np.where(crop.unknown[..., None], rng.uniform(0, 90, crop.lab.shape), crop.lab).astype(np.float32)
    )
    face = shaded(SKIN, side)
    one, two = (matched(face, own, tone=(60.0, 10, 15)) for own in (crop, other))
    assert np.array_equal(one, two)


def test_shadows_of_a_face_that_becomes_darker_lose_colour_with_their_light():
    crop = plain_crop(DARK)
    face = plain(LIGHT, 96)
    shadow = np.zeros((96, 96), bool)
    shadow[40:56, 40:56] = True
    face[shadow] = (35, 22, 25)
    made = matched(face, crop, cheek=lab(LIGHT).astype(float), tone=lab(DARK))
    darker = made[shadow][:, 0].mean() / 35
    assert darker < 0.75
    assert np.hypot(*made[shadow][:, 1:].mean(axis=0)) < 0.85 * np.hypot(22, 25)
