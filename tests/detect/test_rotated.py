"""Images that may be rotated without a tag are searched in other positions."""

from __future__ import annotations

import numpy as np
import pytest

from anon_batch.detect.rotated import CERTAIN, MAX_SIDE_PX, RotatingDetector
from anon_batch.imaging.orientation import inverse_of, turn_points, turn_upright
from anon_batch.records import Detections, Preview

HEIGHT, WIDTH = 80, 120
FACE = (10, 20, 40, 60)  # brightest at its top, so that its position is known


def scene(position=1, bright=250):
    """Return an image with a face, as a camera without a tag stores it in a position, and the face's box there."""
    pixels = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
    x1, y1, x2, y2 = FACE
    pixels[y1:y2, x1:x2] = np.linspace(bright, bright / 2, y2 - y1)[:, None, None]
    stored = turn_upright(pixels, inverse_of(position))
    corners = turn_points(np.array([[x1, y1], [x2, y2]], float), WIDTH, HEIGHT, inverse_of(position))
    return Preview("p", stored), np.concatenate([corners.min(axis=0), corners.max(axis=0)])


def found_in(pixels, upright_score, other_score):
    """Find the bright rectangle; it scores `upright_score` where its top is brightest."""
    light = pixels[..., 0].astype(float)
    rows, columns = np.nonzero(light)
    if not rows.size:
        return Detections.empty()
    top, bottom = light[rows.min()].max(), light[rows.max()].max()
    left, right = light[:, columns.min()].max(), light[:, columns.max()].max()
    score = upright_score if top > bottom + 20 and abs(left - right) < 20 else other_score
    box = np.array([[columns.min(), rows.min(), columns.max() + 1, rows.max() + 1]], np.float32)
    marks = np.stack([box[:, :2]] * 5, axis=1)
    return Detections(box, np.array([score], np.float32), marks, ("any",))


class Whole:
    name, models, labels = "any", ("m",), ("face",)

    def __init__(self, upright=0.9, other=0.2):
        self.scores, self.searched, self.looked = (upright, other), [], []

    def detect(self, images):
        self.searched += [image.pixels.shape[:2] for image in images]
        return [found_in(image.pixels, *self.scores) for image in images]

    def find(self, pieces, scales):
        self.looked += [piece.shape[:2] for piece in pieces]
        return [found_in(piece, *self.scores) for piece in pieces]


@pytest.mark.parametrize("position", [1, 3, 6, 8])
def test_a_face_is_found_in_every_position(position):
    image, box = scene(position)
    network = Whole()
    [found] = RotatingDetector(network, network, 0.4).detect([image])
    np.testing.assert_allclose(found.boxes[0], box, atol=2)
    assert found.scores[0] == pytest.approx(0.9)
    assert len(found) == 1, "the box of the wrong position is the same face"


def test_an_image_with_a_certain_face_is_searched_once():
    image, _ = scene()
    network = Whole(upright=CERTAIN)
    RotatingDetector(network, network, 0.4).detect([image])
    assert (len(network.searched), network.looked) == (1, [])


def test_an_image_without_a_face_is_looked_at_three_times_at_half_size():
    network = Whole()
    [found] = RotatingDetector(network, network, 0.4).detect([Preview("p", np.zeros((80, 120, 3), np.uint8))])
    assert len(found) == 0
    assert network.searched == [(80, 120)]
    assert network.looked == [(40, 60), (60, 40), (60, 40)]


def test_the_look_at_a_large_image_stays_small():
    network = Whole()
    RotatingDetector(network, network, 0.4).detect([Preview("p", np.zeros((900, 4000, 3), np.uint8))])
    assert max(max(size) for size in network.looked) == MAX_SIDE_PX


def test_no_box_of_the_upright_search_is_lost():
    image, box = scene(6)
    network = Whole(upright=0.7, other=0.5)
    aside = Detections(
        np.float32([[90, 2, 110, 12]]), np.float32([0.3]), np.full((1, 5, 2), np.nan, np.float32), ("any",)
    )

    class More(Whole):
        def detect(self, images):
            own = super().detect(images)
            return [
                Detections.merge([found, aside]) if image is images[0] and len(self.searched) == 1 else found
                for found, image in zip(own, images, strict=True)
            ]

    [found] = RotatingDetector(More(0.7, 0.3), network, 0.4).detect([image])
    assert any(np.allclose(own, aside.boxes[0]) for own in found.boxes)
    assert any(np.allclose(own, box, atol=2) for own in found.boxes)


def test_images_of_one_call_do_not_depend_on_each_other():
    images = [scene(position)[0] for position in (1, 3, 6, 8)] + [Preview("q", np.zeros((30, 20, 3), np.uint8))]
    network = Whole()
    together = RotatingDetector(network, network, 0.4).detect(images)
    alone = [RotatingDetector(network, network, 0.4).detect([image])[0] for image in images]
    for one, other in zip(together, alone, strict=True):
        np.testing.assert_array_equal(one.boxes, other.boxes)
    assert RotatingDetector(network, network, 0.4).detect([]) == []
