"""Crops: where they lie, what they hold, and the way back into the image."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from replacement_scenes import erased, regions, scenery, turned

from anon_batch import geometry
from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import CROP_SIDE, downscale_unknown, extract, frame_of, paste

ANGLES = [0, 17, -40, 45, 90, 135, 180]
SIDES = [CROP_SIDE, 2 * CROP_SIDE]
SMALL, LARGE = (112.0, 118.0, 142.0, 148.0), (66.0, 62.0, 185.0, 184.0)  # crops of them are enlarged and reduced


def face(box, degrees=0.0, *, width=256, height=256, shape="ellipse"):
    return regions(box, width=width, height=height, shape=shape, points=[turned(box, degrees)])[0]


def whole(pixels, region, side):
    """The crop of a image without any mask."""
    return extract(pixels, np.zeros(pixels.shape[:2], bool), frame_of(region), side)


def ramp(side=256):
    """Red is x, green is y, blue falls with x, each a level a pixel."""
    line = np.arange(side, dtype=np.uint8)
    across = np.broadcast_to(line, (side, side))
    return np.stack([across, across.T, 255 - across], axis=2)


def shift(difference, of_the_negative):
    """By how many px a ramp has moved, from how its values and its negative's (n, 3) differ: what brightens cancels out."""
    return float(np.abs((difference - of_the_negative).mean(axis=0)).max() / 2)


def places(frame, side):
    """Image coordinates (side, side, 2) of the centres of a crop's pixels."""
    grid = np.arange(side) + 0.5
    centres = np.stack(np.meshgrid(grid, grid), axis=-1)
    return landmarks.apply(landmarks.inverse(frame.to_crop * side), centres.reshape(-1, 2)).reshape(side, side, 2)


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("degrees", ANGLES)
@pytest.mark.parametrize("box", [SMALL, LARGE], ids=["small", "large"])
def test_crop_shows_each_place_where_the_frame_puts_it(box, degrees, side):
    region = face(box, degrees)
    crop, negative = whole(ramp(), region, side), whole(255 - ramp(), region, side)
    x, y = np.moveaxis(places(frame_of(region), side), -1, 0)
    inside = (np.minimum(x, y) > 3) & (np.maximum(x, y) < 253) & ~crop.unknown
    assert inside.mean() > 0.6
    expected = np.stack([x, y, 256 - x], axis=-1) - 0.5  # the first pixel's centre, of value 0, lies at 0.5
    differences = (crop.pixels - expected)[inside], (negative.pixels - (255 - expected))[inside]
    assert np.abs(differences).max() < 0.6  # the mean of two neighbours of a ramp of bytes is rounded by half a level
    assert shift(*differences) < 0.02


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("degrees", ANGLES)
@pytest.mark.parametrize("box", [SMALL, LARGE], ids=["small", "large"])
def test_paste_of_a_crop_is_not_shifted(box, degrees, side):
    region = face(box, degrees)
    x1, y1, x2, y2 = region.extent
    differences = []
    for pixels in (ramp(), 255 - ramp()):
        back = paste(whole(pixels, region, side).pixels, frame_of(region), region.extent)
        assert back.shape == (y2 - y1, x2 - x1, 3)
        assert back.dtype == np.uint8
        differences.append((back.astype(float) - pixels[y1:y2, x1:x2])[geometry.region_mask(region)])
    assert np.abs(differences).max() <= 1
    assert shift(*differences) < 0.1


@pytest.mark.parametrize("degrees", ANGLES)
@pytest.mark.parametrize("box", [(280, 290, 300, 316), (250, 240, 330, 350), (150, 140, 440, 450)])
def test_smooth_image_survives_the_round_trip(box, degrees):
    pixels = scenery(600, 600, seed=3, cell_px=100)
    region = face(box, degrees, width=600, height=600)
    x1, y1, x2, y2 = region.extent
    back = paste(whole(pixels, region, CROP_SIDE).pixels, frame_of(region), region.extent)
    difference = np.abs(back.astype(float) - pixels[y1:y2, x1:x2])[geometry.region_mask(region)]
    assert difference.max() <= 4
    assert difference.mean() < 0.7


@pytest.mark.parametrize("degrees", ANGLES)
def test_frame_turns_the_face_upright(degrees):
    region = face(LARGE, degrees)
    frame = frame_of(region)
    assert np.allclose(frame.points, landmarks.apply(frame.to_crop, turned(LARGE, degrees)), atol=1e-6)
    pose = landmarks.similarity(landmarks.CANONICAL, frame.points)
    assert abs(pose[1, 0]) < 1e-6  # no turn is left
    assert pose[0, 0] > 0
    right, left, _, mouth, _ = frame.points
    assert right[0] < left[0]
    assert mouth[1] > right[1]
    assert np.allclose(landmarks.apply(frame.to_crop, np.array([region.centre])), 0.5)


def test_landmarks_of_a_crop_are_in_its_pixels():
    region = face(SMALL, 30)
    assert np.allclose(whole(ramp(), region, 256).points, frame_of(region).points * 256)


@given(
    st.floats(-180, 180),
    st.floats(4, 300),
    st.floats(0.3, 3),
    st.floats(-50, 300),
    st.floats(-50, 300),
    st.sampled_from(["ellipse", "rectangle"]),
)
@example(45, 60, 1, 100, 100, "rectangle")
@example(-135, 60, 1, 100, 100, "ellipse")
def test_expanded_box_lies_inside_the_crop_at_any_rotation(degrees, width, aspect, x, y, shape):
    box = (x, y, x + width, y + width * aspect)
    region = face(box, degrees, width=300, height=300, shape=shape)
    (cx, cy), (rx, ry) = region.centre, region.radii
    corners = np.array([[cx - rx, cy - ry], [cx + rx, cy - ry], [cx - rx, cy + ry], [cx + rx, cy + ry]])
    seen = landmarks.apply(frame_of(region).to_crop, corners)
    assert seen.min() >= 0
    assert seen.max() <= 1


