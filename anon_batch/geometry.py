"""Boxes, regions and masks. Pure functions on arrays; boxes are xyxy px of the upright image."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import replace
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from anon_batch import face_shape
from anon_batch.face_outline import CHIN, Box, MaskShape, reach, touched_pixels
from anon_batch.outline import outline_mask
from anon_batch.records import PLATE_LABEL, BoolArray, Detections, FloatArray, Region, Shape

Extent = tuple[int, int, int, int]
_Scalar = TypeVar("_Scalar", bound=np.generic)
_BLOCK_BOXES = 128


def pairwise_iou(a: FloatArray, b: FloatArray) -> npt.NDArray[np.float32]:
    """Return the intersection over union of each box of `a` (N, 4) with each of `b` (M, 4): (N, M).

    Empty boxes give 0.
    """
    # In float64, because the area of a box with any float32 sides is finite there. In (N, M) arrays by axis, because that is
    # more than twice as fast as corners in (N, M, 2).
    rows, columns = a.astype(np.float64), b.astype(np.float64)
    overlap = _shared(rows, columns, 0)
    overlap *= _shared(rows, columns, 1)
    union = _areas(rows)[:, None] + _areas(columns)[None, :] - overlap
    iou = np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0)
    return np.asarray(iou, np.float32)


def paired_iou(a: FloatArray, b: FloatArray) -> npt.NDArray[np.float32]:
    """Return the intersection over union of each box of `a` (N, 4) with the box of `b` (N, 4) at the same place: (N,).

    Empty boxes give 0. The memory grows with N, that of `pairwise_iou` with N squared.
    """
    one, other = a.astype(np.float64), b.astype(np.float64)
    sides = np.minimum(one[:, 2:], other[:, 2:]) - np.maximum(one[:, :2], other[:, :2])
    overlap = np.maximum(sides, 0).prod(axis=1)
    union = _areas(one) + _areas(other) - overlap
    return np.asarray(np.divide(overlap, union, out=np.zeros_like(overlap), where=union > 0), np.float32)


def _shared(a: npt.NDArray[np.float64], b: npt.NDArray[np.float64], axis: int) -> npt.NDArray[np.float64]:
    """Return the length (N, M) that boxes have in common along an axis (0 x, 1 y)."""
    length = np.minimum(a[:, None, 2 + axis], b[None, :, 2 + axis])
    length -= np.maximum(a[:, None, axis], b[None, :, axis])
    return np.maximum(length, 0, out=length)


def box_areas(boxes: FloatArray) -> FloatArray:
    """Return areas (N,) float32 of boxes (N, 4), px²; 0 for inverted boxes, at most the largest float32."""
    return np.asarray(np.minimum(_areas(boxes.astype(np.float64)), np.finfo(np.float32).max), np.float32)


def _areas(boxes: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float64)


def non_maximum_suppression(boxes: FloatArray, scores: FloatArray, iou_threshold: float) -> npt.NDArray[np.intp]:
    """Run greedy non-maximum suppression.

    Returns:
        Indices of the kept boxes by falling score. Ties keep their order, so the result does not depend on
        the platform's sort. A box is suppressed when its IoU with a kept, better one reaches the threshold.
    """
    order = np.argsort(-scores, kind="stable")
    kept = np.zeros(0, np.intp)
    # In blocks, each against the kept boxes at once and then against itself: several times faster than box by box.
    for start in range(0, len(order), _BLOCK_BOXES):
        block = order[start : start + _BLOCK_BOXES]
        if len(kept):
            block = block[~(pairwise_iou(boxes[kept], boxes[block]) >= iou_threshold).any(axis=0)]
        kept = np.concatenate([kept, block[_alive(pairwise_iou(boxes[block], boxes[block]) >= iou_threshold)]])
    return kept


def _alive(overlapping: BoolArray) -> BoolArray:
    """Return which of N boxes (N,) no better one suppresses, by what overlaps what: (N, N) bool, the best first."""
    alive = np.ones(len(overlapping), np.bool_)
    for index in np.flatnonzero(overlapping.sum(axis=1) > 1).tolist():  # each overlaps itself
        if alive[index]:
            alive[index + 1 :] &= ~overlapping[index, index + 1 :]
    return alive


def clip_detections(found: Detections, width: int, height: int) -> Detections:
    """Return the detections with boxes clipped to the image, like those of the ground truth.

    The box of a face that the border cuts may reach beyond it. Regions are made from the whole box, so that the ellipse fits the
    face; overlap with labelled boxes is measured on the part inside the image.
    """
    limits = np.array([width, height, width, height], np.float32)
    return replace(found, boxes=np.clip(found.boxes, 0, limits))


def regions_of(
    detections: Detections, width: int, height: int, expansion: float, shape: Shape, soft_edge: float = 0.0
) -> list[Region]:
    """Return the regions of detections that are all handled alike, in their order: see `region_of`."""
    return [
        region_of(detections, index, width, height, expansion, shape, soft_edge) for index in range(len(detections))
    ]


def region_of(
    detections: Detections,
    index: int,
    width: int,
    height: int,
    expansion: float,
    shape: Shape,
    soft_edge: float = 0.0,
    subject: int | str | None = None,
) -> Region:
    """Return the region of one detection.

    The box grows by `expansion` about its centre, is rounded outwards to whole pixels and clipped to the image. A box without
    size, or one that lies outside the image, still yields the pixels nearest to it, so that no detection is dropped. The shape
    `face` is that of well-found faces; all others get an ellipse of at least 1.3: see `face_shape.mask_shape`. The shape
    `outline` is the one that the detector gave, with a margin as wide as that by which the box would grow along its shorter side;
    where it gave none, the rectangle.

    Args:
        detections: of one image.
        index: which detection.
        width: of the image, px.
        height: of the image, px.
        expansion: factor, at least 1.
        shape: of the mask.
        soft_edge: width of the blend outside the mask, as a share of the longer side of the mask's extent.
        subject: what the seed derives from; None takes the index.
    """
    x1, y1, x2, y2 = detections.boxes[index].tolist()
    box = min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)
    own = detections.outlines[index] if shape == "outline" else None
    if shape == "outline" and own is None:
        shape = "rectangle"
    mask = _mask_shape(detections, index, box, expansion, shape)
    if own is None:
        mask_extent, outline = _mask_extent(mask, box, width, height), None
    else:
        margin_px = (expansion - 1) / 2 * min(box[2] - box[0], box[3] - box[1])
        mask_extent, outline = outline_mask(own, box, width, height, margin_px)
    left, top, right, bottom = mask_extent
    edge_px = math.ceil(soft_edge * max(right - left, bottom - top))
    marks = detections.landmarks[index]
    return Region(
        index=index,
        label=detections.labels[index],
        subject=index if subject is None else subject,
        box=box,
        extent=grow_extent(mask_extent, edge_px, width, height),
        mask_extent=mask_extent,
        centre=_centre(box),
        radii=mask.radii,
        shape=mask.shape,
        score=float(detections.scores[index]),
        landmarks=marks if bool(np.isfinite(marks).all()) else None,
        edge_px=edge_px,
        outline=outline,
        angle=mask.angle,
    )


def _mask_shape(detections: Detections, index: int, box: Box, expansion: float, shape: Shape) -> MaskShape:
    if shape != "face":
        width, height = (max(side, 1.0) for side in (box[2] - box[0], box[3] - box[1]))
        return MaskShape(shape, (width * expansion / 2, height * expansion / 2))
    if detections.labels[index] == PLATE_LABEL:  # because its landmarks are corners
        return face_shape.mask_shape(box, float(detections.scores[index]), None, [], expansion)
    landmarks, witnesses = detections.landmarks[index], detections.witnesses[index]
    own = landmarks.tolist() if bool(np.isfinite(landmarks).all()) else None
    others = witnesses[np.isfinite(witnesses).all(axis=(1, 2))].reshape(-1, 2).tolist() if len(witnesses) else []
    return face_shape.mask_shape(box, float(detections.scores[index]), own, others, expansion)


def _mask_extent(mask: MaskShape, box: Box, width: int, height: int) -> Extent:
    """Return the bounding box of a mask, in whole pixels of the image."""
    x1, y1, x2, y2 = box
    cx, cy = _centre(box)
    rx, ry = mask.radii
    if mask.shape == "face":
        before, above, after, below = reach(mask)
        x1, y1, x2, y2 = cx - before, cy - above, cx + after, cy + below
    else:  # the box itself too, because centre and radius of an enormous box are rounded
        x1, y1, x2, y2 = min(cx - rx, x1), min(cy - ry, y1), max(cx + rx, x2), max(cy + ry, y2)
    left, right = _clip_span(x1, x2, width)
    top, bottom = _clip_span(y1, y2, height)
    return left, top, right, bottom


def _centre(box: Box) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


def grow_extent(extent: Extent, margin_px: int, width: int, height: int) -> Extent:
    """Return the extent with `margin_px` more on each side, clipped to the image."""
    x1, y1, x2, y2 = extent
    return max(x1 - margin_px, 0), max(y1 - margin_px, 0), min(x2 + margin_px, width), min(y2 + margin_px, height)


def longer_side_px(region: Region) -> float:
    """Return the longer side of the expanded box before clipping, at least that of the mask's extent.

    Not the clipped one, because a face at the image's border is to be rendered as coarsely as a whole one.
    """
    x1, y1, x2, y2 = region.mask_extent
    down = (1 + CHIN) if region.shape == "face" else 2.0
    return max(2 * region.radii[0], down * region.radii[1], float(x2 - x1), float(y2 - y1))


def _clip_span(low: float, high: float, size: int) -> tuple[int, int]:
    start = min(max(math.floor(low), 0), size - 1)
    stop = max(min(math.ceil(high), size), start + 1)
    return start, stop


def region_mask(region: Region) -> BoolArray:
    """Return the pixels that must change, (mask extent height, width) bool.

    A rectangle is the whole mask extent. An ellipse holds each pixel whose square touches the ellipse inscribed in the
    expanded box before clipping, so that an ellipse of any size covers at least one pixel and a face that the image's border
    cuts is covered up to it. So does a `face`: see `face_outline.touched_pixels`. An outline is taken as it is.
    """
    x1, y1, x2, y2 = region.mask_extent
    if region.outline is not None:
        return region.outline
    if region.shape != "rectangle":
        mask = (
            touched_pixels(MaskShape("face", region.radii, region.angle), region.centre, region.mask_extent)
            if region.shape == "face"
            else _touched_by_ellipse(region)
        )
        if mask.any():
            return mask
    return np.ones((y2 - y1, x2 - x1), np.bool_)


def _touched_by_ellipse(region: Region) -> BoolArray:
    x1, y1, x2, y2 = region.mask_extent
    dx = _nearest_distance(x1, x2, region.centre[0]) / region.radii[0]
    dy = _nearest_distance(y1, y2, region.centre[1]) / region.radii[1]
    return np.asarray((dy * dy)[:, None] + dx * dx <= 1.0, np.bool_)


def union_of_masks(regions: Iterable[Region], width: int, height: int) -> BoolArray:
    """Return the pixels that lie in any region's mask, (height, width) bool."""
    union = np.zeros((height, width), np.bool_)
    for region in regions:
        crop(union, region.mask_extent)[...] |= region_mask(region)
    return union


