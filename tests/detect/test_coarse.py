"""Large images are searched downscaled, and in full size where that may show a small face."""

from __future__ import annotations

import cv2
import numpy as np
import pytest

from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.coarse import COARSE, SIDE_PX, CoarseToFineDetector
from anon_batch.detect.ensemble import build_detector
from anon_batch.detect.tiling import TiledDetector
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import Detections, Preview
from anon_batch.storage import Storage

THRESHOLD = 0.15


class Squares:
    """Finds bright squares, surer of larger ones: 80 network px give 1; notes the size of what it was shown."""

    name, models, labels = "any", ("m",), ("face",)

    def __init__(self, least):
        self.least, self.shown = least, []

    def find(self, pieces, scales):
        found = []
        for piece, scale in zip(pieces, scales, strict=True):
            size = [max(1, round(side * scale)) for side in piece.shape[1::-1]]
            seen = cv2.resize(np.asarray(piece), size, interpolation=cv2.INTER_AREA)[..., 0]
            self.shown.append(seen.size)
            _, _, rows, _ = cv2.connectedComponentsWithStats((seen > 100).astype(np.uint8))
            boxes = np.array([[x, y, x + w, y + h] for x, y, w, h, _ in rows[1:]], np.float32).reshape(-1, 4) / scale
            scores = np.array([max(w, h) * 0.0125 for _, _, w, h, _ in rows[1:]], np.float32).clip(0, 1)
            marks = np.repeat(boxes[:, None, :2], 5, axis=1)
            own = Detections(boxes, scores, marks, (self.name,) * len(boxes))
            found.append(own.take(scores >= self.least))
        return found


def coarse_to_fine(least_trace=0.05, scale=1.0, **config):
    finder, tracer, at_once = Squares(THRESHOLD), Squares(least_trace), Squares(THRESHOLD)
    config = DetectConfig(**config)
    whole = TiledDetector(at_once, scale, config)
    return CoarseToFineDetector(whole, finder, tracer, THRESHOLD, scale, config), finder, tracer, at_once


def scene(width, height, *squares):
    pixels = np.zeros((height, width, 3), np.uint8)
    for x, y, side in squares:
        pixels[y : y + side, x : x + side] = 250
    return Preview("p", pixels)


@pytest.mark.parametrize("place", [(1000, 900), (0, 0), (3984, 2984), (5, 2000), (3000, 2)])
def test_a_small_face_is_found_in_full_size_wherever_it_is(place):
    detector, finder, tracer, at_once = coarse_to_fine()
    image = scene(4000, 3000, (*place, 16))
    [found] = detector.detect([image])
    if place == (1000, 900):
        np.testing.assert_allclose(found.boxes, [[*place, place[0] + 16, place[1] + 16]], atol=1.1)
    assert len(found) == 1
    assert found.scores[0] == pytest.approx(0.2, abs=0.02)  # in full size; downscaled it scores 0.09
    assert sum(finder.shown) == SIDE_PX**2
    assert tracer.shown == [round(4000 * COARSE) * round(3000 * COARSE)]
    assert at_once.shown == []


def test_large_faces_are_found_in_the_downscaled_image_and_small_ones_beside_them():
    detector, finder, _, _ = coarse_to_fine()
    [found] = detector.detect([scene(4000, 3000, (100, 100, 900), (1200, 300, 20))])
    np.testing.assert_allclose(found.boxes, [[100, 100, 1000, 1000], [1200, 300, 1220, 320]], atol=3)
    assert len(finder.shown) == 1, "a large face is large enough in the downscaled image"


def test_an_image_without_a_trace_is_searched_in_no_window():
    detector, finder, _, _ = coarse_to_fine()
    [found] = detector.detect([scene(4000, 3000)])
    assert (len(found), finder.shown) == (0, [])


def test_faces_that_two_windows_show_are_one():
    squares = [(1000 + 60 * at, 900, 18) for at in range(8)]
    detector, finder, _, _ = coarse_to_fine()
    [found] = detector.detect([scene(4000, 3000, *squares)])
    assert len(finder.shown) > 1
    assert sorted(found.boxes[:, 0].round().tolist()) == [x for x, _, _ in squares]


def test_images_that_are_not_large_are_searched_at_once_and_keep_their_place():
    detector, finder, tracer, at_once = coarse_to_fine()
    small, large = scene(1536, 40, (10, 10, 20)), scene(1537, 40, (900, 10, 20))
    found = detector.detect([large, small, small, large])
    assert [own.boxes[0, 0].round() for own in found] == [900, 10, 10, 900]
    assert (len(finder.shown), len(tracer.shown), len(at_once.shown)) == (2, 2, 2)


def test_the_scale_of_the_job_counts():
    detector, _, tracer, _ = coarse_to_fine(scale=2.0)
    [found] = detector.detect([scene(1000, 800, (300, 200, 10))])
    np.testing.assert_allclose(found.boxes, [[300, 200, 310, 210]], atol=1)
    assert tracer.shown == [900 * 720]


def test_images_without_limit_are_searched_at_once():
    detector, finder, _, at_once = coarse_to_fine(tile={"size_px": 0})
    detector.detect([scene(4000, 3000, (300, 200, 20))])
    assert (finder.shown, len(at_once.shown)) == ([], 1)


def test_larger_images_are_looked_at_downscaled_in_pieces():
    detector, _, tracer, _ = coarse_to_fine()
    [found] = detector.detect([scene(8000, 3000, (7000, 2000, 18))])
    assert found.boxes[0, 0].round() == 7000
    assert len(tracer.shown) > 1


@pytest.mark.parametrize("coarse_to_fine", [True, False])
def test_the_default_detector_finds_a_face_of_any_size_in_a_large_image(coarse_to_fine, tmp_path):
    photo = cv2.imread("manifests/sample/photos/people/astronaut.png")[:, :, ::-1]
    canvas = np.full((3000, 4000, 3), 90, np.uint8)
    small = cv2.resize(photo, (110, 110), interpolation=cv2.INTER_AREA)  # a face of about 24 px
    canvas[2000:2110, 3000:3110] = small
    canvas[200 : 200 + 1024, 300 : 300 + 1024] = cv2.resize(photo, (1024, 1024))
    store = ModelStore(Storage(), ModelsConfig(cache=str(tmp_path)))
    detector = build_detector(DetectConfig(coarse_to_fine=coarse_to_fine, rotated=False), Runtime(store))
    [found] = detector.detect([Preview("p", canvas)])
    middles = (found.boxes[:, :2] + found.boxes[:, 2:]) / 2
    for x, y, side in ((3000, 2000, 110), (300, 200, 1024)):
        inside = ((middles > [x, y]) & (middles < [x + side, y + side])).all(axis=1)
        assert found.scores[inside].max(initial=0) > 0.5
