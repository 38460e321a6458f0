from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch import geometry
from anon_batch.geometry import paired_iou, pairwise_iou
from anon_batch.records import Detections


def detections(*boxes, scores=None, landmarks=None, name="d"):
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.linspace(0.9, 0.5, n).astype(np.float32) if scores is None else np.array(scores, np.float32),
        np.full((n, 5, 2), np.nan, np.float32) if landmarks is None else np.array(landmarks, np.float32),
        (name,) * n,
    )


def test_iou_of_known_boxes():
    a = np.array([[0, 0, 10, 10], [5, 5, 5, 9], [9, 9, 3, 3]], np.float32)
    b = np.array([[0, 0, 10, 10], [5, 0, 15, 10], [20, 20, 30, 30]], np.float32)
    assert np.allclose(geometry.pairwise_iou(a, b), [[1, 1 / 3, 0], [0, 0, 0], [0, 0, 0]])


def test_iou_of_boxes_as_large_as_float32_allows_is_finite():
    huge = np.array([[-1e30, -1e30, 1e30, 1e30]], np.float32)
    assert geometry.pairwise_iou(huge, huge)[0, 0] == 1
    assert np.isfinite(geometry.box_areas(huge)).all()


def test_areas():
    boxes = np.array([[0, 0, 2, 3], [2, 3, 0, 0], [1, 1, 1, 5]], np.float32)
    assert geometry.box_areas(boxes).tolist() == [6, 0, 0]


def test_suppression_keeps_the_best_and_ties_in_order():
    boxes = np.array([[0, 0, 10, 10], [0, 0, 10, 10], [1, 0, 11, 10], [30, 0, 40, 10]], np.float32)
    kept = geometry.non_maximum_suppression(boxes, np.array([0.5, 0.5, 0.9, 0.1], np.float32), 0.4)
    assert kept.tolist() == [2, 3]
    kept = geometry.non_maximum_suppression(boxes[:2], np.array([0.5, 0.5], np.float32), 0.4)
    assert kept.tolist() == [0]
    assert geometry.non_maximum_suppression(boxes[:0], np.zeros(0, np.float32), 0.4).shape == (0,)


def test_region_of_a_plain_box():
    (region,) = geometry.regions_of(detections((20, 30, 40, 70)), 100, 100, 1.5, "ellipse")
    assert region.extent == (15, 20, 45, 80)
    assert region.centre == (30, 50)
    assert region.radii == (15, 30)
    assert region.landmarks is None
    mask = geometry.region_mask(region)
    assert mask[30, 15]
    assert not mask[0, 0]
    assert mask.mean() == pytest.approx(np.pi / 4, abs=0.05)


def test_the_index_follows_the_detections():
    regions = geometry.regions_of(detections((5, 5, 9, 9), (1, 1, 3, 3)), 20, 20, 1.0, "rectangle")
    assert [(r.index, r.extent) for r in regions] == [(0, (5, 5, 9, 9)), (1, (1, 1, 3, 3))]


def test_ellipse_holds_exactly_the_pixels_that_it_touches():
    (region,) = geometry.regions_of(detections((3.3, 4.6, 17.9, 14.2)), 22, 20, 1.1, "ellipse")
    x1, y1, x2, y2 = region.extent
    # A dense cloud of points of the ellipse: every pixel that holds one is in the mask.
    angle, radius = np.meshgrid(np.linspace(0, 2 * np.pi, 2001), np.linspace(0, 1, 200))
    x = np.floor(region.centre[0] + region.radii[0] * radius * np.cos(angle)).astype(int)
    y = np.floor(region.centre[1] + region.radii[1] * radius * np.sin(angle)).astype(int)
    touched = np.zeros((20, 22), bool)
    touched[y, x] = True
    mask = geometry.region_mask(region)
    assert not touched.sum() - touched[y1:y2, x1:x2].sum()
    assert mask[touched[y1:y2, x1:x2]].all()
    assert mask.sum() - touched.sum() <= 4  # pixels touched between the cloud's points


def test_soft_edge_lies_outside_the_mask_and_falls():
    (region,) = geometry.regions_of(detections((30, 30, 60, 60)), 100, 100, 1.0, "rectangle", 0.1)
    alpha = geometry.soft_alpha(region)
    assert region.mask_extent == (30, 30, 60, 60)
    assert region.extent == (27, 27, 63, 63)
    assert np.allclose(alpha[18, :4], [0.25, 0.5, 0.75, 1])
    assert (alpha[3:33, 3:33] == 1).all()
    assert alpha[0, 18] > 0
    assert (alpha == 1).sum() == 900