def test_the_crop_of_a_face_mask_is_turned_by_the_angle_of_the_mask():
    profile = landmarks.CANONICAL.copy()
    profile[1] = np.add(profile[0], (0.02, 0.04))
    points = (profile - 0.5) * 60 + 130
    (region,) = regions((100, 100, 160, 160), width=256, height=256, shape="face", points=[points])
    assert region.shape == "face"
    to_crop = frame_of(region).to_crop
    assert np.arctan2(-to_crop[1, 0], to_crop[0, 0]) == pytest.approx(region.angle)


@pytest.mark.parametrize("shape", ["ellipse", "rectangle", "face"])
@pytest.mark.parametrize("degrees", ANGLES)
@pytest.mark.parametrize("side_px", [4, 9, 30, 150])
def test_paste_covers_the_whole_mask(side_px, degrees, shape):
    region = face((90, 90, 90 + side_px, 90 + side_px), degrees, shape=shape)
    back = paste(np.full((CROP_SIDE, CROP_SIDE, 3), 255, np.float32), frame_of(region), region.extent)
    assert back[geometry.region_mask(region)].min() >= 254


def test_paste_continues_the_border_of_a_crop():
    # A wide soft edge reaches further than a crop does.
    region = face((100, 100, 140, 150), 45)
    back = paste(np.full((CROP_SIDE, CROP_SIDE, 3), 180, np.float32), frame_of(region), (0, 0, 256, 256))
    assert (back == 180).all()


def test_values_beyond_black_and_white_are_clipped():
    region = face(LARGE)
    crop = np.full((CROP_SIDE, CROP_SIDE, 3), 300, np.float32)
    crop[:64] = -50
    back = paste(crop, frame_of(region), region.extent)
    assert back[0].max() == 0
    assert back[-1].min() == 255


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("degrees", [0, 30])
@pytest.mark.parametrize("box", [SMALL, LARGE], ids=["small", "large"])
def test_erased_values_do_not_bleed_into_the_crop(box, degrees, side):
    pixels = np.empty((256, 256, 3), np.uint8)
    pixels[:] = (200, 150, 100)
    region = face(box, degrees)
    black, unknown = erased(pixels, [region])
    crop = extract(black, unknown, frame_of(region), side)
    assert np.abs(crop.pixels - (200, 150, 100)).max() < 1.1
    assert crop.pixels.dtype == np.float32
    # Every pixel of the crop whose place lies under the mask is unknown.
    x, y = np.moveaxis(np.floor(places(frame_of(region), side)).astype(int), -1, 0)
    inside = (np.minimum(x, y) >= 0) & (np.maximum(x, y) < 256)
    under = np.zeros_like(inside)
    under[inside] = unknown[y[inside], x[inside]]
    assert under.any()
    assert crop.unknown[under].all()
    assert crop.unknown[~inside].all()
    assert not crop.unknown.all()


def test_masks_of_other_faces_are_unknown():
    faces = regions((100, 100, 140, 140), (145, 100, 170, 140), width=256, height=256, shape="rectangle")
    _, unknown = erased(scenery(256, 256), faces)
    crop = extract(*erased(scenery(256, 256), faces), frame_of(faces[0]), CROP_SIDE)
    x, y = np.moveaxis(np.floor(places(frame_of(faces[0]), CROP_SIDE)).astype(int), -1, 0)
    neighbour = (x >= 143) & unknown[y, x]
    assert neighbour.any()
    assert crop.unknown[neighbour].all()


@pytest.mark.parametrize("box", [(-20, 40, 40, 110), (200, 190, 280, 290), (60, -40, 130, 20)])
@pytest.mark.parametrize("degrees", [0, 25])
def test_pixels_outside_the_image_are_unknown_and_rebuilt(box, degrees):
    pixels = np.empty((256, 256, 3), np.uint8)
    pixels[:] = (90, 120, 160)
    region = face(box, degrees)
    black, unknown = erased(pixels, [region])
    crop = extract(black, unknown, frame_of(region), CROP_SIDE)
    place = places(frame_of(region), CROP_SIDE)
    outside = (place.min(axis=-1) < 0) | (place.max(axis=-1) > 256)
    assert 0.05 < outside.mean() < 0.9
    assert crop.unknown[outside].all()
    assert np.abs(crop.pixels - (90, 120, 160)).max() < 1.1
    back = paste(crop.pixels, frame_of(region), region.extent)
    assert np.abs(back.astype(float) - (90, 120, 160)).max() <= 1


def test_crop_without_a_known_pixel_is_grey():
    region = face(LARGE)
    crop = extract(np.zeros((256, 256, 3), np.uint8), np.ones((256, 256), bool), frame_of(region), CROP_SIDE)
    assert crop.unknown.all()
    assert (crop.pixels == 127).all()


def test_frame_outside_the_image_shows_nothing():
    (region,) = regions((900, 900, 1300, 1300), width=256, height=256)
    crop = extract(scenery(256, 256), np.zeros((256, 256), bool), frame_of(region), CROP_SIDE)
    assert crop.unknown.all()


def test_downscale_unknown_keeps_every_unknown_pixel():
    unknown = np.zeros((256, 256), bool)
    unknown[41, 77] = True
    small = downscale_unknown(unknown)
    assert small.shape == (128, 128)
    assert np.argwhere(small).tolist() == [[20, 38]]
    assert not downscale_unknown(np.zeros((128, 128), bool)).any()
