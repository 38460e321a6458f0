"""Crops: where they lie, what they hold, how far a pixel is from the mask, and the way back into the image."""

from __future__ import annotations

import math
from dataclasses import replace

import cv2
import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from replacement_scenes import crop_of, erased, regions, scenery, turned
from scipy.ndimage import distance_transform_edt

from anon_batch import geometry
from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import CONTEXT, SIDES, extract, frame_of, paste, warp_affine
from anon_batch.anonymize.faces.colour import rgb_to_lab
from anon_batch.face_shape import upright_sides

ANGLES = [0, 17, -40, 90, 135, 180]
ROLLS = [0, 17, -40]  # of masks of the shape `face`
SHAPES = ["ellipse", "rectangle", "face"]
SMALL, MIDDLE, LARGE = (112.0, 118.0, 142.0, 148.0), (100.0, 98.0, 150.0, 162.0), (66.0, 52.0, 185.0, 194.0)
BOXES = pytest.mark.parametrize("box", [SMALL, MIDDLE, LARGE], ids=["small", "middle", "large"])


def face(box, degrees=0.0, *, width=256, height=256, shape="ellipse", expansion=1.3):
    points = [turned(box, degrees)]
    return regions(box, width=width, height=height, shape=shape, expansion=expansion, points=points)[0]


def whole(pixels, region, side=None):
    """The crop of an image without any mask."""
    return extract(pixels, np.zeros(pixels.shape[:2], bool), frame_of(region, side), region)


def ramp(side=256):
    """Red is x, green is y, blue falls with x, each a level a pixel."""
    line = np.arange(side, dtype=np.uint8)
    across = np.broadcast_to(line, (side, side))
    return np.stack([across, across.T, 255 - across], axis=2)


def places(frame):
    """Image coordinates (side, side, 2) of the centres of a crop's pixels."""
    grid = np.arange(frame.side) + 0.5
    centres = np.stack(np.meshgrid(grid, grid), axis=-1)
    seen = landmarks.apply(landmarks.inverse(frame.to_crop), centres.reshape(-1, 2))
    return seen.reshape(frame.side, frame.side, 2)


def test_a_crop_of_the_image_s_own_scale_holds_its_very_pixels():
    pixels = scenery(200, 240, seed=1)
    box = (80, 60, 144, 124)
    region = face(box, width=240, height=200, expansion=1.0)
    frame = frame_of(region)
    assert (frame.side, frame.side_px, frame.scale) == (96, 96.0, 1.0)
    crop = whole(pixels, region)
    assert np.array_equal(crop.pixels, pixels[44:140, 64:160])
    assert not crop.unknown.any()
    assert np.array_equal(crop.lab, rgb_to_lab(crop.pixels))
    masked = crop_of(pixels, region)
    assert np.array_equal(masked.pixels[~masked.unknown], crop.pixels[~masked.unknown])
    under = geometry.union_of_masks([region], 240, 200)[44:140, 64:160]
    assert np.array_equal(masked.unknown, under)


@pytest.mark.parametrize("degrees", ANGLES)
@BOXES
def test_crop_shows_each_place_where_the_frame_puts_it(box, degrees):
    region = face(box, degrees)
    crop = whole(ramp(), region)
    x, y = np.moveaxis(places(frame_of(region)), -1, 0)
    inside = (np.minimum(x, y) > 3) & (np.maximum(x, y) < 253) & ~crop.unknown
    assert inside.mean() > 0.5
    expected = np.stack([x, y, 256 - x], axis=-1) - 0.5  # the first pixel's centre, of value 0, lies at 0.5
    difference = (crop.pixels - expected)[inside]
    assert np.abs(difference).max() < 0.6
    assert np.abs(difference.mean(axis=0)).max() < 0.02


