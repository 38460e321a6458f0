"""`swap` in an anonymizer: files of any depth and colour, masks and options, and what is not possible."""

from __future__ import annotations

import io
from dataclasses import fields

import cv2
import numpy as np
import pytest
from PIL import Image
from replacement_scenes import regions, scenery, turned

from anon_batch import Anonymized, Anonymizer
from anon_batch.geometry import union_of_masks
from anon_batch.imaging.source import SourceImage
from anon_batch.records import Detections

KEY = b"k" * 32
WIDTH, HEIGHT = 160, 140
BOX = (50, 40, 100, 106)
SKIN_WALL = np.array([196, 150, 126], np.float32)


def anonymizer(face=None, **options):
    section = {"method": "swap", "fallback": ["solid"], **(face or {})}
    return Anonymizer("manifest", {"face": section, "options": {"swap": options}}, key=KEY)


@pytest.fixture(scope="module")
def made():
    return anonymizer()


def found(*boxes, degrees=8.0, score=0.95):
    n = len(boxes)
    points = np.array([turned(box, degrees) for box in boxes], np.float32)
    return Detections(np.array(boxes, np.float32), np.full(n, score, np.float32), points, ("d",) * n)


def run(anonymizer, source, *boxes, **kind):
    source = SourceImage.from_array("p", source) if isinstance(source, np.ndarray) else SourceImage.open("p", source)
    [outcome] = anonymizer.process([source], detections=[found(*(boxes or (BOX,)), **kind)])
    assert isinstance(outcome, Anonymized), outcome
    return outcome


