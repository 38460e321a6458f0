from __future__ import annotations

import numpy as np
import pytest
from skimage.data import astronaut

from anon_batch.config import DetectConfig, DetectorConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.detect.person_outline import MODEL_NAME, SIDE_PX, OutlinedDetector, outline_of
from anon_batch.detect.turn import turn_detections
from anon_batch.errors import WithheldError
from anon_batch.geometry import region_of
from anon_batch.imaging.orientation import inverse_of, turn_upright
from anon_batch.models.network import SynchronousNetwork
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.outline import outline_of_box
from anon_batch.records import OUTLINE_SIDE, Detections, Preview
from anon_batch.storage import Storage
from tools.convert_person_outline import read_source

BOX = (20.0, 10.0, 60.0, 90.0)


def logits(rows=slice(20, 230), columns=slice(60, 200), inside=9.0, outside=-9.0):
    values = np.full((SIDE_PX, SIDE_PX), outside, np.float32)
    values[rows, columns] = inside
    return values


class Boxes:
    """A detector that gives each image the same boxes."""

    name, models, labels = "person", ("person",), ("person",)

    def __init__(self, *boxes):
        self.boxes = np.float32(boxes).reshape(-1, 4)

    def detect(self, images):
        n = len(self.boxes)
        marks = np.full((n, 5, 2), np.nan, np.float32)
        return [Detections(self.boxes, np.ones(n, np.float32), marks, ("person",) * n, ("person",) * n) for _ in images]


class Brightness(SynchronousNetwork):
    """Says of bright pixels that they show a person."""

    def __init__(self, batch_size):
        self.batch_size, self.shapes = batch_size, []

    def run(self, batch):
        self.shapes.append(batch.shape)
        return [(batch.mean(axis=1, keepdims=True) - 128) / 10]


def test_an_outline_holds_each_likely_pixel():
    outline = outline_of(logits(), BOX, 100, 100)
    np.testing.assert_array_equal(np.flatnonzero(outline.any(axis=1)), np.arange(5, 58))
    np.testing.assert_array_equal(np.flatnonzero(outline.any(axis=0)), np.arange(15, 50))


def test_holes_are_part_of_it():
    values = logits()
    values[100:140, 100:140] = -9
    np.testing.assert_array_equal(outline_of(values, BOX, 100, 100), outline_of(logits(), BOX, 100, 100))


@pytest.mark.parametrize(
    "values", [logits(slice(0, 30)), logits(slice(0, 0)), logits(slice(100, 160), inside=1.0, outside=-1.0)]
)
def test_the_outline_is_the_box_where_the_network_is_not_sure(values):
    np.testing.assert_array_equal(outline_of(values, BOX, 100, 100), outline_of_box(BOX, 100, 100))


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_what_is_not_finite_withholds_the_image(odd):
    values = logits()
    values[3, 4] = odd
    with pytest.raises(WithheldError, match="not finite"):
        outline_of(values, BOX, 100, 100)


@pytest.mark.parametrize("batch_size", [1, 4])
def test_each_person_of_each_image_gets_its_own_outline(batch_size):
    pixels = np.zeros((100, 100, 3), np.uint8)
    pixels[20:80, 30:50] = 255
    network = Brightness(batch_size)
    detector = OutlinedDetector(Boxes(BOX, (30, 20, 50, 80), (0, 0, 10, 10)), network)
    found = detector.detect([Preview("a", pixels), Preview("b", 255 - pixels)])
    assert set(map(tuple, network.shapes)) == {(batch_size, 3, SIDE_PX, SIDE_PX)}
    assert [len(own.outlines) for own in found] == [3, 3]
    for own, shown in zip(found, (pixels, 255 - pixels), strict=True):
        for at in range(3):
            [alone] = OutlinedDetector(Boxes(own.boxes[at]), Brightness(1)).detect([Preview("x", shown)])
            np.testing.assert_array_equal(alone.outlines[0], own.outlines[at])
    region = region_of(found[0], 0, 100, 100, 1.0, "outline")
    assert np.abs(np.array(region.mask_extent) - (30, 20, 50, 80)).max() <= 3
    assert detector.models == ("person", MODEL_NAME)
    assert OutlinedDetector(Boxes(), Brightness(1)).detect([Preview("a", pixels)])[0].outlines == ()


@pytest.fixture(scope="module")
def runtime(tmp_path_factory):
    return Runtime(ModelStore(Storage(), ModelsConfig(cache=str(tmp_path_factory.mktemp("models")))))


def test_the_outline_of_a_person_is_smaller_than_the_box_and_holds_face_and_body(runtime):
    detector = build_detector(DetectConfig(detectors="person"), runtime)
    assert detector.models == ("person", MODEL_NAME)
    [found] = detector.detect([Preview("image", astronaut())])
    region = region_of(found, 0, 512, 512, 1.1, "outline")
    mask = np.zeros((512, 512), np.bool_)
    x1, y1, x2, y2 = region.mask_extent
    mask[y1:y2, x1:x2] = region.outline
    for x, y in ((220, 120), (200, 350), (100, 400), (60, 350), (300, 250)):
        assert mask[y, x], (x, y)
    assert not mask[60, 30]
    assert not mask[100, 450]
    left, top, right, bottom = found.boxes[0]
    assert 0.4 < mask.sum() / ((right - left) * (bottom - top)) < 0.95


def test_a_job_can_do_without_outlines(runtime):
    config = DetectConfig(detectors=(DetectorConfig(name="person", options={"outline": False}),))
    detector = build_detector(config, runtime)
    assert detector.models == ("person",)
    assert detector.detect([Preview("image", astronaut())])[0].outlines == (None,)


@pytest.mark.parametrize("orientation", range(1, 9))
def test_outlines_turn_with_their_image(orientation):
    outline = np.zeros((OUTLINE_SIDE, OUTLINE_SIDE), np.bool_)
    outline[5:50, 8:20] = True
    found = Detections(
        np.float32([BOX]),
        np.ones(1, np.float32),
        np.full((1, 5, 2), np.nan, np.float32),
        ("person",),
        outlines=(outline,),
    )

    def mask_of(own, width, height):
        region = region_of(own, 0, width, height, 1.0, "outline")
        out = np.zeros((height, width, 3), np.uint8)
        x1, y1, x2, y2 = region.mask_extent
        out[y1:y2, x1:x2] = region.outline[:, :, None]
        return out

    turned = turn_detections(found, 100, 120, orientation)
    size = (120, 100) if orientation >= 5 else (100, 120)
    np.testing.assert_array_equal(mask_of(turned, *size), turn_upright(mask_of(found, 100, 120), orientation))
    back = turn_detections(turned, *size, inverse_of(orientation))
    np.testing.assert_array_equal(back.outlines[0], outline)


def test_the_converter_takes_the_published_network_alone(tmp_path):
    file = tmp_path / "other.tflite"
    file.write_bytes(b"another network")
    with pytest.raises(SystemExit, match="expected 8d13b7fa"):
        read_source(file)
