from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.config import DetectConfig, DetectorConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.detect.refine import FURTHER, SIDE_PX, UNCONFIRMED, ZOOM, RefiningDetector
from anon_batch.detect.windows import Window, cut_window, windows_of
from anon_batch.geometry import pairwise_iou
from anon_batch.imaging.decode import decode
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import Detections, Preview
from anon_batch.storage import Storage

PHOTOS = Path(__file__).parents[2] / "manifests/sample/photos"


def detections(boxes, scores, name="any"):
    boxes = np.asarray(boxes, np.float32).reshape(-1, 4)
    marks = np.stack([boxes[:, :2]] * 5, axis=1).reshape(-1, 5, 2)
    return Detections(boxes, np.asarray(scores, np.float32), marks, (name,) * len(boxes))


class First:
    """Finds given faces in every image."""

    name, models, labels = "any", ("model",), ("face",)

    def __init__(self, boxes, scores):
        self.found = detections(boxes, scores)

    def detect(self, images):
        return [self.found for _ in images]


class Again:
    """Gives one answer a window, in order; None finds nothing. Boxes are in network px."""

    name, models, labels = "any", ("model",), ("face",)

    def __init__(self, answers):
        self.answers, self.pieces = answers, []

    def find(self, pieces, scales):
        assert set(scales) <= {1.0}
        self.pieces += pieces
        return [detections([], []) if answer is None else detections(*answer) for answer in self.answers]


def answer_for(box, face, score, zoom=2.0):
    """Return an answer for a window around `face` with a detection of `box`, both px of the image."""
    x1, y1, x2, y2 = face
    middle = np.array([(x1 + x2) / 2, (y1 + y2) / 2] * 2)
    return [((np.asarray(box) - middle) * zoom + SIDE_PX / 2).tolist()], [score]


class Squares:
    """Finds the bright square of a piece to a fraction of a pixel: by its mean place and its area."""

    name, models, labels = "any", (), ("face",)

    def find(self, pieces, scales):
        found = []
        for piece in pieces:
            light = piece[..., 0].astype(np.float64) / 250
            rows, columns = np.indices(light.shape) + 0.5
            y, x, half = (
                (light * rows).sum() / light.sum(),
                (light * columns).sum() / light.sum(),
                np.sqrt(light.sum()) / 2,
            )
            found.append(detections([[x - half, y - half, x + half, y + half]], [0.9]))
        return found


def image_of(height=200, width=300, square=None, value=0):
    """Return a black image; `square` is (x, y, side) of a square of another value."""
    pixels = np.zeros((height, width, 3), np.uint8)
    if square is not None:
        x, y, side = square
        pixels[y : y + side, x : x + side] = value
    return Preview("p", pixels)


def refine(boxes, scores, answers, scale=1.0):
    finder = Again(answers)
    [found] = RefiningDetector(First(boxes, scores), finder, scale, 0.15).detect([image_of()])
    return found, finder


@pytest.mark.parametrize("place", [(100, 60), (0, 0), (288, 188), (3, 187)])
@pytest.mark.parametrize("off", [(0, 0), (1.3, -0.8)])
def test_boxes_found_in_a_window_are_returned_in_px_of_the_image(place, off):
    x, y = place
    image = image_of(square=(x, y, 12), value=250)
    rough = np.array([x, y, x + 12, y + 12]) + np.array([*off, *off])
    [found] = RefiningDetector(First([rough], [0.3]), Squares(), 1.0, 0.15).detect([image])
    np.testing.assert_allclose(found.boxes[0], [x, y, x + 12, y + 12], atol=0.35)  # a border's half pixels stay dark
    np.testing.assert_allclose(found.landmarks[0], found.boxes[0][:2][None].repeat(5, 0), atol=1e-3)
    assert found.scores.tolist() == pytest.approx([0.9])


def test_refinement_keeps_the_landmarks_of_other_windows():
    first = First([[100, 60, 112, 72]], [0.3])
    first.found = replace(first.found, witnesses=np.ones((1, 1, 5, 2), np.float32))
    [found] = RefiningDetector(first, Squares(), 1.0, 0.15).detect([image_of(square=(100, 60, 12), value=250)])
    np.testing.assert_array_equal(found.witnesses, first.found.witnesses)


