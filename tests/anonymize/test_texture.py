"""Sharpness and grain of a new face, as of its surroundings."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from replacement_scenes import plain_crop

from anon_batch.anonymize.faces import texture
from anon_batch.anonymize.faces.colour import rgb_to_lab
from anon_batch.anonymize.faces.texture import add_grain, match_sharpness, sharpen

SIDES = [96, 160]
SHARPER = texture._SHARPER


def textured(side, blur_px, seed=0):
    """Lab of grey noise, blurred, of one contrast."""
    noise = np.random.default_rng(seed).uniform(0, 100, (side, side)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), blur_px) if blur_px else noise
    lab = np.zeros((side, side, 3), np.float32)
    lab[..., 0] = ((blurred - blurred.mean()) / blurred.std() * 14 + 50).clip(0, 100)
    return lab


def crop_with(lab):
    return replace(plain_crop(120, len(lab)), lab=np.asarray(lab, np.float32))


def inside(crop):
    return (crop.distance < 0).astype(np.float32)


def sharpness(lab, weight, side):
    return texture._sharpness(np.ascontiguousarray(lab[..., 0]), weight, side)


def around(crop):
    return texture._around(crop)


def grainy(side, deviation, seed=0, slope=0.0):
    """Flat or sloping Lab with grain of a deviation of L."""
    noise = np.random.default_rng(seed).normal(0, deviation, (side, side)).astype(np.float32)
    lab = np.empty((side, side, 3), np.float32)
    lab[:] = (55, 10, 14)
    lab[..., 0] += noise + slope * np.arange(side, dtype=np.float32)[None, :]
    return lab


def detail(lab, where):
    """The deviation of fine detail of L where the face is."""
    lightness = np.ascontiguousarray(lab[..., 0])
    return float((lightness - cv2.GaussianBlur(lightness, (0, 0), 1.0))[where].std())


def test_sharpness_falls_with_blur():
    weight = np.ones((96, 96), np.float32)
    found = [sharpness(textured(96, blur), weight, 96) for blur in (0, 0.7, 1.5, 3)]
    assert found == sorted(found, reverse=True)
    assert found[0] > 3 * found[-1] > 3


@pytest.mark.parametrize("level", [0, 50, 100])
def test_image_without_edges_has_no_sharpness(level):
    flat = np.full((96, 96, 3), level, np.float32)
    assert sharpness(flat, np.ones((96, 96), np.float32), 96) is None
    assert sharpness(textured(96, 1), np.zeros((96, 96), np.float32), 96) is None


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("blur", [2.0, 3.0])
def test_blurred_surroundings_blur_the_face(blur, side):
    scale = side / 128
    crop, face = crop_with(textured(side, blur * scale)), textured(side, 0.4 * scale, seed=1)
    asked = sharpness(crop.lab, around(crop), side)
    made = match_sharpness(face, inside(crop), crop)
    assert sharpness(face, inside(crop), side) > 1.3 * SHARPER * asked
    assert sharpness(made, inside(crop), side) < 1.1 * SHARPER * asked
    assert sharpness(made, inside(crop), side) > 0.5 * asked
    assert made.dtype == np.float32


def test_more_blur_around_blurs_the_face_more():
    face = textured(96, 0.3, seed=1)
    left = []
    for blur in (0.8, 1.6, 2.6):
        crop = crop_with(textured(96, blur))
        left.append(sharpness(match_sharpness(face, inside(crop), crop), inside(crop), 96))
    assert left[0] > left[1] > left[2]


def test_face_softer_than_its_surroundings_is_left_as_it_is():
    crop, face = crop_with(textured(96, 0)), textured(96, 2, seed=1)
    assert match_sharpness(face, inside(crop), crop) is face


@pytest.mark.parametrize("known", ["flat", "nothing", "a corner", "far away"])
def test_surroundings_without_edges_leave_the_face_as_it_is(known):
    crop = crop_with(np.full((96, 96, 3), 50) if known == "flat" else textured(96, 3))
    if known != "flat":
        unknown = np.ones((96, 96), bool)
        if known == "a corner":
            unknown[:2, :2] = False
        if known == "far away":
            unknown = crop.distance < 0.2 * 96
        crop = replace(crop, unknown=unknown)
    face = textured(96, 0.5, seed=1)
    assert match_sharpness(face, np.ones((96, 96), np.float32), crop) is face


def test_sharpening_adds_detail_but_no_colour_and_no_light():
    face = textured(96, 0.8)
    made = sharpen(face)
    inner = np.s_[8:-8, 8:-8]
    assert detail(made, inner) > 1.2 * detail(face, inner)
    assert np.array_equal(made[..., 1:], face[..., 1:])
    smooth, other = (cv2.GaussianBlur(np.ascontiguousarray(own[..., 0]), (0, 0), 5) for own in (face, made))
    assert np.abs(smooth - other)[inner].max() < 1
    flat = np.full((48, 48, 3), 50, np.float32)
    assert np.allclose(sharpen(flat), flat, atol=1e-4)


@pytest.mark.parametrize("deviation", [0.8, 1.5, 3.0])
@pytest.mark.parametrize("side", SIDES)
def test_grain_is_as_strong_as_around_the_face(deviation, side):
    crop = crop_with(grainy(side, deviation))
    face = grainy(side, 0)
    made = add_grain(face, crop, seed=7)
    core = crop.distance < -0.04 * side
    assert detail(made, core) == pytest.approx(detail(crop.lab, around(crop) > 0), rel=0.25)
    assert np.array_equal(made[..., 1:], face[..., 1:])
    assert abs((made - face)[..., 0].mean()) < 0.1 * deviation
    assert made.dtype == np.float32


def test_grain_that_the_face_has_counts():
    crop, core = crop_with(grainy(96, 2.0)), plain_crop(120).distance < -4
    for own in (0.7, 1.4):
        face = grainy(96, own, seed=3)
        assert detail(add_grain(face, crop, 1), core) == pytest.approx(detail(crop.lab, around(crop) > 0), rel=0.25)
    assert add_grain(grainy(96, 2.5, seed=3), crop, 1)[..., 0].std() < 2.7, "more grain than around it stays"


@pytest.mark.parametrize("slope", [0.0, 0.3])
def test_no_grain_around_adds_none(slope):
    crop, face = crop_with(grainy(96, 0, slope=slope)), grainy(96, 0, seed=1)
    assert add_grain(face, crop, 5) is face
    nothing = replace(crop, unknown=np.ones((96, 96), bool))
    assert add_grain(face, nothing, 5) is face


def test_texture_in_part_of_the_surroundings_is_no_grain():
    lab = grainy(96, 0)
    lab[60:, :, 0] = textured(96, 0)[60:, :, 0]  # a woven shirt
    face = grainy(96, 0)
    assert detail(add_grain(face, crop_with(lab), 5), plain_crop(120).distance < -4) < 0.5


def test_grain_is_limited():
    crop = crop_with(grainy(96, 25))
    made = add_grain(grainy(96, 0), crop, 5)
    assert detail(made, crop.distance < -4) < 1.4 * texture._MOST_GRAIN


def test_grain_is_the_seed_s_own():
    crop, face = crop_with(grainy(96, 2)), grainy(96, 0)
    one, same, other = (add_grain(face, crop, seed) for seed in (5, 5, 6))
    assert one.tobytes() == same.tobytes()
    assert np.corrcoef((one - face)[..., 0].ravel(), (other - face)[..., 0].ravel())[0, 1] < 0.1
    add_grain(face, crop, 2**64 - 1)  # the largest seed


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 2**32), st.sampled_from([48, 96]), st.sampled_from([0, 1, 255]))
def test_any_surroundings_give_finite_values(seed, side, level):
    rng = np.random.default_rng(seed)
    crop = plain_crop(rng.uniform(0, level, (side, side, 3)), side)
    face = rgb_to_lab(rng.uniform(0, 255, (side, side, 3)).astype(np.float32))
    made = add_grain(match_sharpness(face, inside(crop), crop), crop, seed)
    assert np.isfinite(made).all()


@settings(deadline=None, max_examples=20)
@given(st.integers(0, 2**32))
def test_what_is_rebuilt_under_the_mask_has_no_influence_far_from_it(seed):
    rng = np.random.default_rng(seed)
    crop = crop_with(textured(96, 1.5))
    other = crop.lab.copy()
    other[crop.distance < -6] = rng.uniform(0, 100, (int((crop.distance < -6).sum()), 3))
    face = textured(96, 0.3, seed=1)
    one, two = (match_sharpness(face, inside(crop), replace(crop, lab=lab)) for lab in (crop.lab, other))
    assert np.array_equal(one, two)
