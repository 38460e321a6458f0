from __future__ import annotations

import numpy as np
import pytest

from anon_batch import geometry
from anon_batch.anonymize.compose import grown, longer_side_px, paint, union_of_masks
from anon_batch.records import DecodedImage, Detections


def regions(*boxes, width=60, height=40, shape="rectangle", expansion=1.0):
    n = len(boxes)
    found = Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, 0.9, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        ("d",) * n,
    )
    return geometry.regions_of(found, width, height, expansion, shape)


@pytest.fixture
def image():
    return DecodedImage("p", np.full((40, 60, 3), 200, np.uint8))


def colour_of_face(region, extent):
    return np.full(3, region.index, np.uint8)


def test_the_larger_region_wins_where_masks_overlap(image):
    # A small detection inside a large face would otherwise paint its finer treatment over the coarse one.
    big, small = (10, 10, 30, 30), (15, 15, 20, 20)
    for boxes, large in (((big, small), 0), ((small, big), 1)):
        result = paint(image, regions(*boxes), 0, "m", colour_of_face)
        assert (result.pixels[10:30, 10:30] == large).all()
        assert result.methods == {0: "m", 1: "m"}


def test_soft_edge_mixes_outside_the_mask_only(image):
    result = paint(image, regions((20, 10, 40, 30)), 0.1, "m", lambda _r, _e: np.zeros(3, np.uint8))
    assert result.pixels[20, 17:22, 0].tolist() == [200, round(200 * 2 / 3), round(200 / 3), 0, 0]
    assert result.touched[20, 17:22].tolist() == [False, True, True, True, True]


def test_soft_edges_do_not_enter_a_neighbours_mask(image):
    result = paint(image, regions((10, 10, 20, 20), (20, 10, 30, 20)), 0.5, "m", colour_of_face)
    assert (result.pixels[10:20, 10:20] == 0).all()
    assert (result.pixels[10:20, 20:30] == 1).all()


def test_values_may_be_given_for_each_pixel(image):
    def treat(region, extent):
        x1, y1, x2, y2 = extent
        values = np.zeros((y2 - y1, x2 - x1, 3), np.uint8)
        values[..., 0] = np.arange(x1, x2)
        return values

    result = paint(image, regions((20, 10, 40, 30)), 0.1, "m", treat)
    assert result.pixels[15, 20:40, 0].tolist() == list(range(20, 40))


def test_refusals_go_into_the_result(image):
    result = paint(image, [], 0, "m", colour_of_face, refused={4: "why"})
    assert result.refused == {4: "why"}
    assert np.array_equal(result.pixels, image.pixels)
    assert result.pixels is not image.pixels


def test_union_of_masks():
    faces = regions((0, 0, 10, 10), (5, 5, 15, 15), shape="ellipse")
    union = union_of_masks(faces, 60, 40)
    separate = [union_of_masks([face], 60, 40) for face in faces]
    assert np.array_equal(union, separate[0] | separate[1])
    assert not union_of_masks([], 60, 40).any()


def test_longer_side_is_that_of_the_unclipped_box():
    (cut,) = regions((-30, 10, 10, 30))
    assert longer_side_px(cut) == 40
    (tiny,) = regions((5.5, 5.5, 5.6, 5.6))
    assert longer_side_px(tiny) == pytest.approx(2)  # its extent's


def test_grown():
    assert grown((10, 10, 20, 20), 5, 60, 40) == (5, 5, 25, 25)
    assert grown((10, 10, 20, 20), 50, 60, 40) == (0, 0, 60, 40)
