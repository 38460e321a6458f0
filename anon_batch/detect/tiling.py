"""Search of large images in overlapping windows, and once as a whole, downscaled.

Windows find the small faces, the whole finds those that no window holds.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import NamedTuple

import numpy as np

from anon_batch.config import DetectConfig, TileConfig
from anon_batch.detect.merge import merge_tiles, same_label
from anon_batch.detect.protocol import Finder
from anon_batch.geometry import box_areas
from anon_batch.records import BoolArray, Detections, FloatArray, Preview

_BORDER_PX = 4.0  # network px: a box that ends this close to a window's border may be cut by it
_COVERED = 0.7  # a cut box is dropped when this share of it lies in a complete one


class View(NamedTuple):
    """A piece of an image to search: half-open px, and the resize factor before the network."""

    x1: int
    y1: int
    x2: int
    y2: int
    scale: float


def views_of(width: int, height: int, scale: float, tile: TileConfig) -> list[View]:
    """Return the pieces in which an image is searched; the first is always the whole image.

    Args:
        width: of the image, px.
        height: of the image, px.
        scale: resize factor.
        tile: size and overlap of the windows, px after scaling.
    """
    longest = max(width, height)
    if tile.size_px == 0 or longest * scale <= tile.size_px:
        return [View(0, 0, width, height, scale)]
    size = max(1, math.floor(tile.size_px / scale))
    overlap = min(math.ceil(tile.overlap_px / scale), size - 1)
    whole = View(0, 0, width, height, tile.size_px / longest)
    return [whole] + [
        View(x1, y1, x2, y2, scale)
        for y1, y2 in _spans(height, size, overlap)
        for x1, x2 in _spans(width, size, overlap)
    ]


def _spans(length: int, size: int, overlap: int) -> list[tuple[int, int]]:
    """Return evenly spaced windows of `size` that cover 0..length and overlap at least by `overlap`."""
    if length <= size:
        return [(0, length)]
    count = math.ceil((length - overlap) / (size - overlap))
    starts = [(length - size) * step // (count - 1) for step in range(count)]
    return [(start, start + size) for start in starts]


class TiledDetector:
    """Searches images of any size with a finder.

    Args:
        finder: searches a piece.
        scale: resize factor.
        config: windows and the IoU at which boxes of two windows are one detection.
        views: returns the pieces of an image of (width, height) px, the whole first; None takes those of `config`.
        keep_cut: whether boxes that a window's border cuts are kept where no complete box covers them.
    """

    def __init__(
        self,
        finder: Finder,
        scale: float,
        config: DetectConfig,
        views: Callable[[int, int], list[View]] | None = None,
        keep_cut: bool = True,
    ) -> None:
        self._finder = finder
        self._views = views or partial(views_of, scale=scale, tile=config.tile)
        self._keep_cut = keep_cut
        self._merge_iou = config.merge_iou
        self.name = finder.name
        self.models = finder.models
        self.labels = finder.labels

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        """See Detector.detect."""
        views = [self._views(image.width, image.height) for image in images]
        pieces = [
            image.pixels[view.y1 : view.y2, view.x1 : view.x2]
            for image, own in zip(images, views, strict=True)
            for view in own
        ]
        scales = [view.scale for own in views for view in own]
        found = iter(self._finder.find(pieces, scales))
        return [
            self._merge(own, [next(found) for _ in own], image.width, image.height)
            for image, own in zip(images, views, strict=True)
        ]

    def _merge(self, views: list[View], found: list[Detections], width: int, height: int) -> Detections:
        if len(views) == 1:
            return found[0]
        placed = [_place(part, view) for part, view in zip(found, views, strict=True)]
        cut = [_is_cut(part.boxes, view, width, height) for part, view in zip(placed, views, strict=True)]
        marked = list(zip(placed, cut, strict=True))
        complete = merge_tiles([part.take(~at) for part, at in marked], self._merge_iou)
        if not self._keep_cut:
            return complete
        pieces = merge_tiles([part.take(at) for part, at in marked], self._merge_iou)
        uncovered = pieces.take(~_is_covered(pieces, complete))
        return Detections.merge([complete, uncovered])


def _place(part: Detections, view: View) -> Detections:
    shift = np.asarray([view.x1, view.y1], np.float32)
    boxes = part.boxes + np.tile(shift, 2)
    return replace(part, boxes=boxes, landmarks=part.landmarks + shift, witnesses=part.witnesses + shift)


def _is_cut(boxes: FloatArray, view: View, width: int, height: int) -> BoolArray:
    """Return which boxes reach a border of the window that is no border of the image: (N,) bool."""
    near = _BORDER_PX / view.scale
    inner_low = np.asarray([view.x1 > 0, view.y1 > 0])
    inner_high = np.asarray([view.x2 < width, view.y2 < height])
    low = (boxes[:, :2] < np.asarray([view.x1, view.y1]) + near) & inner_low
    high = (boxes[:, 2:] > np.asarray([view.x2, view.y2]) - near) & inner_high
    return np.asarray((low | high).any(axis=1), np.bool_)


def _is_covered(cut: Detections, complete: Detections) -> BoolArray:
    """Return which of the detections `cut` lie for the most part in one of the detections `complete` of their label."""
    if not len(cut) or not len(complete):
        return np.zeros(len(cut), np.bool_)
    left_top = np.maximum(cut.boxes[:, None, :2], complete.boxes[None, :, :2])
    right_bottom = np.minimum(cut.boxes[:, None, 2:], complete.boxes[None, :, 2:])
    inside = np.prod(np.clip(right_bottom - left_top, 0, None), axis=2)
    covered = inside >= _COVERED * box_areas(cut.boxes)[:, None]
    return np.asarray((covered & same_label(cut, complete)).any(axis=1), np.bool_)