def windows(boxes, zoom=ZOOM, scores=None):
    boxes = np.float32(boxes).reshape(-1, 4)
    scores = np.ones(len(boxes), np.float32) if scores is None else np.float32(scores)
    return windows_of(boxes, scores, zoom, SIDE_PX)


def test_the_face_fills_half_of_its_window():
    image = image_of(square=(100, 50, 32), value=200)  # enlarged twice
    [window] = windows([[100, 50, 132, 82]])
    piece = cut_window(image.pixels, window)
    assert piece.shape == (SIDE_PX, SIDE_PX, 3)
    rows, columns = np.nonzero(piece[..., 0] > 100)
    assert (rows.min(), rows.max(), columns.min(), columns.max()) == (32, 95, 32, 95)


@pytest.mark.parametrize(
    ("side", "zoom", "small"),
    [
        (10, 2.0, True),
        (32, 2.0, True),
        (33, 2.0, False),
        (300, 2.0, False),
        (21, 3.0, True),
        (10, 3.1, False),
        (64, 1.0, True),
        (65, 1.0, False),
        (128, 0.5, True),
        (10, 0.4, False),
        (0, 2.0, True),
    ],
)
def test_only_faces_that_gain_from_it_get_a_window(side, zoom, small):
    found = windows([[5, 5, 5 + side, 5 + side / 2]], zoom)
    assert [window.zoom for window in found] == [zoom] * small


def test_faces_that_lie_close_together_share_a_window():
    near, far, larger = [26, 10, 42, 26], [60, 10, 76, 26], [12, 12, 45, 45]
    found = windows([near, far, [10, 10, 26, 26], larger], scores=[0.3, 0.5, 0.9, 0.2])
    assert [window.faces.tolist() for window in found] == [[2, 0], [1]]  # the surest first
    assert (found[0].x, found[0].y) == (18, 18)


@given(st.lists(st.tuples(*[st.floats(-40, 340)] * 2, *[st.floats(0, 90)] * 2), max_size=12), st.integers(0, 2**32 - 1))
def test_each_small_face_is_in_one_window_and_whole_in_it(places, seed):
    boxes = np.float32([[x, y, x + w, y + h] for x, y, w, h in places]).reshape(-1, 4)
    found = windows(boxes, scores=np.random.default_rng(seed).uniform(0, 1, len(boxes)))
    shown = sorted(at for window in found for at in window.faces.tolist())
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0)
    assert shown == np.flatnonzero(longer <= 32).tolist()
    for window in found:
        corner = np.array([window.x, window.y] * 2)
        within = (boxes[window.faces] - corner) * window.zoom + SIDE_PX / 2
        assert (within >= -0.01).all()
        assert (within <= SIDE_PX + 0.01).all()


def test_an_unconfirmed_face_keeps_its_box_and_gets_the_lowest_score():
    boxes = [[20, 20, 52, 52], [120, 20, 152, 52], [150, 80, 250, 180]]
    found, finder = refine(boxes, [0.9, 0.8, 0.7], [None, ([[0, 0, 20, 20]], [0.9])])
    assert len(finder.pieces) == 2  # the third is large
    np.testing.assert_array_equal(found.boxes, boxes)
    assert found.scores.tolist() == pytest.approx([UNCONFIRMED, UNCONFIRMED, 0.7])


def test_what_shows_the_neighbour_moves_the_neighbour_and_uncovers_no_face():
    boxes = [[20, 20, 52, 52], [26, 24, 58, 56]]
    [box], _ = answer_for([20, 20, 52, 52], boxes[0], 0)
    [other], _ = answer_for([22, 21, 53, 52], boxes[0], 0)
    found, finder = refine(boxes, [0.9, 0.3], [([box, other], [0.8, 0.6])])
    assert len(finder.pieces) == 1
    np.testing.assert_array_equal(found.boxes, boxes)
    assert found.scores.tolist() == pytest.approx([0.8, UNCONFIRMED])


