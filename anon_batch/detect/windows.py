"""Windows around the small faces of an image, enlarged: faces that lie close together and are alike in size share one.

A window shows much around each face, because with less a network is less sure of it and gives rougher boxes.
"""

from __future__ import annotations

from dataclasses import replace
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.records import Detections, FloatArray, PixelArray

SIDE_PX = 128  # of a window as the network sees it
FACE_PX = 64.0  # of the longer side of the face in its middle
MAX_ZOOM = 2.0  # more finds no more, and leaves less room for other faces
_MIN_ZOOM = 0.5  # bilinear sampling skips pixels below
_MIN_GAIN = 1.2  # over the size at which the face was found
_ALIKE = (0.6, 1.4)  # least and most of the zoom that another face in the window would have for itself
_MARGIN_PX = 12.0  # network px around another face


class Window(NamedTuple):
    """A square piece of an image.

    Args:
        x, y: its middle, px of the image.
        zoom: network px per px of the image.
        faces: (K,) indices of the faces that it shows.
    """

    x: float
    y: float
    zoom: float
    faces: npt.NDArray[np.intp]


def windows_of(boxes: FloatArray, scores: FloatArray, scale: float) -> list[Window]:
    """Return windows that show each face that gains from refinement, once. The surest faces are in the middle of one.

    Args:
        boxes: (N, 4) faces, px.
        scores: (N,) of the faces.
        scale: resize factor at which they were found.
    """
    longer = np.maximum((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=1.0), 1.0)
    zooms = np.minimum(MAX_ZOOM, FACE_PX / longer.astype(np.float64))
    small = np.flatnonzero(zooms >= max(_MIN_GAIN * scale, _MIN_ZOOM))
    left = small[np.argsort(-scores[small], kind="stable")]
    windows = []
    while left.size:
        first = left[0]
        middle, zoom = (boxes[first, :2] + boxes[first, 2:]) / 2, zooms[first]
        reach = (SIDE_PX / 2 - _MARGIN_PX) / zoom
        fits = (boxes[left, :2] >= middle - reach).all(axis=1) & (boxes[left, 2:] <= middle + reach).all(axis=1)
        fits &= (zooms[left] >= _ALIKE[0] * zoom) & (zooms[left] <= _ALIKE[1] * zoom)
        fits[0] = True
        windows.append(Window(float(middle[0]), float(middle[1]), float(zoom), left[fits]))
        left = left[~fits]
    return windows


def cut_window(pixels: PixelArray, window: Window) -> PixelArray:
    """Cut a window from an image (H, W, 3): (SIDE_PX, SIDE_PX, 3), black beyond the image's borders."""
    reach = SIDE_PX / window.zoom / 2 + 2
    height, width = pixels.shape[:2]
    x1, y1 = max(0, int(window.x - reach)), max(0, int(window.y - reach))  # cv2 takes at most 32767 px a side
    near = pixels[y1 : min(height, int(window.y + reach) + 1), x1 : min(width, int(window.x + reach) + 1)]
    if not near.size:
        return np.zeros((SIDE_PX, SIDE_PX, 3), np.uint8)
    # cv2 counts from pixel centres, which lie half a pixel off the corners that coordinates count from, on both sides.
    half = (window.zoom - 1) / 2
    across, down = (SIDE_PX / 2 - offset * window.zoom + half for offset in (window.x - x1, window.y - y1))
    affine = np.array([[window.zoom, 0, across], [0, window.zoom, down]])
    return np.asarray(cv2.warpAffine(near, affine, (SIDE_PX, SIDE_PX), flags=cv2.INTER_LINEAR), np.uint8)


def in_image(found: Detections, window: Window) -> Detections:
    """Return what was found in a window in px of the image."""
    zoom = np.float32(window.zoom)
    corner = np.array([window.x, window.y], np.float32) - np.float32(SIDE_PX / 2) / zoom
    return replace(
        found,
        boxes=found.boxes / zoom + np.tile(corner, 2),
        landmarks=found.landmarks / zoom + corner,
        witnesses=found.witnesses / zoom + corner,
    )
