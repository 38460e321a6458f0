"""Find where a donor's image shows its face: take hair, hats and background out of the quick matte by GrabCut.

The quick matte takes everything inside an ellipse for face. A bank is built once, so it can afford the better one.
"""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.records import FloatArray, PixelArray
from anon_batch.train.matte import matte_of

# Radii in units of the box's ellipse. Inside the certain one everything is face, because shadows and features have any colour;
# it reaches less high, because fringes and hats hang there, and lower where a beard does.
_CERTAIN, _CERTAIN_UP, _CERTAIN_BEARD = 0.7, 0.62, 0.93
_SKIN, _SKIN_DEVIATIONS = 0.98, 2.3  # within this radius, what has the colour of skin to so many deviations is face
_NO_FACE = 1.42
_LEAST_DEVIATION = np.array([9.0, 2.5, 3.5])  # of Lab, so that shadows on an evenly lit face still count as skin
_AROUND_POINTS = 0.06  # of the box's height, by which the hull of the landmarks is widened
_CUTS, _OPEN_PX, _CLOSE_PX, _SMOOTH_PX, _SOFT_PX = 4, 5, 7, 1.2, 1.5

Points = npt.NDArray[np.float64]


def face_matte(pixels: PixelArray, box: Points, points: Points, *, profile: bool, beard: bool) -> FloatArray:
    """Return the matte of the face, (side, side) float32 0 .. 1, nowhere above `matte_of`.

    GrabCut: Rother et al. 2004.

    Args:
        pixels: (side, side, 3) uint8 RGB.
        box: (4,) xyxy of the face, px.
        points: (5, 2) landmarks, px.
        profile: the face shows one side, so that background lies inside the box.
        beard: the face has one.
    """
    quick = matte_of(pixels, box)
    grid = np.arange(len(pixels)) + 0.5
    centre, radii = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    x, y = (grid[None, :] - centre[0]) / radii[0], (grid[:, None] - centre[1]) / radii[1]
    certain = _around(points, len(pixels), float(radii[1]))
    if not profile:
        lower = _CERTAIN / _CERTAIN_BEARD if beard else 1.0
        certain |= np.hypot(x, y * np.where(y < 0, _CERTAIN / _CERTAIN_UP, lower)) < _CERTAIN
    labels = np.where(quick > 0.5, cv2.GC_PR_FGD, cv2.GC_PR_BGD).astype(np.uint8)
    labels[np.hypot(x, y) > _NO_FACE] = cv2.GC_BGD
    labels[certain] = cv2.GC_FGD
    cv2.setRNGSeed(0)  # because GrabCut clusters colours from random starts
    bgr = np.ascontiguousarray(pixels[:, :, ::-1])
    cv2.grabCut(bgr, labels, None, np.zeros((1, 65)), np.zeros((1, 65)), _CUTS, cv2.GC_INIT_WITH_MASK)
    face = (labels % 2 == 1) | (_like_skin(pixels, certain) & (np.hypot(x, y) < _SKIN))
    whole = _one_piece(face, certain, points[2])
    return np.asarray(np.minimum(quick, cv2.GaussianBlur(whole, (0, 0), _SOFT_PX)), np.float32)


def _around(points: Points, side: int, radius: float) -> npt.NDArray[np.bool_]:
    """Return the hull of the landmarks, widened."""
    hull = np.zeros((side, side), np.uint8)
    cv2.fillConvexPoly(hull, cv2.convexHull(np.rint(points).astype(np.int32)), (1,))
    width = round(2 * radius * _AROUND_POINTS) | 1
    return np.asarray(cv2.dilate(hull, cv2.getStructuringElement(cv2.MORPH_ELLIPSE, (width, width))), np.bool_)


def _like_skin(pixels: PixelArray, certain: npt.NDArray[np.bool_]) -> npt.NDArray[np.bool_]:
    """Return which pixels have the colours of the certain face."""
    lab = cv2.cvtColor(pixels.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB)
    lab = cv2.GaussianBlur(lab, (0, 0), _SMOOTH_PX)
    colour = np.median(lab[certain], axis=0)
    deviation = 1.4826 * np.median(np.abs(lab[certain] - colour), axis=0)
    distance = np.sqrt((((lab - colour) / np.maximum(deviation, _LEAST_DEVIATION)) ** 2).sum(axis=2))
    return np.asarray(distance < _SKIN_DEVIATIONS, np.bool_)


def _one_piece(face: npt.NDArray[np.bool_], certain: npt.NDArray[np.bool_], nose: Points) -> FloatArray:
    """Return the piece of a mask that holds the nose, without crumbs and holes."""
    mask = cv2.morphologyEx(face.astype(np.uint8), cv2.MORPH_OPEN, np.ones((_OPEN_PX, _OPEN_PX), np.uint8))
    mask = cv2.morphologyEx(mask | certain.astype(np.uint8), cv2.MORPH_CLOSE, np.ones((_CLOSE_PX, _CLOSE_PX), np.uint8))
    pieces = cv2.connectedComponents(mask)[1]
    column, row = (int(v) for v in np.rint(nose))
    piece = pieces == pieces[row, column]
    outside = cv2.connectedComponents((~piece).astype(np.uint8))[1]
    return np.asarray(piece | (outside != outside[0, 0]), np.float32)
