"""Composites: the donor's landmarks on the asked ones, its background nowhere, and nothing beyond reach."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from replacement_scenes import SKIN, crop_of, lab, model, plain_crop, regions, scenery, turned

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.blend import blend_donor, continue_border
from anon_batch.anonymize.faces.colour import rgb_to_lab
from anon_batch.anonymize.faces.donors import Donor, DonorBank
from anon_batch.anonymize.faces.retrieve import Choice

SIDE = 208  # of a donor's image
BOX = np.array([67.0, 54, 141, 154])
OWN = (landmarks.CANONICAL * (BOX[2:] - BOX[:2])) + BOX[:2]
TONE = np.asarray(lab(SKIN), np.float64)
GREEN = (20, 190, 30)


@pytest.fixture(scope="module")
def bank():
    return DonorBank(model("donors"))


def donor_of(pixels, matte=255, cheek=SKIN):
    whole = np.empty((SIDE, SIDE), np.uint8)
    whole[:] = matte
    return Donor(0, np.asarray(pixels, np.uint8), whole, OWN, BOX, np.asarray(lab(cheek), np.float64))


def marked():
    """A donor of the colour of skin with a soft dark spot at each landmark, all of it face."""
    dark = landmarks.maps(OWN[None], SIDE, 4.0)[0].max(axis=0)
    return donor_of(np.rint((1 - 0.9 * dark)[:, :, None] * np.array(SKIN)))


def on_green(radii=(34, 48)):
    """A donor of the colour of skin before a green wall."""
    pixels, matte = np.empty((SIDE, SIDE, 3), np.uint8), np.zeros((SIDE, SIDE), np.uint8)
    pixels[:] = GREEN
    for image, value in ((pixels, SKIN), (matte, 255)):
        cv2.ellipse(image, (SIDE // 2, SIDE // 2), radii, 0, 0, 360, value, -1)
    return donor_of(pixels, matte)


def blend(crop, donor, *, tone=TONE, seed=3, reach=None):
    reach = 0.1 * crop.side if reach is None else reach
    return blend_donor(crop, donor, Choice(donor.index, np.asarray(tone, np.float64), 0.0, 0.0), seed, reach)


def well_found(crop):
    """A crop with a box, as of a face that was found well."""
    half = np.array([0.74, 1.0]) * 0.3 * crop.side
    return replace(crop, box=np.concatenate([crop.side / 2 - half, crop.side / 2 + half]))


def spots(pixels, asked):
    """Where each spot lies, (5, 2) px: the centre of what is dark near an asked place."""
    grid = np.arange(pixels.shape[0]) + 0.5
    lightness = pixels.sum(axis=2)
    dark = np.clip(0.8 * np.median(lightness) - lightness, 0, None)
    found = []
    for x, y in asked:
        near = (np.abs(grid - y)[:, None] < 0.07 * len(grid)) & (np.abs(grid - x)[None, :] < 0.07 * len(grid))
        weight = dark * near
        found.append([(weight * grid[None, :]).sum() / weight.sum(), (weight * grid[:, None]).sum() / weight.sum()])
    return np.array(found)


def scene(box=(140, 130, 236, 260), seed=1, degrees=10.0, shape="face", side=None):
    (region,) = regions(box, width=400, height=400, shape=shape, expansion=1.15, points=[turned(box, degrees)])
    return crop_of(scenery(400, 400, seed=seed), region, side)


@pytest.mark.parametrize("side", [96, 160, 256])
@pytest.mark.parametrize(("degrees", "size"), [(0, 0.6), (12, 0.5), (-20, 0.55)])
def test_landmarks_of_the_donor_lie_on_the_asked_ones(side, degrees, size):
    half = size * side / 2
    asked = turned((side / 2 - half, side / 2 - half, side / 2 + half, side / 2 + half), degrees)
    asked = landmarks.apply(landmarks.similarity(OWN, asked), OWN)  # a similarity reaches these
    crop = replace(plain_crop(SKIN, side), points=asked)
    made = blend(crop, marked())
    assert np.abs(spots(made.pixels, asked) - asked).max() < 0.012 * side


@pytest.mark.parametrize("shape", ["face", "ellipse"])
@pytest.mark.parametrize("box", [(140, 130, 236, 260), (-30, 100, 60, 220), (180, 190, 196, 212), (300, 300, 420, 470)])
def test_composites_are_pixels_with_a_share(bank, box, shape):
    crop = scene(box, shape=shape)
    reach = 0.1 * crop.side
    for index in (0, 301):
        made = blend(crop, bank.donor(index), tone=(62, 12, 16), reach=reach)
        assert made.pixels.shape == (crop.side, crop.side, 3)
        assert made.pixels.dtype == made.alpha.dtype == np.float32
        assert made.pixels.min() >= 0
        assert made.pixels.max() <= 255
        assert made.alpha.min() >= 0
        assert made.alpha.max() <= 1
        assert (made.alpha[crop.unknown & (crop.distance <= 0)] == 1).all()
        assert not made.alpha[crop.distance > reach + 1e-3].any()
        assert np.abs(made.pixels - crop.pixels)[crop.distance < 0].mean() > 3  # there is a face
        inner = crop.distance < 0.4 * crop.distance.min()
        assert rgb_to_lab(made.pixels)[inner][:, 0].std() > 2


@pytest.mark.parametrize("found", [True, False])
@pytest.mark.parametrize("side", [48, 96])
def test_without_reach_the_edge_is_hard(side, found):
    crop = plain_crop(90, side)
    made = blend(well_found(crop) if found else crop, marked(), reach=0)
    assert np.array_equal(made.alpha, (crop.distance <= 1).astype(np.float32))


@pytest.mark.parametrize("side", [48, 96])
def test_faces_that_are_small_or_not_well_found_end_at_the_mask(side):
    crop = plain_crop(90, side)
    made = blend(well_found(crop) if side == 48 else crop, marked())
    assert not made.alpha[crop.distance > 0.06 * side + 2].any()
    assert (made.alpha[crop.unknown] == 1).all()


def test_a_free_seam_lets_what_fits_show_outside_the_mask():
    crop = well_found(plain_crop(SKIN))
    difference = crop.distance < 5
    shown = crop.lab.copy()
    shown[difference & ~crop.unknown] = lab((40, 40, 120))  # a blue rim around the mask, then skin again
    made = blend(replace(crop, lab=shown), marked())
    assert made.alpha[(crop.distance > 2) & (crop.distance < 4)].mean() > 0.6


def greenness(pixels):
    return pixels[..., 1] - np.maximum(pixels[..., 0], pixels[..., 2])


@pytest.mark.parametrize("colour", [(40, 60, 120), (128, 128, 128), (90, 70, 60), (230, 230, 235)])
@pytest.mark.parametrize("side", [48, 96])
def test_the_donor_s_background_does_not_show(colour, side):
    crop = plain_crop(colour, side)
    made = blend(crop, on_green((24, 34)))
    assert greenness(made.pixels)[made.alpha > 0].max() < 40
    plain = donor_of(np.broadcast_to(np.array(GREEN), (SIDE, SIDE, 3)))
    assert greenness(blend(crop, plain).pixels)[crop.distance < -0.1 * side].mean() > -30, "all of it face, so it stays"


def test_what_is_no_face_continues_the_surroundings():
    crop = plain_crop((40, 60, 120))
    made = blend(crop, on_green((24, 34)))
    rim = crop.unknown & (crop.distance > -4)
    assert np.abs(made.pixels[rim] - (40, 60, 120)).mean() < 25


def test_a_background_that_continues_the_surroundings_stays():
    pixels = np.empty((SIDE, SIDE, 3), np.uint8)
    pixels[:] = (200, 150, 120)
    pixels[::6] = (190, 140, 110)  # a pattern that a fill would not have
    crop = plain_crop((197, 147, 117))
    made = blend(crop, donor_of(pixels, matte=0), tone=lab((197, 147, 117)))
    inner = crop.distance < -6
    assert made.pixels[inner].std(axis=0).max() > 1


def test_skin_of_another_tone_fades_in_behind_the_border():
    around = (96, 62, 50)
    crop = plain_crop(around)
    made = blend(crop, marked(), tone=(85, 14, 18))
    lightness = rgb_to_lab(made.pixels)[..., 0] - lab(around)[0]
    rim, inner = (crop.distance >= -1) & crop.unknown, crop.distance < 0.5 * crop.distance.min()
    assert np.median(lightness[inner]) > 10
    assert np.abs(lightness[rim]).mean() < 0.8 * np.median(lightness[inner])


@pytest.mark.parametrize("level", [0, 60, 128, 200, 255])
def test_grey_surroundings_give_a_grey_face(bank, level):
    made = blend(plain_crop(level), bank.donor(7), tone=(60, 12, 16))
    assert (made.pixels.max(axis=2) - made.pixels.min(axis=2)).max() < 3
    assert np.isfinite(made.pixels).all()


@pytest.mark.parametrize("colour", [(100, 66, 52), (180, 132, 108), (236, 200, 180)])
def test_the_face_is_about_as_light_as_its_surroundings_skin(bank, colour):
    crop = plain_crop(colour)
    middle = crop.distance < 0.5 * crop.distance.min()
    cheeks = bank.tensors["cheek"]
    near, lightness = np.argsort(np.abs(cheeks - lab(colour)).sum(axis=1))[:8], []
    for image in near:
        made = blend(crop, bank.donor(2 * int(image)), tone=lab(colour))
        lightness.append(np.median(rgb_to_lab(made.pixels)[middle][:, 0]))
    asked = lab(colour)[0]
    assert np.median(lightness) == pytest.approx(asked, abs=11)
    assert np.abs(np.array(lightness) - asked).max() < 25  # a donor with dark hair at the border comes out lighter


def test_the_seed_decides_the_grain_alone(bank):
    flat, noisy = plain_crop(120), plain_crop(np.random.default_rng(0).normal(120, 6, (96, 96, 3)))
    donor = bank.donor(20)
    one, two = (blend(flat, donor, seed=seed) for seed in (1, 2))
    assert np.array_equal(one.pixels, two.pixels)
    one, two = (blend(noisy, donor, seed=seed) for seed in (1, 2))
    assert not np.array_equal(one.pixels, two.pixels)
    assert np.array_equal(one.alpha, two.alpha)
    assert cv2.GaussianBlur(one.pixels - two.pixels, (0, 0), 4).std() < 1


def test_the_border_is_continued_into_the_mask():
    crop = scene()
    out = continue_border(crop)
    assert out.dtype == np.float32
    assert np.array_equal(out[~crop.unknown], crop.lab[~crop.unknown])
    halves = plain_crop(np.where(np.arange(96)[None, :, None] < 48, (60.0, 20, 20), (200.0, 210, 230)))
    blurred = halves.pixels.copy()
    blurred[halves.unknown] = 128
    split = continue_border(replace(halves, lab=rgb_to_lab(blurred)))
    rim = halves.unknown & (halves.distance > -3)
    for half, colour in ((slice(0, 40), (60, 20, 20)), (slice(56, 96), (200, 210, 230))):
        assert np.abs(split[:, half][rim[:, half]] - lab(colour)).mean() < 9
    assert np.abs(split[48, 48] - lab((128, 128, 128))).max() < 12


def test_where_there_is_no_face_the_edges_of_the_surroundings_go_on():
    halves = np.where(np.arange(96)[None, :, None] < 48, (60.0, 20, 20), (200.0, 210, 230))
    crop = plain_crop(halves)
    smooth = crop.pixels.copy()
    smooth[crop.unknown] = 128
    made = blend(
        replace(crop, lab=rgb_to_lab(smooth)), donor_of(np.broadcast_to(np.array(GREEN), (SIDE, SIDE, 3)), matte=0)
    )
    rim = crop.unknown & (crop.distance > -3)
    for half, colour in ((slice(0, 40), (60, 20, 20)), (slice(56, 96), (200, 210, 230))):
        assert np.abs(made.pixels[:, half][rim[:, half]] - colour).mean() < 40


@pytest.mark.parametrize("size", [0.45, 2.6])
def test_what_lies_beyond_the_donor_s_image_does_not_show_outside_the_mask(bank, size):
    crop = well_found(plain_crop(SKIN))
    own = replace(crop, points=(crop.points - 48) * size + 48, box=(crop.box - 48) * size + 48)
    made = blend(own, bank.donor(5))
    assert np.isfinite(made.pixels).all()
    outside = made.alpha[(crop.distance > 1) & (crop.distance < 8)]
    assert outside.any() == (size > 1), "a donor so small that its image ends inside the mask"
