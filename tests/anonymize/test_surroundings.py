"""The surroundings of a face in the donors' frame: what is known, what counts, and which tone they ask for."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from replacement_scenes import SKIN, crop_of, lab, plain_crop, regions, scenery, turned

from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import SIDES, Crop
from anon_batch.anonymize.faces.surroundings import IDEAL, REACH_PX, SIDE, describe
from anon_batch.geometry import distance_to_zero

BLUE = (40, 80, 170)
BOX = (150, 140, 226, 240)


def scene(seed=0, degrees=0.0, side=None, shape="face"):
    pixels = scenery(400, 400, seed=seed)
    (region,) = regions(BOX, width=400, height=400, points=[turned(BOX, degrees)], shape=shape, expansion=1.15)
    return crop_of(pixels, region, side)


def with_skin(colour, rows=slice(80, 96), columns=slice(30, 66), around=BLUE):
    """A crop of one colour with a patch of another: a neck."""
    pixels = np.empty((96, 96, 3), np.float32)
    pixels[:] = around
    pixels[rows, columns] = colour
    return plain_crop(pixels)


def test_the_frame_holds_a_face_s_box_at_two_thirds_of_its_side():
    assert IDEAL[:, 0].mean() == pytest.approx(SIDE / 2)
    assert (IDEAL > 0).all()
    assert (IDEAL < SIDE).all()
    box = landmarks.apply(landmarks.similarity(landmarks.CANONICAL * (0.74, 1), IDEAL), np.array([[0.0, 0], [0.74, 1]]))
    assert np.allclose(box[:, 1], (SIDE / 6, SIDE * 5 / 6))
    assert box[1, 0] - box[0, 0] == pytest.approx(0.74 * SIDE / 1.5)


@pytest.mark.parametrize("degrees", [0, 30, -40])
def test_landmarks_lie_near_their_ideal_places(degrees):
    crop = scene(degrees=degrees)
    place = describe(crop)
    assert np.abs(place.points - IDEAL).max() < 2.5
    assert np.allclose(landmarks.apply(place.to_frame, crop.points), place.points)


@pytest.mark.parametrize("side", SIDES)
def test_values_have_their_ranges(side):
    place = describe(scene(side=side))
    assert place.lab.shape == (SIDE, SIDE, 3)
    assert place.lab.dtype == place.weight.dtype == place.skin.dtype == np.float32
    assert place.known.dtype == np.bool_
    assert not place.weight[~place.known].any()
    assert not place.skin[~place.known].any()
    assert (place.skin <= place.weight).all()
    assert place.weight.max() <= 1
    assert 0 <= place.trust <= 1
    assert 0.2 < place.known.mean() < 0.8


def test_weight_falls_with_the_distance_from_what_is_unknown():
    place = describe(scene())
    distance = distance_to_zero(place.known)
    assert np.allclose(place.weight[place.known], np.exp(-distance[place.known] / REACH_PX), atol=1e-6)
    assert place.weight.max() > 0.7


@pytest.mark.parametrize("degrees", [0, 30])
def test_surroundings_hardly_depend_on_the_side_of_the_crop(degrees):
    small, large = (describe(scene(5, degrees, side)) for side in (96, 256))
    both = small.known & large.known
    assert (small.known ^ large.known).mean() < 0.06
    assert np.abs(small.lab - large.lab)[both].mean() < 1
    assert np.abs(small.points - large.points).max() < 1e-6
    assert np.abs(small.tone - large.tone).max() < 2
    assert small.trust == pytest.approx(large.trust, abs=0.15)


@pytest.mark.parametrize(
    ("side", "most"), [(48, 0.7), (96, 0.05), (160, 0.05)]
)  # small crops are enlarged by a wide filter
def test_what_is_rebuilt_hardly_shows_in_what_is_known(side, most):
    crop = scene(1, side=side)
    values = np.random.default_rng(0).uniform(-50, 100, crop.lab.shape).astype(np.float32)
    one, two = describe(crop), describe(replace(crop, lab=np.where(crop.unknown[:, :, None], values, crop.lab)))
    assert np.array_equal(one.weight, two.weight)
    assert np.array_equal(one.known, two.known)
    assert np.abs(one.lab - two.lab)[one.known].mean() < most
    assert np.abs(one.tone - two.tone).max() < 2.5
    assert np.abs(one.lab - two.lab)[~one.known].mean() > 5


def test_nothing_known_is_said_to_be_nothing():
    crop = plain_crop(127)
    place = describe(replace(crop, unknown=np.ones_like(crop.unknown)))
    assert not place.known.any()
    assert not place.weight.any()
    assert place.trust == 0
    assert np.isfinite(place.tone).all()


def test_everything_known_is_finite():
    crop = plain_crop(127)
    place = describe(replace(crop, unknown=np.zeros_like(crop.unknown)))
    assert np.isfinite(place.weight).all()
    assert np.isfinite(place.skin).all()


@pytest.mark.parametrize("colour", [SKIN, (240, 205, 185), (120, 80, 60)], ids=["middling", "light", "dark"])
def test_tone_follows_skin_beside_the_mask(colour):
    place = describe(with_skin(colour))
    assert place.trust > 0.5
    assert np.abs(place.tone - lab(colour)).max() < 9  # a face is not exactly as its neck


def test_dark_skin_asks_for_a_darker_tone_than_light_skin():
    dark, middling, light = (describe(with_skin(colour)).tone[0] for colour in ((100, 65, 50), SKIN, (245, 215, 195)))
    assert dark + 12 < middling < light - 5


@pytest.mark.parametrize("colour", [BLUE, (30, 160, 60), (180, 60, 190), 0, 127, 255])
def test_surroundings_without_skin_are_not_trusted(colour):
    assert describe(plain_crop(colour)).trust < 0.05


def test_skin_below_counts_more_than_skin_above():
    above, below = (describe(with_skin(SKIN, rows, slice(20, 76))) for rows in (slice(0, 8), slice(88, 96)))
    assert above.trust < 0.6 * below.trust


@pytest.mark.parametrize("colour", [(54, 42, 37), (48, 38, 34), (44, 34, 30)])
def test_a_dark_neck_is_skin_and_dark_hair_is_not(colour):
    neck = describe(with_skin(colour, around=(225, 228, 227)))
    assert neck.trust > 0.25
    assert neck.tone[0] < 45
    hair = describe(with_skin(colour, rows=slice(0, 40), columns=slice(0, 96), around=(225, 228, 227)))
    assert hair.trust < 0.5 * neck.trust


def test_light_and_dark_skin_together_ask_for_their_mean():
    crop = with_skin(SKIN)
    crop.pixels[80:96, 48:66] = (100, 65, 50)
    mixed = describe(replace(crop, lab=lab(crop.pixels))).tone
    light, dark = (describe(with_skin(colour)).tone for colour in (SKIN, (100, 65, 50)))
    assert dark[0] + 5 < mixed[0] < light[0] - 5


def test_the_light_of_the_scene_comes_from_what_is_known():
    crop = scene(1)
    levels = []
    for light in (0.05, 0.3, 1.0):
        pixels = crop.pixels * np.float32(light)
        dim = replace(crop, pixels=pixels, lab=lab(pixels))
        place = describe(dim)
        levels.append(place.brightest)
        assert np.allclose(place.average[1:], describe(crop).average[1:])
        white = np.where(crop.unknown[..., None], np.float32(100), dim.lab)
        assert describe(replace(dim, lab=white)).brightest == pytest.approx(place.brightest, abs=2.5)
    assert levels[0] + 10 < levels[1] < levels[2] - 10
    assert levels[2] <= 100


def test_an_average_cheek_is_darker_in_a_darker_scene():
    dark, grey, white = (describe(plain_crop(level)).average for level in (30, 128, 255))
    assert dark[0] + 10 < grey[0] < white[0]
    assert 45 < white[0] < 80
    assert np.isfinite(describe(plain_crop(0)).average).all()


def test_a_mirrored_crop_has_mirrored_surroundings():
    crop = plain_crop(scenery(96, 96, seed=3, cell_px=12))
    flipped = Crop(
        np.ascontiguousarray(crop.pixels[:, ::-1]),
        np.ascontiguousarray(crop.lab[:, ::-1]),
        np.ascontiguousarray(crop.unknown[:, ::-1]),
        np.ascontiguousarray(crop.distance[:, ::-1]),
        landmarks.mirror(crop.points, 96),
        None,
        1.0,
    )
    one, two = describe(crop), describe(flipped)
    assert (one.known ^ two.known[:, ::-1]).mean() < 0.01
    assert np.abs(one.lab - two.lab[:, ::-1]).mean() < 0.05
    assert np.allclose(one.tone, two.tone, atol=0.3)
