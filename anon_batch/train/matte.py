"""Find where an image shows a face (skin and features, without hair) and its head (with hair and ears)."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.records import FloatArray, PixelArray

# Radii in units of the box's ellipse. Everything inside the core is face, because features have any colour and a beard reaches
# down to the chin. From there to the limit, a pixel is face if it has the colour of skin: ears, jaw, forehead.
_CORE, _CORE_BELOW, _CORE_SOFT = 0.84, 0.96, 0.08
_LIMIT, _LIMIT_SOFT = 1.38, 0.1
_SAMPLED = 0.75  # radius inside which the colour of skin is measured
_LEAST_DEVIATION = np.array([9.0, 2.5, 3.5])  # of Lab, so that shadows on an evenly lit face still count as skin
_DEVIATIONS = 1.55  # factor on the measured deviation
_FAR = 3.0  # deviations from the colour of skin beyond which a pixel is not skin
_MEDIAN_PX, _CLOSE_PX, _SOFT_PX, _EDGE_PX = 7, 9, 1.2, 6  # of an image of 160 px
# Radii in units of the box's ellipse, for GrabCut: beyond the first, probably background; beyond the second, in the strips along
# the upper third of the left and right border, certain background. The face is certain foreground.
_LIKELY_HEAD, _NO_HEAD, _SIDE_PX = 1.25, 1.3, 10
_HEAD_FACE, _CUTS, _OPEN_PX, _HEAD_SOFT_PX = 0.6, 3, 5, 1.5


def matte_of(pixels: PixelArray, box: npt.NDArray[np.float64]) -> FloatArray:
    """Return the matte of the face.

    Args:
        pixels: (side, side, 3) uint8 RGB.
        box: (4,) xyxy of the face, px.

    Returns:
        (side, side) float32, 0 .. 1.
    """
    grid = np.arange(pixels.shape[0]) + 0.5
    centre, radii = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 2, 1)
    x, y = (grid[None, :] - centre[0]) / radii[0], (grid[:, None] - centre[1]) / radii[1]
    radius = np.hypot(x, y)
    core = np.clip((np.where(y > 0.1, _CORE_BELOW, _CORE) - radius) / _CORE_SOFT + 0.5, 0, 1)
    reach = np.clip((_LIMIT - np.hypot(x, np.where(y > 0, y, 1.1 * y))) / _LIMIT_SOFT, 0, 1)
    matte = np.maximum(core, reach * _skin(pixels, radius < _SAMPLED))
    middle = tuple(int(v) for v in np.clip(centre, 0, pixels.shape[0] - 1))
    bytes_ = np.rint(_keep_connected(matte, middle) * 255).astype(np.uint8)
    bytes_ = cv2.medianBlur(bytes_, _MEDIAN_PX)
    bytes_ = cv2.morphologyEx(bytes_, cv2.MORPH_CLOSE, np.ones((_CLOSE_PX, _CLOSE_PX), np.uint8))
    return np.asarray(
        cv2.GaussianBlur(bytes_.astype(np.float32) / 255, (0, 0), _SOFT_PX) * _fade_at_border(grid), np.float32
    )


def head_of(pixels: PixelArray, box: npt.NDArray[np.float64], face: FloatArray) -> FloatArray:
    """Return the matte of the head, by GrabCut (Rother et al. 2004) from that of the face.

    Args:
        pixels: (side, side, 3) uint8 RGB.
        box: (4,) xyxy of the face, px.
        face: (side, side) float32, `matte_of` of the same.

    Returns:
        (side, side) float32, 0 .. 1, nowhere below that of the face.
    """
    side = pixels.shape[0]
    grid = np.arange(side) + 0.5
    centre, radii = (box[:2] + box[2:]) / 2, np.maximum((box[2:] - box[:2]) / 2, 1)
    radius = np.hypot((grid[None, :] - centre[0]) / radii[0], (grid[:, None] - centre[1]) / radii[1])
    labels = np.full((side, side), cv2.GC_PR_FGD, np.uint8)
    labels[radius > _LIKELY_HEAD] = cv2.GC_PR_BGD
    beside = np.zeros((side, side), np.bool_)
    beside[: side // 3, :_SIDE_PX] = beside[: side // 3, -_SIDE_PX:] = True
    labels[beside & (radius > _NO_HEAD)] = cv2.GC_BGD
    labels[face > _HEAD_FACE] = cv2.GC_FGD
    if not (labels == cv2.GC_FGD).any() or not (labels % 2 == 0).any():
        return face
    cv2.setRNGSeed(0)  # because GrabCut clusters colours from random starts
    bgr = np.ascontiguousarray(pixels[:, :, ::-1])
    cv2.grabCut(bgr, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), _CUTS, cv2.GC_INIT_WITH_MASK)
    inside = cv2.morphologyEx(labels % 2, cv2.MORPH_OPEN, np.ones((_OPEN_PX, _OPEN_PX), np.uint8))
    middle = tuple(int(v) for v in np.clip(centre, 0, side - 1))
    whole = _keep_connected(inside.astype(np.float64), middle).astype(np.float32)
    return np.asarray(
        np.maximum(face, cv2.GaussianBlur(whole, (0, 0), _HEAD_SOFT_PX) * _fade_at_border(grid)), np.float32
    )


def _fade_at_border(grid: npt.NDArray[np.floating]) -> npt.NDArray[np.float64]:
    """Return 1, falling to 0 at the image's border, so that nothing is cut off there."""
    edge = np.clip(np.minimum(grid, grid[::-1]) / _EDGE_PX - 0.2, 0, 1)
    return np.asarray(edge[:, None] * edge[None, :], np.float64)


def _skin(pixels: PixelArray, sampled: npt.NDArray[np.bool_]) -> npt.NDArray[np.float64]:
    """Return how well each pixel fits the skin colour of this face, 0 .. 1."""
    lab = cv2.cvtColor(pixels.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    lab = cv2.GaussianBlur(lab, (0, 0), _SOFT_PX)
    inside = lab[sampled]
    colour = np.median(inside, axis=0)
    deviation = 1.4826 * np.median(
        np.abs(inside - colour), axis=0
    )  # of a normal distribution, from the median deviation
    distance = np.sqrt((((lab - colour) / (np.maximum(deviation, _LEAST_DEVIATION) * _DEVIATIONS)) ** 2).sum(axis=2))
    return np.asarray(np.clip(_FAR - distance, 0, 1), np.float64)


def _keep_connected(matte: npt.NDArray[np.float64], middle: tuple[int, ...]) -> npt.NDArray[np.float64]:
    """Return the part of a matte that is connected to its centre."""
    _, labels = cv2.connectedComponents((matte > 0.4).astype(np.uint8))
    same = (labels == labels[middle[1], middle[0]]).astype(np.uint8)
    return np.asarray(matte * (cv2.dilate(same, np.ones((3, 3), np.uint8)) > 0), np.float64)