def middle(pixels, box=BOX):
    """The inner half of a box."""
    x1, y1, x2, y2 = box
    return pixels[(3 * y1 + y2) // 4 : (y1 + 3 * y2) // 4, (3 * x1 + x2) // 4 : (x1 + 3 * x2) // 4]


def photo(seed=1):
    return scenery(HEIGHT, WIDTH, seed=seed, cell_px=30)


def test_a_face_is_replaced_and_said_to_be_synthetic(made):
    outcome = run(made, photo())
    assert dict(outcome.methods) == {0: "swap"}
    assert [(record.method, record.synthetic) for record in outcome.records] == [("swap", True)]
    assert [region.shape for region in outcome.regions] == ["face"]
    changed = (outcome.pixels != photo()).any(axis=2)
    mask = union_of_masks(outcome.regions, WIDTH, HEIGHT)
    assert changed[mask].mean() > 0.95
    assert not (changed & ~outcome.touched).any()
    assert (changed & ~mask).any(), "the seam is free outside the mask"
    assert np.abs(np.diff(middle(outcome.pixels).astype(int), axis=1)).mean() > 1, "there is a face"


def test_traits_of_the_new_face_reach_evaluations_and_no_record(made):
    traits = run(made, photo()).result.traits
    assert set(traits) == {0}
    assert set(traits[0]) == {"age", "sex", "skin"}
    assert "traits" not in {field.name for field in fields(run(made, photo()).records[0])}
    assert (
        anonymizer(face={"method": "solid", "fallback": []})
        .process([SourceImage.from_array("p", photo())], detections=[found(BOX)])[0]
        .result.traits
        == {}
    )


@pytest.mark.parametrize("kind", ["PNG", "TIFF"])
def test_16_bit_colours_keep_their_depth_outside_the_face(made, kind):
    fine = (photo().astype(np.uint16) * 257) ^ np.random.default_rng(0).integers(0, 256, (HEIGHT, WIDTH, 3), np.uint16)
    data = cv2.imencode("." + kind.lower(), fine[:, :, ::-1])[1].tobytes()
    outcome = run(made, data)
    assert dict(outcome.methods) == {0: "swap"}
    encoded = made.encode(outcome)
    back = cv2.imdecode(np.frombuffer(encoded.data, np.uint8), cv2.IMREAD_UNCHANGED)[:, :, ::-1]
    assert back.dtype == np.uint16
    assert np.array_equal(back[~outcome.touched], fine[~outcome.touched])
    mask = union_of_masks(outcome.regions, WIDTH, HEIGHT)
    assert (back != fine).any(axis=2)[mask].mean() > 0.95
    assert np.abs((back[mask] / 257) - outcome.pixels[mask]).max() < 1


def test_16_bit_grey_stays_grey(made):
    grey = photo()[:, :, 0].astype(np.uint16) * 257
    buffer = io.BytesIO()
    Image.fromarray(grey).save(buffer, "PNG")
    outcome = run(made, buffer.getvalue())
    assert dict(outcome.methods) == {0: "swap"}
    back = np.asarray(Image.open(io.BytesIO(made.encode(outcome).data)))
    assert back.ndim == 2
    assert np.array_equal(back[~outcome.touched], grey[~outcome.touched])
    assert middle(back / 257).std() > 3


@pytest.mark.parametrize("mode", ["L", "RGB"])
def test_a_grey_image_gets_a_grey_face(made, mode):
    grey = Image.fromarray(photo()[:, :, 1])
    buffer = io.BytesIO()
    grey.convert(mode).save(buffer, "PNG")
    outcome = run(made, buffer.getvalue())
    assert (outcome.pixels.max(axis=2).astype(int) - outcome.pixels.min(axis=2)).max() <= 2
    assert middle(outcome.pixels).std() > 3
    assert Image.open(io.BytesIO(made.encode(outcome).data)).mode == mode


def faces_of(made, pixels):
    """The median level of the middle of the face that each of five keys gives."""
    outcomes = [run(made.with_key(bytes([value]) * 32), pixels) for value in range(5)]
    return np.array([np.median(middle(outcome.pixels).mean(axis=2)) for outcome in outcomes])


def test_a_dark_image_gets_a_dark_face(made):
    levels = [faces_of(made, (photo() * share).astype(np.uint8)) for share in (1.0, 0.3, 0.04)]
    assert np.median(levels[0]) > np.median(levels[1]) + 30
    assert levels[1].max() < 110
    assert levels[2].max() < 50


@pytest.mark.parametrize("share", [0.04, 0.08, 0.16, 0.32, 0.64])
@pytest.mark.parametrize("is_grey", [False, True])
def test_no_new_face_is_brighter_than_a_dark_image(made, share, is_grey):
    light = np.repeat(photo()[:, :, :1], 3, axis=2) if is_grey else photo()
    # Because smooth and dark pixels have differences of 0 or 1, of which any face keeps many by chance.
    light = (light + np.random.default_rng(0).normal(0, 30, (HEIGHT, WIDTH, 1))).clip(0, 255).astype(np.uint8)
    pixels = (light * share).astype(np.uint8)
    outcome = run(made, pixels)
    assert dict(outcome.methods) == {0: "swap"}
    assert outcome.pixels.max() == pixels.max()
    usual = middle(run(made, light).pixels).mean() / light.mean()
    assert middle(outcome.pixels).mean() / pixels.mean() == pytest.approx(usual, rel=0.35)
    assert middle(outcome.pixels).std() / share > 3, "there is a face"


def test_what_is_under_the_mask_does_not_say_whether_an_image_is_dark(made):
    dark = (photo() * 0.1).astype(np.uint8)
    outcome = run(made, dark)
    bright = dark.copy()
    bright[union_of_masks(outcome.regions, WIDTH, HEIGHT)] = 255
    again = run(made, bright)
    assert np.array_equal(again.pixels[outcome.touched], outcome.pixels[outcome.touched])


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 16])
@pytest.mark.parametrize("channels", [1, 3])
def test_a_face_keeps_the_range_of_fewer_bits_in_16(made, bits, channels):
    top = (1 << bits) - 1
    samples = (photo()[:, :, ::-1] / 255 * top).astype(np.uint16)
    samples = samples[:, :, 1] if channels == 1 else samples
    data = cv2.imencode(".png", samples)[1].tobytes()
    outcome = run(made, data)
    assert dict(outcome.methods) == {0: "swap"}
    back = cv2.imdecode(np.frombuffer(made.encode(outcome).data, np.uint8), cv2.IMREAD_UNCHANGED)
    assert np.array_equal(back[~outcome.touched], samples[~outcome.touched])
    assert back[outcome.touched].max() <= samples.max() * 1.01 + 1
    assert middle(back).std() > 0.02 * top