@pytest.mark.parametrize("side", SIDES)
@pytest.mark.parametrize("degrees", [0, -40, 135])
@BOXES
def test_paste_of_a_crop_is_not_shifted(box, degrees, side):
    region = face(box, degrees)
    x1, y1, x2, y2 = region.extent
    back = paste(whole(ramp(), region, side).pixels, frame_of(region, side), region.extent)
    assert back.shape == (y2 - y1, x2 - x1, 3)
    assert back.dtype == np.float32
    difference = (back - ramp()[y1:y2, x1:x2])[geometry.region_mask(region)]
    assert np.abs(difference).max() < 1.5
    assert np.abs(difference.mean(axis=0)).max() < 0.05


@pytest.mark.parametrize("degrees", [0, 17, 135])
@pytest.mark.parametrize("box", [(280, 290, 300, 316), (250, 240, 330, 350), (150, 140, 440, 450)])
def test_smooth_image_survives_the_round_trip(box, degrees):
    pixels = scenery(600, 600, seed=3, cell_px=100)
    region = face(box, degrees, width=600, height=600)
    x1, y1, x2, y2 = region.extent
    back = paste(whole(pixels, region).pixels, frame_of(region), region.extent)
    difference = np.abs(back - pixels[y1:y2, x1:x2])[geometry.region_mask(region)]
    assert difference.max() <= 4
    assert difference.mean() < 0.7


@pytest.mark.parametrize("side_px", [20, 40, 63, 65, 95, 97, 150, 250, 260, 500])
def test_a_crop_is_not_smaller_than_its_place_in_the_image_while_there_is_a_larger_one(side_px):
    box_px = side_px / CONTEXT
    frame = frame_of(face((300, 300, 300 + box_px, 300 + box_px), expansion=1.0, width=900, height=900))
    assert frame.side == min([side for side in SIDES if side >= side_px], default=max(SIDES))
    side = frame.side
    assert frame.side_px == pytest.approx(side_px, abs=1e-3)
    assert frame.scale == pytest.approx(side_px / side, rel=1e-4)


@pytest.mark.parametrize("degrees", ANGLES)
def test_frame_turns_the_face_upright(degrees):
    region = face(LARGE, degrees)
    frame = frame_of(region)
    seen = landmarks.apply(frame.to_crop, turned(LARGE, degrees))
    pose = landmarks.similarity(landmarks.CANONICAL, seen)
    assert abs(pose[1, 0]) < 1e-4  # no turn is left; landmarks are float32
    assert pose[0, 0] > 0
    assert frame.angle == pytest.approx(
        math.atan2(math.sin(math.radians(degrees)), math.cos(math.radians(degrees))), abs=1e-5
    )
    assert np.allclose(landmarks.apply(frame.to_crop, np.array([region.centre])), frame.side / 2)
    assert np.allclose(whole(ramp(), region).points, seen, atol=1e-4)


def test_the_crop_of_a_face_mask_is_turned_by_the_angle_of_the_mask():
    profile = landmarks.CANONICAL.copy()
    profile[1] = np.add(profile[0], (0.02, 0.04))
    points = (profile - 0.5) * 60 + 130
    (region,) = regions((100, 100, 160, 160), width=256, height=256, shape="face", points=[points])
    assert region.shape == "face"
    to_crop = frame_of(region).to_crop
    assert np.arctan2(-to_crop[1, 0], to_crop[0, 0]) == pytest.approx(region.angle)


@pytest.mark.parametrize("degrees", ROLLS)
def test_a_well_found_face_has_its_upright_box(degrees):
    region = face(MIDDLE, degrees, shape="face", expansion=1.15)
    assert region.shape == "face"
    crop = whole(ramp(), region)
    across, down = (side / crop.scale for side in upright_sides(50, 64, region.angle))
    assert np.allclose(crop.box[2:] - crop.box[:2], (across, down))
    assert np.allclose(crop.box[:2] + crop.box[2:], crop.side)
    assert whole(ramp(), face(MIDDLE, degrees)).box is None