def test_a_small_face_does_not_become_a_large_one_of_its_own():
    boxes = [[20, 20, 68, 68], [28, 28, 60, 60]]  # IoU 0.44
    whole = answer_for(boxes[0], boxes[1], 0.95)
    found, _ = refine(boxes, [0.9, 0.3], [whole])
    np.testing.assert_array_equal(found.boxes, boxes)
    assert found.scores.tolist() == pytest.approx([0.9, UNCONFIRMED])


def test_of_several_boxes_in_a_window_the_nearest_and_best_scored_is_the_face():
    neighbours = [[0, 32, 40, 90], [30, 30, 98, 98], [36, 36, 96, 96]], [0.99, 0.4, 0.8]
    found, _ = refine([[20, 20, 52, 52]], [0.5], [neighbours])
    np.testing.assert_allclose(found.boxes[:1], [[22, 22, 52, 52]])
    assert found.scores.tolist()[0] == pytest.approx(0.8)


@given(st.lists(st.tuples(*[st.floats(-40, 340)] * 2, *[st.floats(0, 90)] * 2), max_size=8), st.integers(0, 2**32 - 1))
def test_no_face_is_lost_or_moved_far_whatever_the_network_finds(places, seed):
    rng = np.random.default_rng(seed)
    boxes = np.float32([[x, y, x + w, y + h] for x, y, w, h in places]).reshape(-1, 4)
    scores = rng.uniform(0.5, 1, len(boxes))
    count = len(windows(boxes, scores=scores))
    corners = [np.sort(rng.uniform(-20, 148, (rng.integers(0, 4), 2, 2)), axis=1).reshape(-1, 4) for _ in range(count)]
    found, finder = refine(boxes, scores, [(own, rng.uniform(0.05, 1, len(own))) for own in corners])
    kept = found.boxes[: len(boxes)]
    assert all(piece.shape == (SIDE_PX, SIDE_PX, 3) for piece in finder.pieces)
    moved = (kept != boxes).any(axis=1)
    assert (np.diag(pairwise_iou(kept, boxes))[moved] >= 0.299).all()
    assert np.isfinite(found.scores).all()
    assert (found.scores[len(boxes) :] >= FURTHER * 0.15 - 1e-6).all()


@pytest.mark.parametrize(("surest", "expected"), [(0.6, [0.6, 0.16, 0.29, 0.31]), (0.4, [0.4, 0.31]), (0.2, [0.31])])
def test_in_an_image_without_a_likely_face_an_unconfirmed_one_needs_a_higher_score(surest, expected):
    boxes = [[20, 20, 80, 80], [100, 20, 120, 40], [160, 20, 180, 40], [220, 20, 240, 40]]
    scores = np.float32([surest, 0.16, 0.29, 0.31])
    found, _ = refine(boxes, scores, [None, None, None])
    if surest == 0.2:  # a large face is not looked at again, so it is not unconfirmed
        expected = [surest, *expected]
    kept = [scores[boxes.index(box)] for box in found.boxes.tolist()]
    assert kept == pytest.approx(expected)


@pytest.mark.parametrize(
    ("box", "score", "counts"),
    [
        ([54, 22, 64, 38], 0.19, True),
        ([54, 22, 64, 38], 0.17, False),  # not sure enough
        ([60, 22, 67, 38], 0.9, False),  # cut by the window's border
        ([22, 22, 50, 50], 0.9, False),  # a face that is known
    ],
)
def test_a_face_that_only_a_window_shows_counts_where_it_is_sure_and_whole(box, score, counts):
    known = [20, 20, 52, 52]
    found, _ = refine([known], [0.9], [answer_for(box, known, score)])
    assert len(found) == 1 + counts
    if counts:
        np.testing.assert_allclose(found.boxes[1], box)


def test_a_face_that_two_windows_show_counts_once():
    known = [[20, 20, 52, 52], [76, 20, 108, 52]]
    further = [62, 22, 66, 38]
    found, finder = refine(known, [0.9, 0.8], [answer_for(further, known[0], 0.4), answer_for(further, known[1], 0.5)])
    assert len(finder.pieces) == 2
    assert found.scores.tolist() == pytest.approx([UNCONFIRMED, UNCONFIRMED, 0.5])


