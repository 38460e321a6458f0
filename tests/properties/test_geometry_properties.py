from __future__ import annotations

import math

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch import geometry
from anon_batch.records import Detections

COORDINATES = st.one_of(
    st.floats(-60, 120, width=32),
    st.floats(-(2.0**100), 2.0**100, width=32),
    st.integers(-5, 70).map(float),
    st.floats(0, 1, width=32).map(lambda v: float(np.float32(30 + v / 64))),
)
BOXES = st.tuples(COORDINATES, COORDINATES, COORDINATES, COORDINATES)
SIZES = st.integers(1, 64)
SHAPES = st.sampled_from(["ellipse", "rectangle"])


def detections(boxes):
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, 0.5, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        ("d",) * n,
    )


@settings(deadline=None)  # shared machines pause for longer than the default
@given(st.lists(BOXES, max_size=4), SIZES, SIZES, st.floats(1, 4), SHAPES)
def test_every_detection_yields_a_region_inside_the_image(boxes, width, height, expansion, shape):
    regions = geometry.regions_of(detections(boxes), width, height, expansion, shape)
    assert [r.index for r in regions] == list(range(len(boxes)))
    for region in regions:
        x1, y1, x2, y2 = region.extent
        assert 0 <= x1 < x2 <= width
        assert 0 <= y1 < y2 <= height
        mask = geometry.region_mask(region)
        assert mask.shape == (y2 - y1, x2 - x1)
        assert mask.any()


@settings(deadline=None)
@given(BOXES, SIZES, SIZES, st.floats(1, 4))
def test_the_extent_holds_the_visible_part_of_the_box(box, width, height, expansion):
    (region,) = geometry.regions_of(detections([box]), width, height, expansion, "rectangle")
    left, top, right, bottom = region.box
    assert left <= right
    assert top <= bottom
    x1, y1, x2, y2 = region.extent
    if right > 0 and left < width:
        assert x1 <= max(left, 0)
        assert x2 >= min(right, width)
    if bottom > 0 and top < height:
        assert y1 <= max(top, 0)
        assert y2 >= min(bottom, height)


@settings(deadline=None)
@given(BOXES, SIZES, SIZES, st.floats(1, 4))
def test_an_ellipse_holds_every_pixel_with_a_point_of_it(box, width, height, expansion):
    (region,) = geometry.regions_of(detections([box]), width, height, expansion, "ellipse")
    x1, y1, x2, y2 = region.extent
    (cx, cy), (rx, ry) = region.centre, region.radii
    mask = geometry.region_mask(region)
    for angle in np.linspace(0, 2 * math.pi, 37):
        for radius in (0.0, 0.5, 0.999):
            x = math.floor(cx + rx * radius * math.cos(angle))
            y = math.floor(cy + ry * radius * math.sin(angle))
            if 0 <= x < width and 0 <= y < height:
                assert x1 <= x < x2
                assert y1 <= y < y2
                assert mask[y - y1, x - x1]


@settings(deadline=None)
@given(BOXES, SIZES, SIZES, SHAPES, st.floats(0, 0.5))
def test_blend_is_one_exactly_on_the_mask(box, width, height, shape, soft_edge):
    (region,) = geometry.regions_of(detections([box]), width, height, 1.3, shape, soft_edge)
    alpha, (x1, y1, x2, y2) = geometry.soft_alpha(region), region.extent
    assert alpha.shape == (y2 - y1, x2 - x1)
    assert 0 <= x1 < x2 <= width
    assert 0 <= y1 < y2 <= height
    assert alpha.dtype == np.float32
    assert (alpha >= 0).all()
    whole = np.zeros((height, width), bool)
    left, top, right, bottom = region.mask_extent
    whole[top:bottom, left:right] = geometry.region_mask(region)
    assert np.array_equal(alpha == 1, whole[y1:y2, x1:x2])
    assert whole.sum() == (alpha == 1).sum()


@settings(deadline=None)
@given(st.lists(BOXES, max_size=5), st.lists(BOXES, max_size=5))
def test_iou_is_a_symmetric_share(a, b):
    first, second = detections(a).boxes, detections(b).boxes
    iou = geometry.pairwise_iou(first, second)
    assert iou.shape == (len(a), len(b))
    assert ((iou >= 0) & (iou <= 1)).all()
    assert np.array_equal(iou.T, geometry.pairwise_iou(second, first))


@settings(deadline=None)
@given(st.lists(BOXES, max_size=8), st.floats(0.05, 1), st.data())
def test_suppression_covers_every_box_by_a_kept_one(boxes, threshold, data):
    found = detections(boxes)
    levels = st.lists(st.sampled_from([0.1, 0.5, 0.9]), min_size=len(boxes), max_size=len(boxes))
    scores = np.array(data.draw(levels), np.float32)
    kept = geometry.non_maximum_suppression(found.boxes, scores, threshold)
    assert len(set(kept.tolist())) == len(kept)
    overlaps = geometry.pairwise_iou(found.boxes, found.boxes)
    for index in range(len(boxes)):
        better = [k for k in kept if scores[k] >= scores[index]]
        assert index in kept or any(overlaps[k, index] >= np.float32(threshold) for k in better)
    for position, k in enumerate(kept):
        assert all(overlaps[k, other] < threshold for other in kept[:position])