@given(
    st.floats(-180, 180),
    st.floats(4, 300),
    st.floats(0.3, 3),
    st.floats(-50, 300),
    st.floats(-50, 300),
    st.sampled_from(SHAPES),
)
@example(45, 60, 1, 100, 100, "rectangle")
@example(-135, 60, 1, 100, 100, "ellipse")
@example(40, 60, 1.3, 100, 100, "face")
def test_the_mask_lies_inside_the_crop_at_any_rotation(degrees, width, aspect, x, y, shape):
    region = face((x, y, x + width, y + width * aspect), degrees, width=300, height=300, shape=shape)
    (cx, cy), (rx, ry) = region.centre, region.radii
    turn = np.linspace(0, 2 * np.pi, 65)
    u, v = np.cos(turn), np.sin(turn) * (np.where(np.sin(turn) > 0, 1.06, 1) if region.shape == "face" else 1)
    corners = np.stack([u * rx, v * ry], axis=1)
    if region.shape == "rectangle":
        corners = np.array([[-rx, -ry], [rx, -ry], [-rx, ry], [rx, ry]])
    cosine, sine = math.cos(region.angle), math.sin(region.angle)
    seen = corners @ np.array([[cosine, sine], [-sine, cosine]]) + (cx, cy)
    frame = frame_of(region)
    inside = landmarks.apply(frame.to_crop, seen)
    assert inside.min() >= 0
    assert inside.max() <= frame.side


@pytest.mark.parametrize("shape", ["ellipse", "face"])
@pytest.mark.parametrize("degrees", ROLLS)
@BOXES
def test_the_distance_has_the_sign_of_the_mask(box, degrees, shape):
    region = face(box, degrees, shape=shape)
    assert region.shape == shape
    distance = whole(ramp(), region).distance
    frame = frame_of(region)
    x, y = np.moveaxis(np.floor(places(frame)).astype(int), -1, 0).clip(0, 255)
    masked = geometry.union_of_masks([region], 256, 256)[y, x]
    # A mask holds every pixel that it touches, so a place of it lies within a pixel's diagonal, and 0.21 px more of the shape
    # `face`, of the border.
    clear = np.abs(distance) * frame.scale > 1.7
    assert clear.mean() > 0.6
    assert np.array_equal(distance[clear] < 0, masked[clear])
    assert masked[distance < -0.1].all()


@settings(deadline=None, max_examples=40)
@given(st.floats(-44, 44), st.floats(17, 150), st.floats(0.8, 1.6))
def test_the_distance_is_one_in_pixels_of_the_crop(degrees, width, aspect):
    box = (100, 100, 100 + width, 100 + width * aspect)
    region = face(box, degrees, width=500, height=500, shape="face")
    crop = whole(ramp(256), region)
    distance = crop.distance
    inside = distance < 0
    exact = np.where(inside, -distance_transform_edt(inside) + 0.5, distance_transform_edt(~inside) - 0.5)
    near = np.abs(exact) < 0.06 * crop.side
    assert np.abs(distance - exact)[near].max() < 1.0 + 0.008 * crop.side
    assert np.isfinite(distance).all()
    far = exact > 3
    assert (distance[far] > 0).all()
    assert distance.min() < -0.15 * crop.side
    assert distance.max() > 0.1 * crop.side


@pytest.mark.parametrize("shape", SHAPES)
@pytest.mark.parametrize("degrees", [0, 17, -40])
@pytest.mark.parametrize("side_px", [4, 9, 30, 150])
def test_paste_covers_the_whole_mask(side_px, degrees, shape):
    region = face((90, 90, 90 + side_px, 90 + side_px), degrees, shape=shape)
    frame = frame_of(region)
    back = paste(np.full((frame.side, frame.side, 3), 255, np.float32), frame, region.extent)
    assert back[geometry.region_mask(region)].min() >= 254


def test_paste_continues_the_border_of_a_crop():
    # A wide soft edge reaches further than a crop does.
    frame = frame_of(face((100, 100, 140, 150), 45))
    back = paste(np.full((frame.side, frame.side, 3), 180, np.float32), frame, (0, 0, 256, 256))
    assert np.abs(back - 180).max() < 1e-3


