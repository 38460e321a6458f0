"""Composites: nothing outside the mask, the donor's landmarks on the asked ones, the asked tone."""

from __future__ import annotations

import cv2
import numpy as np
import pytest
from replacement_scenes import (
    DONOR_SIDE,
    SKIN,
    crop_of,
    drawn_donor,
    lab,
    model,
    oval,
    plain_crop,
    regions,
    scenery,
    turned,
)

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import CROP_SIDE, Crop
from anon_batch.anonymize.faces.blend import (
    BORDER_SHARE,
    GAMMAS,
    SHARPER,
    blend_donor,
    fade_at_border,
    match_sharpness,
    match_tone,
    sharpness,
    smoothstep,
    warp,
)
from anon_batch.anonymize.faces.donors import Donor, DonorBank, DonorChoice

TONE = np.array([60.0, 14, 18])
OWN = np.array([[50.0, 60], [110, 60], [80, 88], [56, 112], [104, 112]])  # of a donor


@pytest.fixture(scope="module")
def bank():
    return DonorBank(model("donors"))


def marked():
    """A donor of the colour of skin with a soft dark spot at each landmark, all of it face."""
    dark = landmarks.maps(OWN[None], DONOR_SIDE, 3.0)[0].max(axis=0)
    pixels = np.rint((1 - 0.9 * dark)[:, :, None] * np.array(SKIN)).astype(np.uint8)
    box = np.array([0.0, 0, DONOR_SIDE, DONOR_SIDE])
    whole = np.ones((DONOR_SIDE, DONOR_SIDE), np.float32)
    return Donor(0, pixels, OWN, box, whole, whole)


def spots(pixels, asked):
    """Where each spot lies, (5, 2) px: the centre of what is dark near an asked place."""
    grid = np.arange(pixels.shape[0]) + 0.5
    dark = np.clip(0.8 * np.median(pixels.sum(axis=2)) - pixels.sum(axis=2), 0, None)
    found = []
    for x, y in asked:
        near = dark * (np.hypot(grid[None, :] - x, grid[:, None] - y) < 0.09 * len(grid))
        assert near.sum() > 0.1 * dark.sum()
        found.append((np.average(grid, weights=near.sum(axis=0)), np.average(grid, weights=near.sum(axis=1))))
    return np.array(found)


def all_unknown(points, side):
    return Crop(np.full((side, side, 3), 250, np.float32), np.ones((side, side), bool), points)


def mean_lab(pixels, weight):
    return np.average(lab(pixels).reshape(-1, 3), axis=0, weights=weight.ravel())


@pytest.mark.parametrize("side", [CROP_SIDE, 2 * CROP_SIDE])
@pytest.mark.parametrize("degrees", [0, 20, -50])
@pytest.mark.parametrize("size", [0.45, 0.6])
def test_landmarks_of_the_donor_lie_on_the_target_ones(size, degrees, side):
    square = (side * (1 - size) / 2,) * 2 + (side * (1 + size) / 2,) * 2
    asked = landmarks.apply(landmarks.similarity(OWN, turned(square, degrees)), OWN)  # a similarity can reach these
    made = blend_donor(all_unknown(asked, side), DonorChoice(marked(), TONE))
    assert np.abs(spots(made.pixels, asked) - asked).max() < 0.006 * side


def test_landmarks_are_fitted_by_least_squares():
    asked = turned((30, 30, 100, 100), 0) + np.array([[0, 0], [0, 0], [6, 0], [0, 0], [0, 0]])
    made = blend_donor(all_unknown(asked, CROP_SIDE), DonorChoice(marked(), TONE))
    fitted = landmarks.apply(landmarks.similarity(OWN, asked), OWN)
    assert np.abs(spots(made.pixels, fitted) - fitted).max() < 0.8
    assert np.abs(fitted - asked).max() > 2


@pytest.mark.parametrize("side", [CROP_SIDE, 2 * CROP_SIDE])
@pytest.mark.parametrize("box", [(150, 140, 250, 260), (-30, 100, 60, 220), (180, 190, 196, 212)])
def test_outside_the_mask_are_the_surroundings(bank, box, side):
    (region,) = regions(box, width=400, height=400)
    crop = crop_of(scenery(400, 400, seed=1), region, side)
    for seed in range(3):
        made = blend_donor(crop, bank.choose(crop, seed))
        assert np.array_equal(made.pixels[~crop.unknown], crop.pixels[~crop.unknown])
        assert not made.weight[~crop.unknown].any()
        assert made.weight.min() >= 0
        assert made.weight.max() <= 1 + 1e-6
        assert made.pixels.dtype == made.weight.dtype == np.float32
        assert made.pixels.min() >= 0
        assert made.pixels.max() <= 256
        assert np.abs(made.pixels - crop.pixels)[crop.unknown].mean() > 3  # there is a face


