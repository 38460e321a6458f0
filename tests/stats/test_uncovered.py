"""Which labelled regions are uncovered: by centre and by area, against the union of masks pixel by pixel."""

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.geometry import regions_of, union_of_masks
from anon_batch.records import OUTLINE_SIDE, Detections, GroundTruth, Preview
from anon_batch.stats.uncovered import judge_regions, pose_of

_WIDTH, _HEIGHT = 60, 50
_PREVIEW = Preview("a", np.full((_HEIGHT, _WIDTH, 3), 90, np.uint8))
_BOX = st.tuples(st.floats(-5, 55), st.floats(-5, 45), st.floats(0.5, 40), st.floats(0.5, 40)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)


def _found(*boxes, landmarks=None):
    n = len(boxes)
    marks = np.full((n, 5, 2), np.nan, np.float32) if landmarks is None else landmarks
    return Detections(np.array(boxes, np.float32).reshape(n, 4), np.ones(n, np.float32), marks, ("d",) * n)


def _truth(*boxes, **flags):
    n = len(boxes)
    return GroundTruth(np.array(boxes, np.float32).reshape(n, 4), flags.pop("ignore", np.zeros(n, bool)), **flags)


def _judge(truth, found, shape="rectangle", expansion=1.0, preview=_PREVIEW):
    return judge_regions(truth, regions_of(found, *preview.whole_size, expansion, shape), found, preview)


@pytest.mark.parametrize(
    ("mask", "uncovered"),
    [
        ((10, 10, 30, 30), False),
        ((10, 10, 24, 30), False),  # exactly 70 %
        ((10, 10, 23, 30), True),  # less
        ((22, 10, 50, 30), True),  # not its centre
        ((40, 10, 50, 30), True),
    ],
)
def test_centre_and_area_must_be_covered(mask, uncovered):
    judged = _judge(_truth((10, 10, 30, 30)), _found(mask))
    assert judged.uncovered.tolist() == [uncovered]
    assert judged.longer_px.tolist() == [20]
    assert judged.brightness.tolist() == [pytest.approx(90)]


def test_several_masks_cover_together():
    assert not _judge(_truth((10, 10, 30, 30)), _found((10, 10, 20, 30), (20, 10, 30, 30))).uncovered.any()


def test_an_inscribed_ellipse_covers_a_face():
    assert not _judge(_truth((10, 10, 30, 34)), _found((10, 10, 30, 34)), "ellipse").uncovered.any()


def test_ignored_and_kept_regions_do_not_count():
    boxes = [(0, 0, 20, 20), (20, 0, 40, 20), (0, 20, 20, 40)]
    truth = _truth(*boxes, ignore=np.array([True, False, False]), keep=np.array([False, True, False]))
    assert len(_judge(truth, _found())) == 1


@pytest.mark.parametrize("box", [(70, 10, 90, 30), (-30, 0, -10, 20), (10, 60, 20, 80)])
def test_a_box_outside_the_image_counts_as_uncovered(box):
    judged = _judge(_truth(box), _found((0, 0, _WIDTH, _HEIGHT)))
    assert judged.uncovered.tolist() == [True]
    assert np.isnan(judged.brightness).all()


def test_an_image_without_labelled_faces_has_none():
    judged = _judge(_truth(), _found((0, 0, 5, 5)))
    assert (len(judged), judged.uncovered.tolist(), judged.poses) == (0, [], ())


@settings(deadline=None, max_examples=150)
@given(st.lists(_BOX, max_size=4), st.lists(_BOX, max_size=3), st.sampled_from(["ellipse", "rectangle"]))
def test_it_agrees_with_the_masks_pixel_by_pixel(labelled, masks, shape):
    found = _found(*masks)
    judged = _judge(_truth(*labelled), found, shape, 1.1)
    union = union_of_masks(regions_of(found, _WIDTH, _HEIGHT, 1.1, shape), _WIDTH, _HEIGHT)
    xs, ys = np.arange(_WIDTH) + 0.5, np.arange(_HEIGHT) + 0.5
    for box, uncovered in zip(np.array(labelled, np.float32).reshape(-1, 4), judged.uncovered, strict=True):
        inside = ((ys >= box[1]) & (ys < box[3]))[:, None] & ((xs >= box[0]) & (xs < box[2]))
        if inside.any():
            if not union[inside].any():
                assert uncovered
            if union[inside].mean() < 0.7 - 1e-9:
                assert uncovered
            if union[inside].all():
                assert not uncovered


def test_brightness_is_that_of_the_face_in_a_smaller_preview():
    pixels = np.zeros((25, 30, 3), np.uint8)
    pixels[5:15, 5:15] = 200
    judged = _judge(_truth((10, 10, 30, 30)), _found(), preview=Preview("a", pixels, 2.0, 2.0))
    assert judged.brightness.tolist() == [pytest.approx(200)]


_FRONTAL = np.array([[10, 10], [30, 10], [20, 20], [13, 30], [27, 30]], np.float32)


@pytest.mark.parametrize(
    ("change", "pose"),
    [
        (lambda p: p, "frontal"),
        (lambda p: np.where(np.arange(5)[:, None] == 2, np.add(p, (5, 0)), p), "three_quarter"),
        (lambda p: np.where(np.arange(5)[:, None] == 2, np.add(p, (-8, 0)), p), "profile"),
        (lambda p: p[:, ::-1] * [1, -1], "turned"),
        (lambda p: -p, "turned"),
        (lambda p: p * np.nan, "unknown"),
        (lambda p: np.where(np.arange(5)[:, None] == 0, np.nan, p), "unknown"),
        (lambda p: p * 0, "unknown"),
        (lambda p: p * [0, 1], "profile"),
    ],
)
def test_pose_by_landmarks(change, pose):
    assert pose_of(np.asarray(change(_FRONTAL), np.float32)) == pose


def test_the_pose_is_that_of_the_matched_detection():
    found = _found((40, 10, 60, 30), (10, 8, 30, 32), landmarks=np.stack([_FRONTAL * np.nan, _FRONTAL]))
    assert _judge(_truth((10, 10, 30, 30), (40, 10, 60, 30), (0, 0, 5, 5)), found).poses == (
        "frontal",
        "unknown",
        "unknown",
    )


@pytest.mark.parametrize(("label", "uncovered"), [("person", False), ("face", True)])
def test_of_an_outline_the_box_counts_for_its_own_label(label, uncovered):
    outline = np.zeros((OUTLINE_SIDE, OUTLINE_SIDE), np.bool_)
    outline[:, :8] = True
    found = dataclasses.replace(_found((10, 10, 30, 30)), labels=("person",), outlines=(outline,))
    truth = _truth((10, 10, 30, 30), labels=(label,))
    assert _judge(truth, found, "outline").uncovered.tolist() == [uncovered]
    assert _judge(_truth((35, 10, 55, 30), labels=("person",)), found, "outline").uncovered.tolist() == [True]