def test_windows_of_images_of_any_size():
    for height, width in ((1, 1), (1, 40_000), (40_000, 1)):
        pixels = np.full((height, width, 3), 9, np.uint8)
        at = Window(width - 0.5, height - 0.5, SIDE_PX, 2.0, np.array([0]))
        assert cut_window(pixels, at)[SIDE_PX // 2 - 1, SIDE_PX // 2 - 1, 0] > 0
        assert not cut_window(pixels, at._replace(x=width + 500.0, y=height + 500.0)).any()


@pytest.fixture(scope="module")
def built():
    store = ModelStore(Storage(), ModelsConfig())
    config = DetectConfig(detectors=(DetectorConfig(name="centerface"),))
    return {on: build_detector(config.model_copy(update={"refine_small": on}), Runtime(store)) for on in (True, False)}


def small(image, found, side_px=24.0):
    """Return the image downscaled so that its best-scored face has a longer side of `side_px`."""
    box = found.boxes[found.scores.argmax()]
    factor = side_px / (box[2:] - box[:2]).max()
    return Preview(
        "small", np.asarray(cv2.resize(image.pixels, None, fx=factor, fy=factor, interpolation=cv2.INTER_AREA))
    )


def test_refinement_raises_scores_of_small_faces_and_batching_changes_nothing(built):
    files = sorted(path for path in PHOTOS.rglob("*") if path.suffix.lower() in (".jpg", ".png"))
    whole = [decode(path.name, path.read_bytes()) for path in files]
    found = built[False].detect([Preview(image.image_id, image.pixels) for image in whole])
    images = [small(image, own) for image, own in zip(whole, found, strict=True) if own.scores.max(initial=0) > 0.6]
    first, again = built[False].detect(images), built[True].detect(images)
    assert len(images) >= 5
    assert all(len(again) >= len(own) for again, own in zip(again, first, strict=True))
    surest = np.array([[own.scores.max() for own in found] for found in (first, again)])
    assert surest[1].mean() > surest[0].mean() + 0.02
    for image, together in zip(images, again, strict=True):
        [alone] = built[True].detect([image])
        np.testing.assert_array_equal(alone.boxes, together.boxes)
        np.testing.assert_array_equal(alone.scores, together.scores)


def test_a_face_counts_if_one_of_the_two_looks_is_sure_of_it():
    boxes = [[20, 20, 52, 52], [120, 20, 152, 52], [220, 20, 252, 52], [20, 80, 120, 180]]
    sure, unsure = ([[32, 32, 96, 96]], [0.6]), ([[32, 32, 96, 96]], [0.1])
    found, finder = refine(boxes, [0.16, 0.13, 0.12, 0.14], [unsure, sure, unsure])
    assert len(finder.pieces) == 3
    np.testing.assert_array_equal(found.boxes, [boxes[0], boxes[1]])
    assert found.scores.tolist() == pytest.approx([0.1, 0.6])


@given(st.floats(-12, 12), st.floats(-12, 12), st.floats(0.6, 1.6))
def test_both_looks_boxes_are_covered_where_they_disagree(across, down, size):
    first = np.array([100, 60, 132, 92], np.float32)
    side = 64 * size
    again = [[64 + across - side / 2, 64 + down - side / 2, 64 + across + side / 2, 64 + down + side / 2]]
    found, _ = refine([first], [0.9], [(again, [0.8])])
    second = (np.asarray(again[0]) - 64) / 2 + np.array([116, 76, 116, 76])
    overlap = float(pairwise_iou(first[None], second[None].astype(np.float32))[0, 0])
    if overlap >= 0.31 and abs(overlap - 0.7) > 0.01:
        around = np.concatenate([np.minimum(first[:2], second[:2]), np.maximum(first[2:], second[2:])])
        np.testing.assert_allclose(found.boxes[0], second if overlap >= 0.7 else around, atol=1e-3)
