"""`plate` on drawn cars; that it never sees what it hides is in tests/contracts and tests/properties."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_plates import PLATE, car_with_plate
from method_harness import KEY, make, run_method
from shifted_memory import numpy_memory_at, shifted

from anon_batch.anonymize.ladder import Ladder
from anon_batch.anonymize.plates.place import aspect_of, corners_of
from anon_batch.anonymize.plates.surroundings import look_around
from anon_batch.anonymize.policy import Policy, Treatment
from anon_batch.anonymize.render import render
from anon_batch.config.anonymize import TreatmentConfig
from anon_batch.errors import ConfigError
from anon_batch.geometry import crop, union_of_masks
from anon_batch.records import DecodedImage, Detections

TURNED = ((190, 312), (322, 330), (320, 366), (188, 348))  # corners, clockwise from the top left


def region_at(corners=None, box=PLATE, size=(512, 512)):
    """Return the region of one plate as the default policy makes it."""
    marks = np.full((1, 5, 2), np.nan, np.float32)
    if corners is not None:
        points = np.float32(corners)
        box = (*points.min(axis=0).tolist(), *points.max(axis=0).tolist())
        marks[0] = [points[0], points[1], points.mean(axis=0), points[3], points[2]]
    found = Detections(np.float32([box]), np.ones(1, np.float32), marks, ("d",), ("licence_plate",))
    return Policy({"licence_plate": Treatment("plate")}).regions_of(found, size[1], size[0])[0]


def plate_on(pixels, region, image_id="car", **options):
    [result] = run_method(make("plate", **options), [(DecodedImage(image_id, pixels), [region])])
    return result


def test_the_mask_is_a_rectangle_of_one_and_a_half_times_the_box():
    region = region_at()
    assert (region.shape, region.edge_px) == ("rectangle", 0)
    x1, y1, x2, y2 = PLATE
    width, height = region.mask_extent[2] - region.mask_extent[0], region.mask_extent[3] - region.mask_extent[1]
    assert (width, height) == pytest.approx((1.5 * (x2 - x1), 1.5 * (y2 - y1)), abs=2)


def test_a_plate_with_dark_text_on_light_ground_is_where_the_old_one_was():
    region = region_at()
    shown = crop(plate_on(car_with_plate(), region).pixels, tuple(map(int, PLATE)))
    luma = shown.mean(axis=2)
    assert np.percentile(luma, 80) > 60, "a ground lighter than the car"
    assert np.percentile(luma, 5) < 0.6 * np.percentile(luma, 80), "text"


def test_an_image_its_region_and_the_seed_give_design_and_text():
    region, pixels = region_at(), car_with_plate()
    shown = [plate_on(pixels, region, image_id).pixels for image_id in ("a", "a", "b", "c")]
    assert np.array_equal(shown[0], shown[1])
    assert not np.array_equal(shown[0], shown[2])
    assert not np.array_equal(shown[2], shown[3])


def test_a_turned_plate_is_turned():
    pixels = car_with_plate()
    region = region_at(TURNED)
    shown = plate_on(pixels, region).pixels.mean(axis=2)
    for x, y in ((197, 318), (314, 360)):  # in corners of the plate, outside of an upright one of its size
        assert shown[y, x] > 60
    x1, y1, x2, y2 = map(int, region.box)
    for x, y in ((x2 - 6, y1 + 2), (x1 + 6, y2 - 2)):  # in the corners of its box that it leaves free
        assert shown[y, x] < 60


def test_corners_that_no_plate_has_are_not_believed():
    straight = corners_of(region_at())
    for order in ((1, 0, 2, 3), (3, 2, 1, 0)):  # crossed, and mirrored
        crossed = replace(region_at(TURNED), landmarks=None)
        wrong = region_at([TURNED[at] for at in order])
        assert np.array_equal(corners_of(wrong), corners_of(replace(crossed, box=wrong.box)))
    assert aspect_of(straight) == pytest.approx((PLATE[2] - PLATE[0]) / (PLATE[3] - PLATE[1]))


@pytest.mark.parametrize("side", [8, 12, 20, 40])
def test_small_plates_are_drawn(side):
    x, y = 240, 340
    region = region_at(box=(x, y, x + side, y + side // 3))
    result = plate_on(car_with_plate(), region)
    assert result.methods == {0: "plate"}
    shown = crop(result.pixels, region.mask_extent).astype(int)
    assert shown.max() > 60


@pytest.mark.parametrize(
    ("box", "reason"),
    [
        ((240, 340, 247, 342), "too small"),
        ((240, 340, 400, 350), "16 times as wide"),
        ((240, 240, 260, 340), "0.2 times as wide"),
        ((-1e30, -1e30, 1e30, 1e30), "too large"),
        ((-2000, -2000, 2500, 2500), "outside the masks"),
    ],
)
def test_what_cannot_be_a_plate_goes_to_the_next_method(box, reason):
    result = plate_on(car_with_plate(), region_at(box=box))
    assert result.methods == {}
    assert reason in result.refused[0]


def test_the_fallbacks_see_nothing_either():
    assert TreatmentConfig(method="plate").ladder == ("plate", "inpaint", "solid")


def test_options_are_checked():
    with pytest.raises(ConfigError, match=r"anonymize.options.plate.characters"):
        make("plate", characters="greek")


def _scene(white, blur_px=0.0, grain=0.0, size=(200, 300)):
    rng = np.random.default_rng(0)
    pixels = np.full((*size, 3), 0.25 * white, np.float64)
    pixels[:, ::40] = white
    pixels[::50] = white
    pixels[:60] = white
    if blur_px:
        pixels = cv2.GaussianBlur(pixels, (0, 0), blur_px)
    pixels += rng.normal(0, grain, pixels.shape[:2])[:, :, None] if grain else 0
    return pixels.clip(0, 255).astype(np.uint8)


def test_light_blur_and_grain_are_those_of_the_surroundings():
    extent, erased = (110, 80, 190, 120), np.zeros((200, 300), np.bool_)
    erased[80:120, 110:190] = True

    def look(**how):
        return look_around(np.where(erased[:, :, None], 0, _scene(**how)).astype(np.uint8), erased, extent)

    assert look(white=220).white.mean() == pytest.approx(220, rel=0.1)
    assert look(white=110).white.mean() == pytest.approx(110, rel=0.1)
    blurs = [look(white=220, blur_px=blur).blur_px for blur in (0.6, 1.2, 2.4)]
    assert blurs == pytest.approx([0.6, 1.2, 2.4], rel=0.35)
    grains = [look(white=180, grain=grain).grain for grain in (1, 4, 9)]
    assert grains == pytest.approx([1, 4, 9], rel=0.35, abs=0.6)
    assert look_around(np.zeros((200, 300, 3), np.uint8), np.ones((200, 300), np.bool_), extent) is None


def test_the_grain_reaches_the_plate():
    rng = np.random.default_rng(1)
    smooth = car_with_plate()
    noisy = (smooth + rng.normal(0, 8, smooth.shape[:2])[:, :, None]).clip(0, 255).astype(np.uint8)
    region = region_at()
    x1, y1 = region.mask_extent[:2]
    corner = np.s_[y1 + 1 : y1 + 7, x1 + 1 : x1 + 12]  # behind the plate
    assert plate_on(noisy, region).pixels[corner].std() > plate_on(smooth, region).pixels[corner].std() + 2


def test_key_decides():
    region, image = region_at(), DecodedImage("car", car_with_plate())
    first, other = (run_method(make("plate"), [(image, [region])], key)[0].pixels for key in (KEY, bytes(32)))
    assert not np.array_equal(first, other)


@pytest.mark.parametrize("face_method", ["solid", "inpaint", "pixelate", "blur"])
def test_where_masks_of_a_face_and_a_plate_overlap_the_one_that_sees_nothing_is_on_top(face_method):
    """Methods that see no original go first, faces before plates, and what is done stays: no pixel of either shows through."""
    policy = Policy({"face": Treatment(face_method, shape="rectangle"), "licence_plate": Treatment("plate")})
    marks = np.full((2, 5, 2), np.nan, np.float32)
    boxes = np.float32([[270, 250, 360, 340], PLATE])
    found = Detections(boxes, np.ones(2, np.float32), marks, ("d", "d"), ("face", "licence_plate"))
    regions = policy.regions_of(found, 512, 512)
    methods = {name: make(name) for name in policy.methods}
    image = DecodedImage("car", car_with_plate())
    face, plate = (union_of_masks([region], 512, 512) for region in regions)
    assert (face & plate).any()
    outcomes = [Ladder(policy, methods).anonymize([(image, own)], KEY)[0] for own in (regions, regions[::-1])]
    assert [outcome.methods for outcome in outcomes] == [{0: face_method, 1: "plate"}] * 2
    assert np.array_equal(outcomes[0].pixels, outcomes[1].pixels)
    assert (outcomes[0].touched == face | plate).all()
    first = methods[face_method if face_method in ("solid", "inpaint") else "plate"]
    [answers] = render(first, [(image, regions)], KEY)
    region = regions[0] if first.name == face_method else regions[1]
    x1, y1, x2, y2 = region.extent
    alone = np.zeros((512, 512, 3), np.uint8)
    alone[y1:y2, x1:x2] = answers[region.index].pixels
    assert np.array_equal(outcomes[0].pixels[face & plate], alone[face & plate])


@pytest.mark.parametrize("offset", [4, 16, 36])
def test_the_memory_alignment_of_arrays_changes_no_pixel(offset):
    region, pixels = region_at(TURNED), car_with_plate()
    expected = plate_on(pixels, region).pixels
    with numpy_memory_at(offset):
        found = plate_on(shifted(pixels, offset), region).pixels
    assert np.array_equal(found, expected)
