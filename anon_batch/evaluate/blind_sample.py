"""The faces of the blind test: single faces at natural size, original and replaced, some of every size."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anon_batch.outcomes import Anonymized
from anon_batch.records import Detections, FloatArray, PixelArray

FACES = 60
MIN_SIDE_PX = 16  # longer side of a face's box, below which nobody can say anything
MIN_SCORE = 0.5  # of a detection, because below many are no faces
CLASSES = ("16 to 48 px", "48 to 96 px", "from 96 px")
_BOUNDS_PX = (48, 96)
_REACH = 1.15  # half side of a cell, in units of the box's longer side
_MAX_CELL_PX = 900  # larger ones do not fit a screen at natural size


@dataclass(frozen=True, slots=True, eq=False)
class BlindFace:
    """One face.

    Args:
        size_class: one of `CLASSES`.
        side_px: longer side of the box.
        original: (h, w, 3) uint8 RGB at natural size.
        outputs: method -> the same of its output.
    """

    size_class: str
    side_px: float
    original: PixelArray
    outputs: Mapping[str, PixelArray]


class BlindSample:
    """A random sample of faces with about as many of each size class; each face appears once.

    Args:
        seed: of the sample.
        faces: size of the sample.
    """

    def __init__(self, seed: int, faces: int = FACES) -> None:
        self._random, self._size, self._count = np.random.default_rng(seed), faces, 0
        self._heaps: dict[str, list[tuple[float, int, BlindFace]]] = {name: [] for name in CLASSES}

    def offer(self, original: PixelArray, outputs: Mapping[str, Anonymized], detections: Detections) -> None:
        """Add the faces of an image to the population.

        Args:
            original: (H, W, 3) uint8 RGB.
            outputs: method -> the anonymized image.
            detections: faces, all of which are anonymized.
        """
        for index, (box, score) in enumerate(zip(detections.boxes, detections.scores, strict=True)):
            side = float((box[2:] - box[:2]).max())
            cell = natural_cell(original, box)
            fits = min(cell.shape[:2]) >= MIN_SIDE_PX and max(cell.shape[:2]) <= _MAX_CELL_PX
            if side < MIN_SIDE_PX or score < MIN_SCORE or not fits:
                continue
            priority = float(self._random.random())
            self._count += 1
            size_class = CLASSES[sum(side >= bound for bound in _BOUNDS_PX)]
            heap = self._heaps[size_class]
            if len(heap) == self._size and priority <= heap[0][0]:
                continue
            cells = {
                name: natural_cell(only_around(index, original, output), box).copy() for name, output in outputs.items()
            }
            item = (priority, self._count, BlindFace(size_class, side, cell.copy(), cells))
            if len(heap) < self._size:
                heapq.heappush(heap, item)
            else:
                heapq.heapreplace(heap, item)

    def faces(self, method: str) -> list[BlindFace]:
        """Return the sample's faces that a method has an output for, a third of each class where there are enough."""
        ranked = [
            [face for _, _, face in sorted(heap, key=lambda item: -item[0]) if method in face.outputs]
            for heap in self._heaps.values()
        ]
        chosen: list[BlindFace] = []
        for place in range(max(map(len, ranked))):
            chosen += [faces[place] for faces in ranked if place < len(faces)]
        return chosen[: self._size]


def only_around(index: int, original: PixelArray, output: Anonymized) -> PixelArray:
    """Return the original in which one face is replaced, and those that touch it, directly or through others.

    The other faces stay as they were, because they would betray whether the face in the middle is replaced.

    Args:
        index: of the face's detection.
        original: (H, W, 3) uint8 RGB.
        output: with all faces replaced.
    """
    extents = np.array([region.extent for region in output.regions])
    reached = np.array([region.index == index for region in output.regions])
    grown = True
    while grown:
        near = _overlapping(extents[reached], extents)
        grown = bool((near & ~reached).any())
        reached |= near
    out = original.copy()
    for x1, y1, x2, y2 in extents[reached]:
        out[y1:y2, x1:x2] = output.pixels[y1:y2, x1:x2]
    return out


def _overlapping(some: npt.NDArray[np.int64], extents: npt.NDArray[np.int64]) -> npt.NDArray[np.bool_]:
    """Return which extents (M, 4) overlap any of `some` (N, 4), (M,) bool."""
    low = np.maximum(some[:, None, :2], extents[None, :, :2])
    high = np.minimum(some[:, None, 2:], extents[None, :, 2:])
    return np.asarray((low < high).all(axis=2).any(axis=0), np.bool_)


def natural_cell(pixels: PixelArray, box: FloatArray) -> PixelArray:
    """Return a view of a face with its surroundings inside the image, (h, w, 3), at its own resolution.

    Args:
        pixels: (H, W, 3) uint8.
        box: (4,) xyxy px.
    """
    x1, y1, x2, y2 = (float(v) for v in box)
    half = round(_REACH * max(x2 - x1, y2 - y1))
    left, top = round((x1 + x2) / 2) - half, round((y1 + y2) / 2) - half
    return pixels[max(top, 0) : max(top + 2 * half, 0), max(left, 0) : max(left + 2 * half, 0)]
