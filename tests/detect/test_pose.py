"""Keypoints of persons, by a network that the test writes and by the bundled one."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import pytest
from drawn_bodies import standing, street
from method_harness import RUNTIME, make, make_regions, run_method
from shifted_memory import numpy_memory_at, shifted

from anon_batch.detect import pose
from anon_batch.detect.pose import KEYPOINTS, PoseFinder
from anon_batch.errors import WithheldError
from anon_batch.records import DecodedImage

BOX = (150.0, 60.0, 350.0, 460.0)


class Scripted:
    """A network that always sees the same body in its square, and counts its calls."""

    batch_size = 1

    def __init__(self, presence: float = 1.0, damage: float = 0.0) -> None:
        body = standing((78, 30, 178, 226))  # a body that fills its square, px of the square
        raw = np.zeros((39, 5), np.float32)
        raw[:33, :3] = body[:, :3]
        raw[33, :2], raw[34, :2] = (128, 128), (128, 128 - 256 / 2 / pose.NEXT_SCALE)  # as if the square were right
        raw[:, 3:] = 5 + damage
        self._answer = raw.reshape(1, -1), np.float32([[presence]])
        self.seen: list[np.ndarray] = []

    def run(self, batch):
        self.seen.append(batch)
        return list(self._answer)


def test_keypoints_are_in_px_of_the_image_with_depth_and_confidence():
    [points] = PoseFinder(Scripted()).find(street(512, 512), [BOX])
    assert points.shape == (len(KEYPOINTS), 4)
    assert points.dtype == np.float32
    nose, left, right = points[0], points[KEYPOINTS.index("left hip")], points[KEYPOINTS.index("right hip")]
    assert left[0] > 250 > right[0], "the person's left is at the right of the image"
    assert BOX[1] < nose[1] < left[1] < BOX[3]
    assert nose[2] < 0, "the nose is nearer than the hips"
    assert points[:, 3] == pytest.approx(0.993, abs=0.01)


@pytest.mark.parametrize(("side", "looks"), [(100.0, 2), (160.0, 4), (400.0, 6)])
def test_wide_boxes_are_tried_as_the_upper_part_of_a_body_too(side, looks):
    network = Scripted()
    PoseFinder(network).find(street(512, 512), [(200, 60, 200 + side, 460)])
    assert len(network.seen) == looks
    assert all(batch.shape == (1, 3, 256, 256) and batch.dtype == np.float32 for batch in network.seen)


def test_a_square_in_which_the_network_sees_nobody_gives_nothing():
    assert PoseFinder(Scripted(presence=0.3)).find(street(512, 512), [BOX, BOX]) == [None, None]


def test_a_neighbour_is_not_taken_for_the_person():
    far = Scripted()
    far._answer[0].reshape(-1, 5)[:33, 0] += 150  # beside the box
    assert PoseFinder(far).find(street(512, 512), [BOX]) == [None]


@pytest.mark.parametrize("damage", [np.nan, np.inf])
def test_values_that_are_not_finite_withhold_the_image(damage):
    with pytest.raises(WithheldError, match="not finite"):
        PoseFinder(Scripted(damage=damage)).find(street(512, 512), [BOX])


@pytest.mark.parametrize(
    "box",
    [
        (0, 0, 0, 0),
        (10, 10, 9, 5),
        (-1e30, -1e30, 1e30, 1e30),
        (600, 600, 700, 900),
        (-90, -90, -10, -10),
        (5, 5, 6, 6),
    ],
)
def test_odd_boxes_give_keypoints_or_nothing(box):
    [points] = PoseFinder.load(RUNTIME).find(street(64, 80), [box])
    assert points is None or np.isfinite(points).all()


def test_squares_are_cut_as_the_image_shows_them():
    pixels = street(300, 400)
    whole = pose.cut(pixels, pose.Square(np.array([200.0, 150.0]), 256.0, 0.0))
    assert np.array_equal(whole[0].transpose(1, 2, 0), pixels[22:278, 72:328])
    turned = pose.cut(pixels, pose.Square(np.array([200.0, 150.0]), 256.0, np.pi / 2))
    assert np.abs(turned[0].transpose(1, 2, 0) - np.rot90(pixels[22:278, 72:328])).mean() < 1


@pytest.mark.parametrize("offset", [4, 36])
def test_keypoints_do_not_depend_on_threads_or_memory(offset):
    pixels, box = street(200, 160), (30, 20, 130, 180)
    before = make_regions(box, width=160, height=200)
    [drawn] = run_method(make("mannequin"), [(DecodedImage("p", pixels), before)])
    [expected] = PoseFinder.load(RUNTIME).find(drawn.pixels, [box])
    assert expected is not None
    with numpy_memory_at(offset):
        [found] = PoseFinder.load(replace(RUNTIME, threads=2)).find(shifted(drawn.pixels, offset), [box])
    assert np.array_equal(found, expected)


def test_the_bundled_network_sees_a_mannequin_where_it_stands():
    pixels = street(480, 640, seed=3)
    [region] = make_regions((240, 40, 400, 440), width=640, height=480)
    method = make("mannequin")
    region = method.claim(region, 640, 480)
    [result] = run_method(method, [(DecodedImage("p", pixels), [region])])
    finder = PoseFinder.load(RUNTIME)
    [points] = finder.find(result.pixels, [region.box])
    assert points is not None
    distance = np.linalg.norm(points[:, :2] - region.keypoints[:, :2], axis=1)
    assert (distance < 0.1 * 400).mean() > 0.9
    larger = cv2.resize(result.pixels, None, fx=3, fy=3, interpolation=cv2.INTER_CUBIC)
    [again] = finder.find(larger, [tuple(3 * value for value in region.box)])
    assert np.linalg.norm(again[:, :2] / 3 - points[:, :2], axis=1).mean() < 0.05 * 400
