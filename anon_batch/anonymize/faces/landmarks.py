"""Five landmarks: the canonical ones, similarity fits, mirroring, and maps of them for networks.

Order as everywhere: right eye, left eye, nose tip, right and left mouth corner, left to right in the image for an
upright face. Arrays of landmarks are (..., 5, 2) xy.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anon_batch.face_shape import are_plausible
from anon_batch.records import Region

Points = npt.NDArray[np.float64]

# Means over 2,093 synthetic faces seen from the front, made symmetric; in units of CenterFace's box.
CANONICAL: Points = np.array([[0.264, 0.383], [0.736, 0.383], [0.5, 0.594], [0.297, 0.744], [0.703, 0.744]])
MIRRORED_ORDER = (1, 0, 2, 4, 3)


def landmarks_of(region: Region) -> Points:
    """Return the region's landmarks (5, 2) px, or canonical ones fitted to its box where it has none that are plausible.

    Landmarks that are bunched together or lie far outside the box are not plausible.
    """
    if region.landmarks is not None and are_plausible(region.landmarks.tolist(), region.box):
        return np.asarray(region.landmarks, np.float64)
    x1, y1, x2, y2 = region.box
    corner, size = np.array([x1, y1]), np.maximum([x2 - x1, y2 - y1], 1.0)
    return corner + CANONICAL * size


def similarity(source: Points, target: Points) -> Points:
    """Return the similarity that maps `source` onto `target` with the least squared error.

    Umeyama 1991, "Least-squares estimation of transformation parameters between two point patterns", without
    reflection, in its closed form for the plane.

    Args:
        source: (..., n, 2).
        target: (..., n, 2).

    Returns:
        (..., 2, 3): rotation and scale in the first two columns, the shift in the third.
    """
    mean_source, mean_target = source.mean(axis=-2), target.mean(axis=-2)
    a, b = source - mean_source[..., None, :], target - mean_target[..., None, :]
    norm = np.maximum((a**2).sum(axis=(-1, -2)), 1e-12)
    cosine = (a * b).sum(axis=(-1, -2)) / norm
    sine = (a[..., 0] * b[..., 1] - a[..., 1] * b[..., 0]).sum(axis=-1) / norm
    linear = np.stack([np.stack([cosine, -sine], -1), np.stack([sine, cosine], -1)], -2)
    shift = mean_target - (linear @ mean_source[..., None])[..., 0]
    return np.concatenate([linear, shift[..., None]], axis=-1)


def apply(transform: Points, points: Points) -> Points:
    """Apply affine transforms (..., 2, 3) to points (..., n, 2)."""
    return points @ np.swapaxes(transform[..., :2], -1, -2) + transform[..., None, :, 2]


def inverse(transform: Points) -> Points:
    """Return the inverse of an affine transform (2, 3)."""
    linear = np.linalg.inv(transform[:, :2])
    return np.concatenate([linear, -linear @ transform[:, 2:]], axis=1)


def mirror(points: Points, width: float) -> Points:
    """Return landmarks (..., 5, 2) of the image flipped left to right, in the usual order again."""
    flipped = points[..., MIRRORED_ORDER, :].copy()
    flipped[..., 0] = width - flipped[..., 0]
    return flipped


def maps(points: npt.NDArray[np.floating], side: int, sigma: float) -> npt.NDArray[np.float32]:
    """Return a Gaussian bump, 1 at its top, at each landmark.

    Args:
        points: (n, 5, 2) px of a square crop; a pixel's centre lies at half a px.
        side: of the crop, px.
        sigma: of the bumps, px.

    Returns:
        (n, 5, side, side) float32.
    """
    grid = np.arange(side, dtype=np.float32) + np.float32(0.5)
    near = np.asarray(points, np.float32)
    dx = np.exp(-((grid - near[..., 0:1]) ** 2) / np.float32(2 * sigma**2))
    dy = np.exp(-((grid - near[..., 1:2]) ** 2) / np.float32(2 * sigma**2))
    return np.asarray(dy[..., :, None] * dx[..., None, :], np.float32)
