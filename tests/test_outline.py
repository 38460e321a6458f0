from __future__ import annotations

import numpy as np
import pytest

from anon_batch.geometry import region_mask, region_of
from anon_batch.outline import REACH, frame_of, outline_mask, outline_of_box
from anon_batch.records import OUTLINE_SIDE, Detections


def cells(*spans):
    outline = np.zeros((OUTLINE_SIDE, OUTLINE_SIDE), np.bool_)
    for top, bottom, left, right in spans:
        outline[top:bottom, left:right] = True
    return outline


def pixels_of(outline, box, width, height):
    """Return the pixels whose middles lie in the cells, (height, width) bool."""
    x1, y1, x2, y2 = frame_of(box, width, height)
    shown = np.zeros((height, width), np.bool_)
    for y in range(height):
        for x in range(width):
            row, column = (y + 0.5 - y1) / (y2 - y1) * OUTLINE_SIDE, (x + 0.5 - x1) / (x2 - x1) * OUTLINE_SIDE
            if 0 <= row < OUTLINE_SIDE and 0 <= column < OUTLINE_SIDE:
                shown[y, x] = outline[int(row), int(column)]
    return shown


def whole(extent, mask, width, height):
    out = np.zeros((height, width), np.bool_)
    out[extent[1] : extent[3], extent[0] : extent[2]] = mask
    return out


@pytest.mark.parametrize("box", [(20, 10, 60, 90), (-5, -5, 30, 50), (80, 70, 130, 120), (50.3, 40.2, 50.9, 41.0)])
@pytest.mark.parametrize(
    "spans", [[(0, 64, 0, 64)], [(5, 9, 30, 40), (40, 60, 20, 44)], [(63, 64, 63, 64)], [(0, 1, 0, 1)]]
)
def test_a_mask_holds_all_cells_of_the_outline_and_stays_near_them(box, spans):
    width, height, outline = 100, 100, cells(*spans)
    extent, mask = outline_mask(outline, box, width, height, 3.0)
    assert mask.shape == (extent[3] - extent[1], extent[2] - extent[0])
    assert mask[0].any()
    assert mask[-1].any()
    assert mask[:, 0].any()
    assert mask[:, -1].any()
    shown, made = pixels_of(outline, box, width, height), whole(extent, mask, width, height)
    assert (made | ~shown).all()
    if shown.any():
        x1, y1, x2, y2 = frame_of(box, width, height)
        reach = 3.0 + 2 * max(x2 - x1, y2 - y1) / OUTLINE_SIDE + 2
        from scipy.ndimage import distance_transform_edt

        assert distance_transform_edt(~shown)[made].max() <= reach


def test_a_wider_margin_gives_a_larger_mask():
    outline, box = cells((20, 40, 20, 40)), (100, 100, 300, 500)
    sizes = [outline_mask(outline, box, 800, 600, margin)[1].sum() for margin in (0, 5, 20)]
    assert sizes == sorted(sizes)
    assert len(set(sizes)) == 3


def test_an_outline_is_the_same_in_any_size_of_the_image():
    outline, box = cells((10, 50, 25, 40)), np.array([30.0, 20.0, 80.0, 120.0])
    small = whole(*outline_mask(outline, tuple(box), 200, 150, 2.0), 200, 150)
    large = whole(*outline_mask(outline, tuple(box * 4), 800, 600, 8.0), 800, 600)
    assert (large[2::4, 2::4] == small).mean() > 0.99


def test_the_outline_of_a_box_is_the_box():
    box = (20.0, 10.0, 60.0, 90.0)
    extent, mask = outline_mask(outline_of_box(box, 100, 100), box, 100, 100, 0.0)
    assert whole(extent, mask, 100, 100)[10:90, 20:60].all()
    assert extent[0] >= 20 - 40 * (REACH - 1)
    assert outline_of_box((5.0, 5.0, 5.0, 5.0), 100, 100).any()


def test_a_region_takes_the_outline_or_the_rectangle():
    box = np.float32([[20, 10, 60, 90]])
    outlined = Detections(
        box,
        np.ones(1, np.float32),
        np.full((1, 5, 2), np.nan, np.float32),
        ("person",),
        ("person",),
        outlines=(cells((20, 40, 20, 40)),),
    )
    region = region_of(outlined, 0, 100, 100, 1.1, "outline")
    assert region.shape == "outline"
    assert region_mask(region) is region.outline
    assert region.mask_extent[0] > 20
    none = Detections(box, np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32), ("person",), ("person",))
    assert region_of(none, 0, 100, 100, 1.1, "outline").shape == "rectangle"
    assert region_of(outlined, 0, 100, 100, 1.1, "ellipse").shape == "ellipse"


def test_detections_keep_their_outlines_when_they_are_taken_and_merged():
    one, two = cells((0, 1, 0, 1)), None
    marks = np.full((2, 5, 2), np.nan, np.float32)
    found = Detections(np.zeros((2, 4), np.float32), np.ones(2, np.float32), marks, ("a", "b"), outlines=(one, two))
    assert found.take(np.array([1, 0])).outlines == (two, one)
    assert Detections.merge([found, Detections.empty(), found]).outlines == (one, two, one, two)
    with pytest.raises(ValueError, match="outline"):
        Detections(
            np.zeros((1, 4), np.float32),
            np.ones(1, np.float32),
            marks[:1],
            ("a",),
            outlines=(np.ones((3, 3), np.bool_),),
        )
