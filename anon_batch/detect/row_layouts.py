"""Layouts of networks whose outputs are rows: priors (RetinaFace, SSD), distances (SCRFD), shares of the image (SSD)."""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anon_batch.detect.priors import decode_boxes, decode_landmarks, grid_priors
from anon_batch.detect.protocol import RealArray
from anon_batch.detect.row_finder import Indices, Layout, Outputs, Shape

_BOX, _MARKS = 4, 10


@dataclass(frozen=True, slots=True)
class Priors(Layout):
    """Rows of boxes and landmarks relative to priors, as RetinaFace (Deng et al. 2020) and SSD.

    Args:
        strides_px: of the maps, the finest first.
        sides_px: of the square priors of a cell, for each stride.
        variances: of shift and sides.
    """

    strides_px: tuple[int, ...]
    sides_px: tuple[tuple[float, ...], ...]
    variances: tuple[float, float]

    @property
    def columns(self) -> str:  # type: ignore[override]
        each = ", ".join(
            f"{len(own)} of stride {step}" for step, own in zip(self.strides_px, self.sides_px, strict=True)
        )
        return f"N rows of 4 and of 2 values, and perhaps of 10, N being the number of priors ({each})"

    def sort(self, outputs: Outputs, shape: Shape) -> Outputs | None:
        """See Layout.sort. Order: boxes, scores, landmarks if there are any."""
        count = len(self._priors(shape))
        by_columns = {own.shape[1]: own for own in outputs if own.ndim == 2 and len(own) == count}
        if len(by_columns) != len(outputs) or not {_BOX, 2} <= set(by_columns) <= {_BOX, 2, _MARKS}:
            return None
        return [by_columns[columns] for columns in (_BOX, 2, _MARKS) if columns in by_columns]

    def scores(self, outputs: Outputs) -> RealArray:
        """See Layout.scores."""
        return outputs[1]

    def places(self, outputs: Outputs, shape: Shape, chosen: Indices) -> tuple[RealArray, RealArray]:
        """See Layout.places."""
        priors = self._priors(shape)[chosen]
        boxes = decode_boxes(outputs[0][chosen], priors, self.variances)
        if len(outputs) == 2:
            return boxes, _no_landmarks(boxes)
        return boxes, decode_landmarks(outputs[2][chosen], priors, self.variances)

    def _priors(self, shape: Shape) -> RealArray:
        return _all_priors(self.strides_px, self.sides_px, shape)


@functools.lru_cache(maxsize=16)
def _all_priors(strides_px: Sequence[int], sides_px: Sequence[Sequence[float]], shape: Shape) -> RealArray:
    return np.concatenate(
        [
            grid_priors((-(-shape[0] // step), -(-shape[1] // step)), step, [(side, side) for side in sides])
            for step, sides in zip(strides_px, sides_px, strict=True)
        ]
    )


@dataclass(frozen=True, slots=True)
class Distances(Layout):
    """For each stride, rows of a score, of distances to the box's sides and perhaps of landmarks, as SCRFD (Guo et al. 2021).

    Distances and landmarks count from a cell's corner, in strides.

    Args:
        strides_px: of the maps, the finest first; a network may lack the last ones.
        per_cell: rows of a cell.
    """

    strides_px: tuple[int, ...] = (8, 16, 32, 64, 128)
    per_cell: int = 2
    columns = "for each stride of 8, 16, 32 (64, 128) rows of 1 and 4 values, and perhaps of 10, two for each cell"

    def sort(self, outputs: Outputs, shape: Shape) -> Outputs | None:
        """See Layout.sort. Order: scores, boxes, landmarks, each of all strides."""
        kinds = [[own for own in outputs if own.ndim == 2 and own.shape[1] == columns] for columns in (1, _BOX, _MARKS)]
        strides = self.strides_px[: len(kinds[0])]
        expected = [self.per_cell * -(-shape[0] // step) * -(-shape[1] // step) for step in strides]
        present = [sorted(own, key=len, reverse=True) for own in kinds if own]
        if len(strides) < 3 or sum(map(len, present)) != len(outputs) or len(present) < 2 or not kinds[1]:
            return None
        if any([len(own) for own in kind] != expected for kind in present):
            return None
        return [np.concatenate(kind) for kind in present]

    def scores(self, outputs: Outputs) -> RealArray:
        """See Layout.scores."""
        return outputs[0]

    def places(self, outputs: Outputs, shape: Shape, chosen: Indices) -> tuple[RealArray, RealArray]:
        """See Layout.places."""
        corners, steps = (own[chosen] for own in self._cells(shape, len(outputs[0])))
        distances = outputs[1][chosen] * steps
        boxes = np.concatenate([corners - distances[:, :2], corners + distances[:, 2:]], axis=1)
        if len(outputs) == 2:
            return boxes, _no_landmarks(boxes)
        return boxes, corners[:, None] + outputs[2][chosen].reshape(-1, 5, 2) * steps[:, None]

    def _cells(self, shape: Shape, rows: int) -> tuple[RealArray, RealArray]:
        """Return corner (N, 2) and stride (N, 1), px, of all rows."""
        corners, steps, count = [], [], 0
        for step in self.strides_px:
            if count == rows:
                break
            cells = np.indices((-(-shape[0] // step), -(-shape[1] // step)))[::-1].reshape(2, -1).T * step
            corners.append(np.repeat(cells, self.per_cell, axis=0))
            steps.append(np.full((len(corners[-1]), 1), step))
            count += len(corners[-1])
        return np.concatenate(corners).astype(np.float32), np.concatenate(steps).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Shares(Layout):
    """Rows of whole boxes, xyxy in shares of the input's sides, and of scores."""

    columns = "N rows of 4 values, boxes in shares of the input's sides, and of 1 or 2, scores"

    def sort(self, outputs: Outputs, shape: Shape) -> Outputs | None:
        """See Layout.sort. Order: boxes, scores."""
        if len(outputs) != 2 or any(own.ndim != 2 for own in outputs) or len(outputs[0]) != len(outputs[1]):
            return None
        boxes, scores = sorted(outputs, key=lambda own: own.shape[1], reverse=True)
        return [boxes, scores] if boxes.shape[1] == _BOX and scores.shape[1] in (1, 2) else None

    def scores(self, outputs: Outputs) -> RealArray:
        """See Layout.scores."""
        return outputs[1]

    def places(self, outputs: Outputs, shape: Shape, chosen: Indices) -> tuple[RealArray, RealArray]:
        """See Layout.places."""
        boxes = outputs[0][chosen] * np.asarray([shape[1], shape[0]] * 2, np.float32)
        return boxes, _no_landmarks(boxes)


def _no_landmarks(boxes: RealArray) -> RealArray:
    return np.full((len(boxes), 5, 2), np.nan)
