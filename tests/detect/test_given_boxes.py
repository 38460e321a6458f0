"""Boxes of a manifest that cannot be right: every way in which datasets get them wrong, with the outcome."""

from __future__ import annotations

import numpy as np
import pytest

from anon_batch.config import DetectConfig
from anon_batch.detect.given_boxes import GivenBoxes
from anon_batch.records import GroundTruth

NAN, INF = float("nan"), float("inf")
SIZE = (640, 480)
EVERY = GivenBoxes(None)


def truth(*boxes, labels=None, keep=None, size=None):
    n = len(boxes)
    return GroundTruth(
        np.array(boxes, np.float32).reshape(-1, 4),
        np.zeros(n, np.bool_),
        labels,
        None if keep is None else np.array(keep, np.bool_),
        size,
    )


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((NAN, 0, 9, 9), "not finite"),
        ((0, 0, INF, 9), "not finite"),
        ((0, -INF, 9, 9), "not finite"),
        ((90, 10, 20, 60), "x2 < x1"),  # corners exchanged, or x, y, w, h taken for x1, y1, x2, y2
        ((10, 90, 60, 20), "y2 < y1"),
        ((0.2, 0.3, 0.4, 0.5), "shares of the image's size"),
        ((0, 0, 1, 1), "shares of the image's size"),
        ((-0.1, 0.2, 1.5, 1.2), "shares of the image's size"),
        ((700, 10, 800, 90), "outside"),
        ((-90, 10, -20, 60), "outside"),
        ((10, 480, 60, 520), "outside"),
        ((1200, 800, 1600, 1200), "outside"),  # (300, 200, 400, 300) four times too large
        ((600, 400, 1000, 800), "outside"),  # most of it
        ((-1000, -1000, 5000, 5000), "outside"),  # covers the image, but no image has such a face
        ((300, 200, 300, 260), "square px"),
        ((300, 200, 300, 200), "square px"),
        ((300, 200, 301.9, 202), "square px"),
        ((638, 200, 641, 201.5), "square px"),  # 4.5 square px, 3 of them inside
        ((1e30, 1e30, 3e38, 3e38), "outside"),
    ],
)
def test_a_box_that_cannot_be_right_is_named(box, says):
    good = (10, 10, 60, 60)
    found = EVERY.fault(truth(good, box), SIZE)
    assert found is not None
    assert says in found
    assert found.startswith("box 2 of 2, [")


@pytest.mark.parametrize(
    "box",
    [
        (10, 10, 60, 60),
        (0, 0, 640, 480),  # covers everything: everything is anonymized
        (-3, -4, 60, 60),
        (600, 100, 670, 200),  # a face that the border cuts
        (300, 200, 302, 202),
        (2, 2, 100, 100),
        (0, 0, 2, 2),
    ],
)
def test_a_box_that_may_be_right_passes(box):
    assert EVERY.fault(truth(box), SIZE) is None


def test_without_the_size_only_what_needs_none_is_a_fault():
    assert EVERY.fault(truth((5000, 5000, 6000, 6000)), None) is None
    assert "shares" in str(EVERY.fault(truth((0.1, 0.1, 0.9, 0.9)), None))
    assert "outside" in str(EVERY.fault(truth((-50, 5, -10, 50)), None))


def test_a_size_that_differs_from_the_image_is_a_fault_and_says_how():
    assert EVERY.fault(truth((10, 10, 60, 60), size=SIZE), SIZE) is None
    assert "for an image of 1280 x 960 px; the upright image has 640 x 480" in str(
        EVERY.fault(truth((10, 10, 60, 60), size=(1280, 960)), SIZE)
    )
    assert "as before its EXIF orientation" in str(EVERY.fault(truth((10, 10, 60, 60), size=(480, 640)), SIZE))
    assert EVERY.fault(truth(size=(1, 1)), SIZE) is None  # no box, nothing to be wrong


def test_boxes_of_the_unrotated_image_are_recognised():
    found = str(EVERY.fault(truth((10, 500, 60, 620)), SIZE))  # fits 480 x 640
    assert "sides were exchanged" in found


def test_boxes_that_are_only_compared_with_need_only_be_numbers():
    compared = GivenBoxes.of_job(DetectConfig(detectors=["yunet"]))
    assert compared.fault(truth((9000, 9000, 9900, 9900), size=(7, 7)), SIZE) is None
    assert "not finite" in str(compared.fault(truth((NAN, 0, 9, 9)), SIZE))
    assert "outside" in str(compared.fault(truth((9000, 9000, 9900, 9900), keep=[True]), SIZE))


def test_only_boxes_of_the_labels_in_use_are_checked():
    some = GivenBoxes.of_job(DetectConfig(detectors=[{"name": "manifest", "labels": ["face"]}]))
    wrong = (9000, 9000, 9900, 9900)
    assert some.fault(truth((10, 10, 60, 60), wrong, labels=("face", "car")), SIZE) is None
    assert "box 2 of 2" in str(some.fault(truth(wrong, wrong, labels=("car", "face")), SIZE))
    assert GivenBoxes.of_job(DetectConfig(detectors=["yunet", "manifest"])) == EVERY


@pytest.mark.parametrize(
    ("box", "says"),
    [
        ((0.25, 0.25, 0.5, 0.5), None),
        ((-0.1, 0.2, 0.5, 1.2), None),  # the border cuts the face
        ((0, 0, 1, 1), None),
        ((10, 10, 40, 40), "said to be in shares"),
        ((0.5, 0.5, 50, 0.9), "said to be in shares"),
        ((0.5, 0.5, 0.4, 0.9), "x2 < x1"),
        ((0.5, 0.5, 0.501, 0.502), None),  # of an image that was made smaller
        ((0.5, 0.5, 0.5, 0.9), "no area"),
        ((1.1, 0.1, 1.4, 0.2), "outside"),
        ((NAN, 0, 1, 1), "not finite"),
    ],
)
def test_boxes_in_shares_are_checked_in_px(box, says):
    fault = EVERY.fault(truth(box, size=(1, 1)), SIZE)
    assert fault is None if says is None else says in fault


def test_without_the_size_shares_need_only_be_shares():
    assert EVERY.fault(truth((0.2, 0.2, 0.4, 0.4), size=(1, 1)), None) is None
    assert "said to be in shares" in EVERY.fault(truth((2, 2, 4, 4), size=(1, 1)), None)


def test_an_image_of_one_pixel_is_in_px_and_in_shares_alike():
    scaled = truth((0, 0, 1, 1), size=(1, 1)).in_pixels(1, 1)
    assert scaled.boxes.tolist() == [[0, 0, 1, 1]]
    assert not scaled.is_normalised
