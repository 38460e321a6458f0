"""Windows around the small faces of an image, enlarged: faces that lie close together share one.

A window shows much around each face, because with less a network is less sure of it and gives rougher boxes.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.detect.protocol import Finder
from anon_batch.records import BoolArray, Detections, FloatArray, PixelArray, Preview

MOST_PX = 64  # of the longer side of a small face as the network sees it; a larger one gains nothing
_AT_ONCE = 256  # windows that are in memory at a time
_LEAST_ZOOM = 0.5  # bilinear sampling skips pixels below
_MOST_ZOOM = 3.0  # more finds no more: the pixels are not there
_MARGIN_PX = 12.0  # network px around another face
_BORDER_PX = 4.0  # network px: a box that ends this close to a border may be cut by it


class Window(NamedTuple):
    """A square piece of an image.

    Args:
        x, y: its middle, px of the image.
        side_px: of the window as the network sees it.
        zoom: network px per px of the image.
        faces: (K,) indices of the faces that it shows.
    """

    x: float
    y: float
    side_px: int
    zoom: float
    faces: npt.NDArray[np.intp]


def windows_of(boxes: FloatArray, scores: FloatArray, zoom: float, side_px: int) -> list[Window]:
    """Return windows that show each small face once. The surest faces are in the middle of one.

    Args:
        boxes: (N, 4) faces, px.
        scores: (N,) of the faces.
        zoom: network px per px of the image.
        side_px: of the windows as the network sees them.
    """
    longer = (boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=0.0)
    small = np.flatnonzero(longer <= MOST_PX / zoom) if _LEAST_ZOOM <= zoom <= _MOST_ZOOM else np.zeros(0, np.intp)
    left = small[np.argsort(-scores[small], kind="stable")]
    reach = (side_px / 2 - _MARGIN_PX) / zoom
    windows = []
    while left.size:
        middle = (boxes[left[0], :2] + boxes[left[0], 2:]) / 2
        inside = (boxes[left, :2] >= middle - reach).all(axis=1) & (boxes[left, 2:] <= middle + reach).all(axis=1)
        fits = inside | (np.arange(len(left)) == 0)
        windows.append(Window(float(middle[0]), float(middle[1]), side_px, zoom, left[fits]))
        left = left[~fits]
    return windows


def find_in_windows(finder: Finder, windows: Sequence[tuple[Preview, Window]]) -> Iterator[Detections]:
    """Yield what a network finds in each window, px of it; few are cut at a time, because there may be thousands."""
    for start in range(0, len(windows), _AT_ONCE):
        pieces = [cut_window(image.pixels, window) for image, window in windows[start : start + _AT_ONCE]]
        yield from finder.find(pieces, [1.0] * len(pieces))


def cut_window(pixels: PixelArray, window: Window) -> PixelArray:
    """Cut a window from an image (H, W, 3): (side_px, side_px, 3), black beyond the image's borders."""
    side = window.side_px
    reach = side / window.zoom / 2 + 2
    height, width = pixels.shape[:2]
    x1, y1 = max(0, int(window.x - reach)), max(0, int(window.y - reach))  # cv2 takes at most 32767 px a side
    near = pixels[y1 : min(height, int(window.y + reach) + 1), x1 : min(width, int(window.x + reach) + 1)]
    if not near.size:
        return np.zeros((side, side, 3), np.uint8)
    # cv2 counts from pixel centres, which lie half a pixel off the corners that coordinates count from, on both sides.
    half = (window.zoom - 1) / 2
    across, down = (side / 2 - offset * window.zoom + half for offset in (window.x - x1, window.y - y1))
    affine = np.array([[window.zoom, 0, across], [0, window.zoom, down]])
    return np.asarray(cv2.warpAffine(near, affine, (side, side), flags=cv2.INTER_LINEAR), np.uint8)


def in_image(found: Detections, window: Window) -> Detections:
    """Return what was found in a window in px of the image."""
    zoom = np.float32(window.zoom)
    corner = np.array([window.x, window.y], np.float32) - np.float32(window.side_px / 2) / zoom
    return replace(
        found,
        boxes=found.boxes / zoom + np.tile(corner, 2),
        landmarks=found.landmarks / zoom + corner,
        witnesses=found.witnesses / zoom + corner,
    )


def lie_whole(found: Detections, window: Window) -> BoolArray:
    """Return which detections in a window, px of it, no border of it cuts: (N,) bool."""
    inside = (found.boxes >= _BORDER_PX) & (found.boxes <= window.side_px - _BORDER_PX)
    return np.asarray(inside.all(axis=1), np.bool_)