def test_no_soft_edge_is_the_mask():
    (region,) = geometry.regions_of(detections((30, 30, 60, 61)), 100, 100, 1.3, "ellipse")
    alpha = geometry.soft_alpha(region)
    assert region.mask_extent == region.extent
    assert np.array_equal(alpha == 1, geometry.region_mask(region))
    assert set(np.unique(alpha)) == {0, 1}


def test_outline_is_the_mask():
    (region,) = geometry.regions_of(detections((30, 30, 34, 33)), 100, 100, 1.0, "rectangle", 0.5)
    outline = np.zeros((3, 4), bool)
    outline[1, 2] = True
    outlined = replace(region, outline=outline)
    assert np.array_equal(geometry.region_mask(outlined), outline)
    alpha = geometry.soft_alpha(outlined)
    assert np.argwhere(alpha == 1).tolist() == [[3, 4]]  # the extent begins 2 px before the mask's
    assert np.array_equal(np.argwhere(geometry.union_of_masks([outlined], 100, 100)), [[31, 32]])


@pytest.mark.parametrize("outline", [np.ones((4, 3), bool), np.ones((3, 4), np.uint8), np.zeros((3, 4), bool)])
def test_outline_must_fit_the_mask(outline):
    (region,) = geometry.regions_of(detections((30, 30, 34, 33)), 100, 100, 1.0, "rectangle")
    with pytest.raises(ValueError, match="outline"):
        replace(region, outline=outline)


def test_extent_must_hold_the_mask():
    (region,) = geometry.regions_of(detections((30, 30, 34, 33)), 100, 100, 1.0, "rectangle")
    for extent in ((31, 30, 34, 33), (30, 30, 34, 32)):
        with pytest.raises(ValueError, match="around the mask extent"):
            replace(region, extent=extent)


def test_longer_side_is_that_of_the_unclipped_box():
    (cut,) = geometry.regions_of(detections((-30, 10, 10, 30)), 60, 40, 1.0, "rectangle")
    assert geometry.longer_side_px(cut) == 40
    (tiny,) = geometry.regions_of(detections((5.5, 5.5, 5.6, 5.6)), 60, 40, 1.0, "rectangle")
    assert geometry.longer_side_px(tiny) == pytest.approx(2)  # that of its extent


def test_growing_an_extent_stops_at_the_border():
    assert geometry.grow_extent((10, 10, 20, 20), 5, 60, 40) == (5, 5, 25, 25)
    assert geometry.grow_extent((10, 10, 20, 20), 50, 60, 40) == (0, 0, 60, 40)


def test_union_of_masks():
    faces = geometry.regions_of(detections((0, 0, 10, 10), (5, 5, 15, 15)), 60, 40, 1.0, "ellipse", 0.3)
    separate = [geometry.union_of_masks([face], 60, 40) for face in faces]
    assert np.array_equal(geometry.union_of_masks(faces, 60, 40), separate[0] | separate[1])
    assert not geometry.union_of_masks([], 60, 40).any()


def test_clipping_cuts_boxes_at_the_border_and_keeps_the_rest() -> None:
    boxes = np.array([[-5, 2, 8, 30], [1, 1, 3, 3], [50, 50, 60, 60]], np.float32)
    found = Detections(boxes, np.ones(3, np.float32), np.zeros((3, 5, 2), np.float32), ("a", "a", "a"))
    clipped = geometry.clip_detections(found, 10, 20)
    assert clipped.boxes.tolist() == [[0, 2, 8, 20], [1, 1, 3, 3], [10, 20, 10, 20]]
    assert found.boxes[0, 0] == -5


@pytest.mark.parametrize("count", [0, 1, 2, 40, 127, 128, 129, 400])
def test_suppression_in_blocks_is_suppression_box_by_box(count: int) -> None:
    rng = np.random.default_rng(3)
    corner = rng.uniform(0, 100, (count, 2))
    boxes = np.concatenate([corner, corner + rng.uniform(0, 60, (count, 2))], axis=1).astype(np.float32)
    scores = rng.choice([0.2, 0.5, 0.9], count).astype(np.float32)
    kept: list[int] = []
    for at in np.argsort(-scores, kind="stable"):
        if not (geometry.pairwise_iou(boxes[at : at + 1], boxes[kept]) >= 0.3).any():
            kept.append(int(at))
    assert geometry.non_maximum_suppression(boxes, scores, 0.3).tolist() == kept


@given(st.lists(st.tuples(*[st.floats(-50, 50, width=32)] * 8), max_size=12))
def test_paired_overlaps_are_the_diagonal_of_all_overlaps(rows):
    boxes = np.asarray(rows, np.float32).reshape(-1, 8)
    one, other = boxes[:, :4], boxes[:, 4:]
    np.testing.assert_array_equal(paired_iou(one, other), np.diagonal(pairwise_iou(one, other)))
