"""Boxes, regions and masks. Pure functions on arrays; boxes are xyxy px of the upright picture."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import numpy.typing as npt

from anon_batch.records import BoolArray, Detections, FloatArray, Region, Shape

_MATRIX_BOXES = 128


def pairwise_iou(a: FloatArray, b: FloatArray) -> npt.NDArray[np.float32]:
    """Intersection over union of each box of `a` (N, 4) with each of `b` (M, 4): (N, M).

    Empty boxes give 0.
    """
    # float64 inside: the area of a box of any float32 sides is finite there. Side by side, as (N, M) arrays: more than
    # twice as fast as corners in (N, M, 2).
    rows, columns = a.astype(np.float64), b.astype(np.float64)
    overlap = _shared(rows, columns, 0)
    overlap *= _shared(rows, columns, 1)
    union = _areas(rows)[:, None] + _areas(columns)[None, :] - overlap
    iou = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return np.asarray(iou, np.float32)


def _shared(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    """Length (N, M) that boxes have in common along an axis (0 x, 1 y)."""
    length = np.minimum(a[:, None, 2 + axis], b[None, :, 2 + axis])
    length -= np.maximum(a[:, None, axis], b[None, :, axis])
    return np.maximum(length, 0, out=length)


def box_areas(boxes: FloatArray) -> FloatArray:
    """Areas (N,) float32 of boxes (N, 4), px²; 0 for boxes turned inside out, at most the largest float32."""
    return np.asarray(np.minimum(_areas(boxes.astype(np.float64)), np.finfo(np.float32).max), np.float32)


def _areas(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float64)


def non_maximum_suppression(boxes: FloatArray, scores: FloatArray, iou_threshold: float) -> npt.NDArray[np.intp]:
    """Greedy NMS.

    Returns:
        Indices of the kept boxes by falling score. Ties keep their order, so the result does not depend on
        the platform's sort. A box falls when its IoU with a kept, better one reaches the threshold.
    """
    order = np.argsort(-scores, kind="stable")
    if len(order) <= _MATRIX_BOXES:
        return _suppressed_at_once(boxes[order], order, iou_threshold)
    return _suppressed_in_turn(boxes[order], order, iou_threshold)


def _suppressed_at_once(ranked: FloatArray, order: npt.NDArray[np.intp], iou_threshold: float) -> npt.NDArray[np.intp]:
    """The same with all overlaps in one matrix: six times faster for the numbers of faces that pictures mostly have."""
    overlapping = pairwise_iou(ranked, ranked) >= iou_threshold
    alive = np.ones(len(ranked), np.bool_)
    for index in range(len(ranked)):
        if alive[index]:
            alive[index + 1 :] &= ~overlapping[index, index + 1 :]
    return order[alive]


def _suppressed_in_turn(ranked: FloatArray, order: npt.NDArray[np.intp], iou_threshold: float) -> npt.NDArray[np.intp]:
    """The same with the overlaps of the kept boxes alone: for the many boxes that a network gives around a large face."""
    corners = ranked.astype(np.float64)
    x1, y1, x2, y2 = np.ascontiguousarray(corners.T)
    areas = _areas(corners)
    alive = np.ones(len(ranked), np.bool_)
    for index in range(len(ranked)):
        if not alive[index]:
            continue
        rest = slice(index + 1, None)
        width = np.minimum(x2[rest], x2[index]) - np.maximum(x1[rest], x1[index])
        height = np.minimum(y2[rest], y2[index]) - np.maximum(y1[rest], y1[index])
        overlap = np.maximum(width, 0) * np.maximum(height, 0)
        union = areas[index] + areas[rest] - overlap
        iou = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
        alive[rest] &= iou.astype(np.float32) < iou_threshold
    return order[alive]


def clip_detections(found: Detections, width: int, height: int) -> Detections:
    """The detections with boxes cut at the picture's border, as ground truth has them.

    Detectors may box the unseen part of a face at the border. Regions are made from the whole box, so that the ellipse fits the
    face; overlap with labelled boxes is measured on the part inside the picture.
    """
    limits = np.array([width, height, width, height], np.float32)
    return replace(found, boxes=np.clip(found.boxes, 0, limits))


def regions_of(detections: Detections, width: int, height: int, expansion: float, shape: Shape) -> list[Region]:
    """The regions to treat, one a detection, in the detections' order.

    The box grows by `expansion` about its centre, is rounded outwards to whole pixels and clipped to the
    picture. A box of no size, or one that lies outside the picture altogether, still yields the pixels
    nearest to it: nothing detected is dropped.
    """
    return [_region(index, detections, (width, height), expansion, shape) for index in range(len(detections))]


def _region(index: int, found: Detections, size: tuple[int, int], expansion: float, shape: Shape) -> Region:
    x1, y1, x2, y2 = (float(v) for v in found.boxes[index])
    x1, x2, y1, y2 = min(x1, x2), max(x1, x2), min(y1, y2), max(y1, y2)
    cx, cy = (x1 + x2) / 2, (y1 + y2) / 2
    rx, ry = (max(side, 1.0) * expansion / 2 for side in (x2 - x1, y2 - y1))
    # The box itself too, as centre and radius of an enormous one are rounded.
    left, right = _clip_span(min(cx - rx, x1), max(cx + rx, x2), size[0])
    top, bottom = _clip_span(min(cy - ry, y1), max(cy + ry, y2), size[1])
    marks = found.landmarks[index]
    return Region(
        index=index,
        label=found.labels[index],
        subject=index,
        box=(x1, y1, x2, y2),
        extent=(left, top, right, bottom),
        centre=(cx, cy),
        radii=(rx, ry),
        shape=shape,
        score=float(found.scores[index]),
        landmarks=marks if bool(np.isfinite(marks).all()) else None,
    )


def _clip_span(low: float, high: float, size: int) -> tuple[int, int]:
    start = min(max(math.floor(low), 0), size - 1)
    stop = max(min(math.ceil(high), size), start + 1)
    return start, stop


def region_mask(region: Region) -> BoolArray:
    """The pixels to treat, (extent height, extent width) bool.

    A rectangle is the whole extent. An ellipse holds each pixel whose square touches the ellipse inscribed in
    the expanded box (before clipping), so that an ellipse of any size covers at least one pixel and a face
    cut by the picture's border is covered up to it.
    """
    x1, y1, x2, y2 = region.extent
    if region.shape == "ellipse":
        dx = _nearest_distance(x1, x2, region.centre[0]) / region.radii[0]
        dy = _nearest_distance(y1, y2, region.centre[1]) / region.radii[1]
        ellipse = (dy * dy)[:, None] + dx * dx <= 1.0
        if ellipse.any():
            return ellipse
    return np.ones((y2 - y1, x2 - x1), np.bool_)


def _nearest_distance(start: int, stop: int, centre: float) -> npt.NDArray[np.float64]:
    """Distance from `centre` to the nearest point of each unit square [i, i + 1], i = start .. stop - 1."""
    low = np.arange(start, stop, dtype=np.float64)
    return np.maximum(np.maximum(low - centre, centre - (low + 1)), 0.0)


def soft_alpha(
    region: Region, width: int, height: int, soft_edge: float
) -> tuple[FloatArray, tuple[int, int, int, int]]:
    """Blend weights of a region: exactly 1 on its mask, falling linearly to 0 outside it.

    Args:
        region: what is treated.
        width: of the picture, px.
        height: of the picture, px.
        soft_edge: width of the blend as a share of the region's longer side.

    Returns:
        (h, w) float32 weights and the half-open extent (x1, y1, x2, y2) they lie on: the region's own extent,
        grown by the edge's width and clipped to the picture.
    """
    mask = region_mask(region)
    x1, y1, x2, y2 = region.extent
    edge_px = math.ceil(soft_edge * max(x2 - x1, y2 - y1))
    if edge_px == 0:
        return mask.astype(np.float32), region.extent
    grown = (max(x1 - edge_px, 0), max(y1 - edge_px, 0), min(x2 + edge_px, width), min(y2 + edge_px, height))
    outside = np.ones((grown[3] - grown[1], grown[2] - grown[0]), np.bool_)
    outside[y1 - grown[1] : y2 - grown[1], x1 - grown[0] : x2 - grown[0]][mask] = False
    alpha = np.clip(1.0 - distance_to_zero(outside) / (edge_px + 1), 0.0, 1.0).astype(np.float32)
    return alpha, grown


def distance_to_zero(inside: BoolArray) -> FloatArray:
    """Return the Euclidean distance of each True pixel to the nearest False one, px; 0 at the False ones.

    OpenCV's distanceTransform is not used because the last bits of its result depend on the memory alignment of its
    output and on the number of threads. Here the nearest pixels are found in integers, so equal masks always give equal
    distances.

    Args:
        inside: (H, W) bool.

    Returns:
        (H, W) float32; infinite everywhere when no pixel is False.
    """
    if inside.all():
        return np.full(inside.shape, np.inf, np.float32)
    from scipy.ndimage import distance_transform_edt  # slow to import, and only masks with a border need it

    return np.asarray(distance_transform_edt(inside), np.float32)