@pytest.mark.parametrize("degrees", [0, 30])
@BOXES
def test_erased_values_do_not_bleed_into_the_crop(box, degrees):
    pixels = np.empty((256, 256, 3), np.uint8)
    pixels[:] = (200, 150, 100)
    region = face(box, degrees, shape="face")
    black, unknown = erased(pixels, [region])
    crop = extract(black, unknown, frame_of(region), region)
    assert np.abs(crop.pixels - (200, 150, 100)).max() < 1.1
    assert crop.pixels.dtype == crop.lab.dtype == crop.distance.dtype == np.float32
    # Every pixel of the crop whose place lies under the mask is unknown.
    x, y = np.moveaxis(np.floor(places(frame_of(region))).astype(int), -1, 0)
    inside = (np.minimum(x, y) >= 0) & (np.maximum(x, y) < 256)
    under = np.zeros_like(inside)
    under[inside] = unknown[y[inside], x[inside]]
    assert under.any()
    assert crop.unknown[under].all()
    assert crop.unknown[~inside].all()
    assert not crop.unknown.all()


def test_masks_of_other_faces_are_unknown():
    found = regions((100, 100, 140, 140), (145, 100, 170, 140), width=256, height=256, shape="rectangle")
    frame = frame_of(found[0])
    black, unknown = erased(scenery(256, 256), found)
    crop = extract(black, unknown, frame, found[0])
    x, y = np.moveaxis(np.floor(places(frame)).astype(int), -1, 0)
    neighbour = (x >= 143) & unknown[y, x]
    assert neighbour.any()
    assert crop.unknown[neighbour].all()
    assert (crop.distance[neighbour] > 0).any(), "the distance is that from the face's own mask"


@pytest.mark.parametrize("box", [(-20, 40, 40, 110), (200, 190, 280, 290), (60, -40, 130, 20)])
@pytest.mark.parametrize("degrees", [0, 25])
def test_pixels_outside_the_image_are_unknown_and_rebuilt(box, degrees):
    pixels = np.empty((256, 256, 3), np.uint8)
    pixels[:] = (90, 120, 160)
    region = face(box, degrees, shape="face")
    frame, crop = frame_of(region), crop_of(pixels, region)
    place = places(frame)
    outside = (place.min(axis=-1) < 0) | (place.max(axis=-1) > 256)
    assert 0.05 < outside.mean() < 0.9
    assert crop.unknown[outside].all()
    assert np.abs(crop.pixels - (90, 120, 160)).max() < 1.1
    assert np.abs(paste(crop.pixels, frame, region.extent) - (90, 120, 160)).max() <= 1.1


@pytest.mark.parametrize("shape", SHAPES)
def test_crop_without_a_known_pixel_is_grey(shape):
    region = face(LARGE, shape=shape)
    crop = extract(np.zeros((256, 256, 3), np.uint8), np.ones((256, 256), bool), frame_of(region), region)
    assert crop.unknown.all()
    assert (crop.pixels == 127).all()


@pytest.mark.parametrize("box", [(900, 900, 1300, 1300), (-900, 20, -850, 80), (50, 9000, 51, 9001)])
def test_frame_outside_the_image_shows_nothing(box):
    region = face(box)
    crop = whole(scenery(256, 256), region)
    assert crop.unknown.all()
    assert np.isfinite(crop.distance).all()


COORDINATES = st.floats(-3000, 3000, width=32)


@settings(deadline=None, max_examples=60)
@given(
    st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES),
    st.integers(1, 70),
    st.integers(1, 70),
    st.floats(-180, 180),
    st.sampled_from(SHAPES),
)
@example((20, 20, 20, 20), 40, 40, 0, "face")  # no size
@example((20, 20, 21, 21), 40, 40, 0, "ellipse")  # one pixel
@example((-800, -800, 900, 900), 60, 50, 30, "ellipse")
@example((-3000, -3000, 3000, 3000), 1, 1, 30, "rectangle")
def test_any_box_has_a_crop_of_finite_values(box, width, height, degrees, shape):
    x1, y1, x2, y2 = box
    (region,) = regions(
        box,
        width=width,
        height=height,
        shape=shape,
        points=[turned((min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)), degrees)],
    )
    pixels = np.random.default_rng(width * height).integers(0, 256, (height, width, 3), np.uint8)
    frame, crop = frame_of(region), crop_of(pixels, region)
    side = frame.side
    assert crop.pixels.shape == crop.lab.shape == (side, side, 3)
    assert crop.unknown.shape == crop.distance.shape == (side, side)
    for values in (crop.pixels, crop.lab, crop.distance, crop.points):
        assert np.isfinite(values).all()
    assert crop.pixels.min() >= 0
    assert crop.pixels.max() <= 255.01
    place = places(frame)
    outside = (place.min(axis=-1) < 0) | (place[..., 0] > width) | (place[..., 1] > height)
    assert crop.unknown[outside].all()
    back = paste(crop.pixels, frame, region.extent)
    assert back.shape[:2] == (region.extent[3] - region.extent[1], region.extent[2] - region.extent[0])
    assert np.isfinite(back).all()