def crop(array: npt.NDArray[_Scalar], extent: Extent) -> npt.NDArray[_Scalar]:
    """Return a view of an image's array (H, W, ...) on an extent."""
    x1, y1, x2, y2 = extent
    return array[y1:y2, x1:x2]


def _nearest_distance(start: int, stop: int, centre: float) -> npt.NDArray[np.float64]:
    """Return the distance from `centre` to the nearest point of each unit square [i, i + 1], i = start .. stop - 1."""
    low = np.arange(start, stop, dtype=np.float64)
    return np.maximum(np.maximum(low - centre, centre - (low + 1)), 0.0)


def soft_alpha(region: Region) -> FloatArray:
    """Return the blend weights of a region on its extent, (h, w) float32.

    They are exactly 1 on the mask, and fall linearly to 0 over the region's soft edge outside it.
    """
    mask = region_mask(region)
    if region.extent == region.mask_extent and region.edge_px == 0:
        return mask.astype(np.float32)
    left, top, right, bottom = region.extent
    x1, y1, x2, y2 = region.mask_extent
    outside = np.ones((bottom - top, right - left), np.bool_)
    outside[y1 - top : y2 - top, x1 - left : x2 - left][mask] = False
    return np.clip(1.0 - distance_to_zero(outside) / (region.edge_px + 1), 0.0, 1.0).astype(np.float32)


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
