"""What tests of `swap` and `gan` share: images, regions and crops made by code, and a drawn donor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch import geometry
from anon_batch.anonymize.faces import landmarks
from anon_batch.anonymize.faces.align import Crop, extract, frame_of
from anon_batch.anonymize.faces.colour import rgb_to_lab
from anon_batch.config import ModelsConfig
from anon_batch.models.store import ModelStore
from anon_batch.records import BoolArray, Detections, FloatArray, PixelArray, Region, Shape
from anon_batch.storage import Storage

SKIN = (206, 158, 132)
DONOR_SIDE = 160


def model(name: str) -> bytes:
    return ModelStore(Storage(), ModelsConfig()).load(name)


def regions(
    *boxes: Sequence[float],
    width: int,
    height: int,
    shape: Shape = "ellipse",
    expansion: float = 1.3,
    points: Any = None,
    scores: Sequence[float] | None = None,
    soft_edge: float = 0.0,
) -> list[Region]:
    """Regions of boxes; `points` (n, 5, 2) are their landmarks, else they have none; scores are 0.9 unless given."""
    n = len(boxes)
    marks = np.full((n, 5, 2), np.nan) if points is None else np.asarray(points)
    found = Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.array(scores or [0.9] * n, np.float32),
        marks.astype(np.float32),
        ("d",) * n,
    )
    return list(geometry.regions_of(found, width, height, expansion, shape, soft_edge))


def turned(box: Sequence[float], degrees: float) -> landmarks.Points:
    """Canonical landmarks of a square about the box's centre, turned clockwise as one sees it."""
    x1, y1, x2, y2 = box
    centre, side = np.array([x1 + x2, y1 + y2]) / 2, min(x2 - x1, y2 - y1)
    cosine, sine = np.cos(np.radians(degrees)), np.sin(np.radians(degrees))
    return (landmarks.CANONICAL - 0.5) * side @ np.array([[cosine, sine], [-sine, cosine]]) + centre


def scenery(height: int, width: int, seed: int = 0, cell_px: int = 40) -> PixelArray:
    """Soft blobs of colour."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 216, (height // cell_px + 3, width // cell_px + 3, 3)).astype(np.float32)
    return np.asarray(cv2.resize(coarse, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255), np.uint8)


def erased(pixels: PixelArray, faces: Sequence[Region]) -> tuple[PixelArray, BoolArray]:
    """The image without what lies under the masks, and the masks."""
    unknown = geometry.union_of_masks(faces, pixels.shape[1], pixels.shape[0])
    return np.where(unknown[:, :, None], np.uint8(0), pixels), unknown


def crop_of(pixels: PixelArray, region: Region, side: int | None = None) -> Crop:
    return extract(*erased(pixels, [region]), frame_of(region, side), region)


def oval(side: int, radii: tuple[float, float] = (0.3, 0.38)) -> BoolArray:
    """An ellipse in the middle of a square, radii in shares of the side."""
    grid = (np.arange(side) + 0.5) / side - 0.5
    return np.asarray((grid[None, :] / radii[0]) ** 2 + (grid[:, None] / radii[1]) ** 2 < 1, np.bool_)


def plain_crop(colour: Any, side: int = 96) -> Crop:
    """A crop with an oval mask; `colour` is one colour or the pixels."""
    pixels = np.empty((side, side, 3), np.float32)
    pixels[:] = colour
    unknown = oval(side)
    distance = geometry.distance_to_zero(~unknown) - geometry.distance_to_zero(unknown)
    points = ((landmarks.CANONICAL - 0.5) * 0.6 + 0.5) * side
    return Crop(pixels, rgb_to_lab(pixels), unknown, np.asarray(distance, np.float32), points, None, 1.0)


def lab(colour: Any) -> FloatArray:
    """Lab (L 0 .. 100) of RGB 0 .. 255, of the same shape."""
    values = np.asarray(colour, np.float32) / np.float32(255)
    return np.asarray(cv2.cvtColor(values.reshape(-1, 1, 3), cv2.COLOR_RGB2LAB).reshape(values.shape), np.float32)


def drawn_donor(mark: int = 0) -> tuple[PixelArray, npt.NDArray[np.float64], npt.NDArray[np.float64]]:
    """Pixels, box and landmarks of a drawn face; `mark` moves a dot on its cheek."""
    box = np.array([36, 26, 124, 138], np.float64)
    points = box[:2] + landmarks.CANONICAL * (box[2:] - box[:2])
    pixels = np.empty((DONOR_SIDE, DONOR_SIDE, 3), np.uint8)
    pixels[:] = (40, 70, 150)
    centre, radii = (box[:2] + box[2:]) / 2, (box[2:] - box[:2]) / 2
    cv2.ellipse(pixels, (int(centre[0]), int(centre[1])), (int(radii[0]), int(radii[1])), 0, 0, 360, SKIN, -1)
    for x, y in points:
        cv2.circle(pixels, (int(x), int(y)), 4, (60, 30, 30), -1)
    cv2.circle(pixels, (54, 70 + 6 * mark), 3, (250, 250, 250), -1)
    return pixels, box, points