@pytest.mark.parametrize("light", [0.35, 1.0, 1.25])
def test_a_face_among_skin_is_about_as_light_as_it(made, light):
    colour = (SKIN_WALL * light).clip(0, 255)
    noise = np.random.default_rng(0).normal(0, 2, (HEIGHT, WIDTH, 3))
    levels = faces_of(made, (noise + colour).clip(0, 255).astype(np.uint8))
    assert np.median(levels) == pytest.approx(colour.mean(), abs=45)


@pytest.mark.parametrize("level", [0, 1, 127, 254, 255])
def test_black_white_and_plain_images_are_anonymized(made, level):
    plain = np.full((HEIGHT, WIDTH, 3), level, np.uint8)
    outcome = run(made, plain)
    assert set(outcome.methods.values()) <= {"swap", "solid"}
    mask = union_of_masks(outcome.regions, WIDTH, HEIGHT)
    assert outcome.touched[mask].all()
    away = np.ones((HEIGHT, WIDTH), bool)
    x1, y1, x2, y2 = outcome.regions[0].extent
    away[y1:y2, x1:x2] = False
    assert (outcome.pixels[away] == level).all()
    if outcome.methods[0] == "swap":
        assert (outcome.pixels.max(axis=2).astype(int) - outcome.pixels.min(axis=2)).max() <= 2


@pytest.mark.parametrize("shape", ["face", "ellipse", "rectangle"])
@pytest.mark.parametrize("soft_edge", [0, 0.1])
def test_every_shape_and_edge_is_rendered(shape, soft_edge):
    expansion = {} if shape == "face" else {"expansion": 1.3}
    own = anonymizer({"shape": shape, "soft_edge": soft_edge, **expansion})
    outcome = run(own, photo())
    assert dict(outcome.methods) == {0: "swap"}
    (region,) = outcome.regions
    assert region.shape == shape
    assert (region.edge_px > 0) == (soft_edge > 0)
    mask = union_of_masks(outcome.regions, WIDTH, HEIGHT)
    if soft_edge == 0:
        assert np.array_equal(outcome.touched, mask)
        assert np.array_equal(outcome.pixels[~mask], photo()[~mask])
    else:
        assert outcome.touched[mask].all()
        assert (outcome.touched & ~mask).any()


def test_a_face_that_is_not_well_found_gets_an_ellipse(made):
    for change in ({"score": 0.45}, {"degrees": 60.0}):
        outcome = run(made, photo(), **change)
        assert [region.shape for region in outcome.regions] == ["ellipse"]
        assert dict(outcome.methods) == {0: "swap"}


def test_too_small_a_face_goes_to_the_next_method(made):
    outcome = run(anonymizer(min_side_px=40), photo(), (20, 20, 40, 46), (80, 50, 130, 116))
    assert dict(outcome.methods) == {0: "solid", 1: "swap"}


def test_subjects_keep_their_face_only_by_subject():
    by_subject, again = (anonymizer(donor_by="subject") for _ in range(2))
    assert np.array_equal(run(by_subject, photo()).pixels, run(again, photo()).pixels)
    assert not np.array_equal(run(by_subject, photo()).pixels, run(anonymizer(), photo()).pixels)


def test_overlapping_faces_and_their_order(made):
    boxes = BOX, (70, 50, 122, 118)
    one, other = (run(made, photo(), *own) for own in (boxes, boxes[::-1]))
    for outcome in (one, other):
        assert set(outcome.methods.values()) == {"swap"}
        mask = union_of_masks(outcome.regions, WIDTH, HEIGHT)
        assert outcome.touched[mask].all()


def test_another_key_gives_another_face(made):
    first = run(made, photo())
    other = [run(made.with_key(bytes([value]) * 32), photo()) for value in range(3)]
    assert any(not np.array_equal(first.pixels, outcome.pixels) for outcome in other)


def test_regions_agree_with_the_scene_s():
    (region,) = regions(BOX, width=WIDTH, height=HEIGHT, shape="face", expansion=1.15, points=[turned(BOX, 8.0)])
    (own,) = run(anonymizer(), photo()).regions
    assert own.radii == region.radii
    assert own.angle == region.angle