@settings(deadline=None, max_examples=25)
@given(st.floats(10, 200), st.floats(-40, 40), st.integers(0, 2**32), st.sampled_from(SHAPES))
def test_pixels_under_the_mask_change_no_byte_of_a_crop(width, degrees, seed, shape):
    rng = np.random.default_rng(seed)
    pixels = rng.integers(0, 256, (300, 320, 3), np.uint8)
    region = face((100, 80, 100 + width, 80 + 1.3 * width), degrees, width=320, height=300, shape=shape)
    one = crop_of(pixels, region)
    other = pixels.copy()
    mask = geometry.union_of_masks([region], 320, 300)
    other[mask] = rng.integers(0, 256, (mask.sum(), 3))
    two = crop_of(other, region)
    assert one.pixels.tobytes() == two.pixels.tobytes()
    assert one.lab.tobytes() == two.lab.tobytes()


@pytest.mark.parametrize("scale", [0.31, 0.5, 1.0, 2.3])
@pytest.mark.parametrize("border", [cv2.BORDER_CONSTANT, cv2.BORDER_REPLICATE])
def test_warp_does_not_shift(scale, border):
    line = np.arange(200, dtype=np.float32)
    across = np.broadcast_to(line, (200, 200)).copy()
    side = int(200 * scale) - 4
    made = warp_affine(across, np.array([[scale, 0, 0], [0, scale, 0]]), side, border)
    x = (np.arange(side) + 0.5) / scale - 0.5
    inside = slice(3, -3)
    assert np.abs(made[side // 2, inside] - x[inside]).max() < 0.6 / min(scale, 1)
    assert abs((made[side // 2, inside] - x[inside]).mean()) < 0.05
    down = warp_affine(np.ascontiguousarray(across.T), np.array([[scale, 0, 0], [0, scale, 0]]), side, border)
    assert np.allclose(down, made.T, atol=0.05)


def test_warp_continues_the_border_of_an_image_or_gives_zeros():
    pixels = np.zeros((40, 40, 3), np.uint8)
    pixels[:, 20:] = 200
    shift = np.array([[1.0, 0, 10], [0, 1, 10]])
    moved = warp_affine(pixels, shift, 60, cv2.BORDER_REPLICATE)
    assert moved.shape == (60, 60, 3)
    assert moved.dtype == np.float32
    assert (moved[:, 32:] == 200).all()
    assert (moved[:, :29] == 0).all()
    assert (warp_affine(pixels, shift, 60, cv2.BORDER_CONSTANT)[:, 50:] == 0).all()


def test_downscaling_takes_means_over_areas():
    checks = np.indices((200, 200)).sum(axis=0) % 2 * 255
    small = warp_affine(checks.astype(np.uint8), np.array([[0.1, 0, 0], [0, 0.1, 0]]), 20, cv2.BORDER_REPLICATE)
    assert np.abs(small - 127.5).max() < 3


def test_an_image_without_landmarks_gets_canonical_ones():
    region = replace(face(MIDDLE), landmarks=None)
    crop = whole(ramp(), region)
    frame = frame_of(region)
    corner, size = np.array(MIDDLE[:2]), np.array([50.0, 64.0])
    assert np.allclose(crop.points, landmarks.apply(frame.to_crop, corner + landmarks.CANONICAL * size), atol=1e-3)
    assert frame.angle == pytest.approx(0, abs=1e-6)