def test_only_the_mask_is_blended_and_only_its_border_fades():
    crop = plain_crop(90)
    made = blend_donor(crop, DonorChoice(marked(), TONE))
    assert np.allclose(made.weight, fade_at_border(crop.unknown), atol=1e-6)  # a donor that is all face


def test_fade_rises_from_the_border_inwards():
    unknown = oval(CROP_SIDE)
    weight = fade_at_border(unknown)
    assert not weight[~unknown].any()
    assert weight[CROP_SIDE // 2, CROP_SIDE // 2] == 1
    row = weight[CROP_SIDE // 2, : CROP_SIDE // 2]
    assert (np.diff(row) >= 0).all()
    assert 2 <= np.count_nonzero((row > 0) & (row < 1)) <= BORDER_SHARE * CROP_SIDE + 1


def test_mask_at_the_border_of_the_crop_fades_there_too():
    weight = fade_at_border(np.ones((CROP_SIDE, CROP_SIDE), bool))
    assert weight[0].max() < 0.1
    assert weight[CROP_SIDE // 2, CROP_SIDE // 2] == 1


@pytest.mark.parametrize("tone", [(45, 10, 12), (60, 14, 20), (75, 9, 16), (69, 20, 28)])
def test_face_gets_about_the_target_tone(tone):
    pixels, _, _ = drawn_donor()
    weight = oval(DONOR_SIDE, (0.22, 0.3)).astype(np.float32)
    face = match_tone(pixels.astype(np.float32), weight, np.array(tone, float))
    assert np.abs(mean_lab(face, weight) - tone).max() < 3
    assert face.dtype == np.float32
    assert face.min() >= 0
    assert face.max() <= 255.01


def test_single_colour_becomes_the_target_one():
    plain = np.full((8, 8, 3), SKIN, np.float32)
    made = match_tone(plain, np.ones((8, 8), np.float32), np.array([58.0, 12, 15]))
    assert np.abs(lab(made) - (58, 12, 15)).max() < 0.5


@pytest.mark.parametrize(("level", "asked", "gamma"), [(200, 5.0, GAMMAS[1]), (50, 95.0, GAMMAS[0])])
def test_tone_out_of_reach_is_limited(level, asked, gamma):
    face = match_tone(np.full((8, 8, 3), level, np.float32), np.ones((8, 8), np.float32), np.array([asked, 0, 0]))
    own = lab((level,) * 3)[0] / 100
    assert lab(face)[0, 0, 0] == pytest.approx(100 * own**gamma, abs=0.3)


@pytest.mark.parametrize("tone", [(-6, -3, -3), (0, 0, 0), (100, 30, 30), (104, 0, 0)])
@pytest.mark.parametrize("level", [0, 1, 128, 255])
def test_any_tone_of_any_face_gives_valid_colours(level, tone):
    face = match_tone(np.full((8, 8, 3), level, np.float32), np.ones((8, 8), np.float32), np.array(tone, float))
    assert np.isfinite(face).all()
    assert face.min() >= 0
    assert face.max() <= 255.01


def test_black_white_and_grey_stay():
    rng = np.random.default_rng(0)
    face = np.repeat(rng.uniform(0, 255, (32, 32, 1)), 3, axis=2).astype(np.float32)
    face[:4], face[28:] = 0, 255
    changed = match_tone(face, np.ones((32, 32), np.float32), np.array([60.0, 20, 25]))
    assert changed[:4].max() < 0.5
    assert changed[28:].min() > 254.5
    assert (changed.max(axis=2) - changed.min(axis=2)).max() < 2
    assert changed.mean() > face.mean() + 2


def test_mean_tone_comes_from_the_weighted_part():
    pixels, _, _ = drawn_donor()
    weight = oval(DONOR_SIDE, (0.22, 0.3)).astype(np.float32)
    other = pixels.copy()
    other[weight == 0] = (10, 250, 10)
    tone = np.array([60.0, 15, 15])
    a, b = (match_tone(p.astype(np.float32), weight, tone) for p in (pixels, other))
    assert np.array_equal(a[weight > 0], b[weight > 0])


def test_face_without_weight_is_left_as_it_is():
    face = np.full((8, 8, 3), SKIN, np.float32)
    assert match_tone(face, np.zeros((8, 8), np.float32), np.array([20.0, 0, 0])) is face


def test_warp_continues_the_border_of_an_image():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, 20:] = 200
    moved = warp(pixels, np.array([[1.0, 0, 10], [0, 1, 10]]), 60)
    assert moved.shape == (60, 60, 3)
    assert (moved[:, 32:] == 200).all()
    assert (moved[:, :29] == 0).all()


@pytest.mark.parametrize("scale", [0.31, 0.5, 1.0, 2.3])
def test_warp_does_not_shift(scale):
    line = np.arange(200, dtype=np.float32)
    ramp = np.broadcast_to(line, (200, 200)).copy()
    side = int(200 * scale) - 4
    made = warp(ramp, np.array([[scale, 0, 0], [0, scale, 0]]), side)
    x = (np.arange(side) + 0.5) / scale - 0.5
    inside = slice(3, -3)
    assert np.abs(made[side // 2, inside] - x[inside]).max() < 0.6 / min(scale, 1)
    assert abs((made[side // 2, inside] - x[inside]).mean()) < 0.05
    turned_made = warp(np.ascontiguousarray(ramp.T), np.array([[scale, 0, 0], [0, scale, 0]]), side)
    assert np.allclose(turned_made, made.T, atol=0.05)


def test_smoothstep():
    assert smoothstep(np.array([-1, 0, 0.5, 1, 4])).tolist() == [0, 0, 0.5, 1, 1]
    assert smoothstep(np.linspace(0, 1, 9)).dtype == np.float32


def textured(side, blur_px, seed=0):
    noise = np.random.default_rng(seed).uniform(0, 255, (side, side, 1)).astype(np.float32)
    blurred = cv2.GaussianBlur(noise, (0, 0), blur_px) if blur_px else noise[:, :, 0]
    spread = (blurred - blurred.mean()) / blurred.std() * 35 + 128
    return np.repeat(spread[:, :, None], 3, axis=2).clip(0, 255).astype(np.float32)


def test_sharpness_falls_with_blur():
    weight = np.ones((CROP_SIDE, CROP_SIDE), np.float32)
    found = [sharpness(textured(CROP_SIDE, blur), weight) for blur in (0, 0.7, 1.5, 3)]
    assert found == sorted(found, reverse=True)
    assert found[-1] > 1
    assert found[0] > 3 * found[-1]


@pytest.mark.parametrize("level", [0, 127, 255])
def test_image_without_edges_has_no_sharpness(level):
    pixels = np.full((CROP_SIDE, CROP_SIDE, 3), level, np.float32)
    assert sharpness(pixels, np.ones((CROP_SIDE, CROP_SIDE), np.float32)) is None
    assert sharpness(textured(CROP_SIDE, 1), np.zeros((CROP_SIDE, CROP_SIDE), np.float32)) is None


@pytest.mark.parametrize("side", [CROP_SIDE, 2 * CROP_SIDE])
@pytest.mark.parametrize("blur", [2.2, 3])
def test_face_gets_the_sharpness_of_its_surroundings(blur, side):
    scale = side / CROP_SIDE
    crop, face = plain_crop(textured(side, blur * scale), side), textured(side, 0.4 * scale, seed=1)
    weight = fade_at_border(crop.unknown)
    around, inside = (~crop.unknown).astype(np.float32), (weight > 0.5).astype(np.float32)
    asked = sharpness(crop.pixels, around)
    made = match_sharpness(face, weight, crop)
    assert sharpness(face, inside) > 1.3 * SHARPER * asked
    assert sharpness(made, inside) < 1.1 * SHARPER * asked
    assert sharpness(made, inside) > 0.5 * asked


def test_face_softer_than_its_surroundings_is_left_as_it_is():
    crop, face = plain_crop(textured(CROP_SIDE, 0)), textured(CROP_SIDE, 2, seed=1)
    assert np.array_equal(match_sharpness(face, fade_at_border(crop.unknown), crop), face)


@pytest.mark.parametrize("known", ["flat", "none", "a corner", "a rim"])
def test_surroundings_without_edges_leave_the_face_as_it_is(known):
    crop = plain_crop(90 if known == "flat" else textured(CROP_SIDE, 3))
    face = textured(CROP_SIDE, 0.5, seed=1)
    if known != "flat":
        crop.unknown[:] = True
    if known == "a corner":
        crop.unknown[:2, :2] = False  # nearer to the mask than what counts
    if known == "a rim":
        crop.unknown[:1] = False
    assert np.array_equal(match_sharpness(face, np.ones((CROP_SIDE, CROP_SIDE), np.float32), crop), face)
