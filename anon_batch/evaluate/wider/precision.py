"""Average precision by the rules of WIDER FACE, and what is kept of it.

They differ from those of `average_precision`: a detection goes to the face that it overlaps most, also if another detection has
it already; IoU counts whole px, borders included; scores are scaled to 0 to 1 over all images together; the curve has 1,000
thresholds; images without any labelled face are left out; the area under the envelope is exact, not a mean over 101 recalls.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

from anon_batch.evaluate.wider.lists import DIFFICULTIES, Boxes, WiderFaces
from anon_batch.records import BoolArray, Detections

THRESHOLDS = 1000
IOU = 0.5
_DRAWS = 1000  # of the bootstrap

Values = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class WiderPrecision:
    """Average precision at one difficulty.

    Args:
        images: with these results, of the validation set.
        faces: that count.
        average_precision: None without faces.
        before: on the originals; None for the originals themselves.
        kept: `average_precision` as a share of `before`; None if there was nothing to keep.
        interval: 95 % interval of `kept`, or of `average_precision` for the originals, by bootstrap over images.
    """

    images: int
    faces: int
    average_precision: float | None
    before: float | None = None
    kept: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(slots=True)
class WiderScores:
    """Detections on many images of the validation set, in their order."""

    faces: list[WiderFaces] = field(default_factory=list)
    boxes: list[Boxes] = field(default_factory=list)
    scores: list[Values] = field(default_factory=list)

    def add(self, faces: WiderFaces, found: Detections) -> None:
        """Add an image; an image that is withheld has no detections."""
        order = np.argsort(-found.scores, kind="stable")
        self.faces.append(faces)
        self.boxes.append(found.boxes[order].astype(np.float64))
        self.scores.append(found.scores[order].astype(np.float64))

    def measures(self, before: WiderScores | None = None, seed: int = 0) -> dict[str, WiderPrecision]:
        """Return difficulty -> average precision, and what is kept of that `before` on the same images."""
        return {difficulty: self._measure(difficulty, before, seed) for difficulty in DIFFICULTIES}

    def _measure(self, difficulty: str, before: WiderScores | None, seed: int) -> WiderPrecision:
        counted = np.array([own.counted[difficulty].sum() for own in self.faces], np.float64)
        images, faces = len(counted), int(counted.sum())
        if not faces:
            return WiderPrecision(images, 0, None)
        draws = np.random.default_rng(seed).multinomial(images, np.full(images, 1 / images), _DRAWS)
        weights = np.concatenate([np.ones((1, images)), draws])
        after = self._precisions(difficulty, counted, weights)
        if before is None:
            return WiderPrecision(images, faces, float(after[0]), interval=_interval(after[1:]))
        first = before._precisions(difficulty, counted, weights)  # noqa: SLF001  another of the same class
        if not first[0]:
            return WiderPrecision(images, faces, float(after[0]), 0.0)
        kept = np.divide(after, first, out=np.full_like(after, np.nan), where=first > 0)
        return WiderPrecision(
            images, faces, float(after[0]), float(first[0]), float(kept[0]), _interval(kept[np.isfinite(kept)])
        )

    def _precisions(self, difficulty: str, counted: Values, weights: Values) -> Values:
        """Return the average precision of each row of weights of the images."""
        counts = np.stack(
            [
                count_image(boxes, scores, faces.boxes, faces.counted[difficulty])
                for boxes, scores, faces in zip(self.boxes, normalise(self.scores), self.faces, strict=True)
            ]
        )
        sums = (weights @ counts.reshape(len(counts), -1)).reshape(len(weights), THRESHOLDS, 2)
        totals = weights @ counted
        return np.array(
            [average_precision(own, total) if total else np.nan for own, total in zip(sums, totals, strict=True)]
        )


def normalise(scores: Sequence[Values]) -> list[Values]:
    """Return the scores of all images scaled together to 0 to 1; equal scores become 1."""
    every = np.concatenate([np.zeros(0), *scores])
    if not len(every):
        return list(scores)
    low, spread = every.min(), np.ptp(every)
    return [(own - low) / spread if spread else np.ones_like(own) for own in scores]


def count_image(boxes: Boxes, scores: Values, faces: Boxes, counted: BoolArray) -> Values:
    """Count one image at every threshold.

    Args:
        boxes: (D, 4) xyxy of the detections, by falling score.
        scores: (D,), scaled to 0 to 1.
        faces: (N, 4) xyxy.
        counted: (N,) whether a face counts; a detection of another one is neither right nor wrong.

    Returns:
        (THRESHOLDS, 2) from the highest threshold to the lowest: detections that count, and faces that they find.
    """
    if not len(boxes) or not len(faces):
        return np.zeros((THRESHOLDS, 2))
    overlaps = _overlaps(boxes, faces)
    best = overlaps.argmax(axis=1)
    hits = overlaps.max(axis=1) >= IOU
    right = hits & counted[best]
    first = np.zeros(len(boxes), np.bool_)
    first[np.flatnonzero(right)[np.unique(best[right], return_index=True)[1]]] = True
    sums = np.cumsum(np.stack([~(hits & ~counted[best]), first], axis=1), axis=0)
    thresholds = 1 - np.arange(1, THRESHOLDS + 1) / THRESHOLDS
    reached = np.searchsorted(-scores, -thresholds, side="right")
    return np.concatenate([np.zeros((1, 2)), sums])[reached]


def average_precision(counts: Values, faces: float) -> float:
    """Return the area under the envelope of precision over recall.

    Args:
        counts: (T, 2) by falling threshold: detections that count, and faces that they find, of all images.
        faces: that count in all images.
    """
    recall = np.concatenate([[0.0], counts[:, 1] / faces, [1.0]])
    precision = np.divide(counts[:, 1], counts[:, 0], out=np.zeros(len(counts)), where=counts[:, 0] > 0)
    envelope = np.maximum.accumulate(np.concatenate([precision, [0.0]])[::-1])[::-1]
    return float(np.diff(recall) @ envelope)


def _overlaps(boxes: Boxes, faces: Boxes) -> Values:
    """Return (D, N) IoU of boxes whose px include both borders, so that each side is one longer."""
    low = np.maximum(boxes[:, None, :2], faces[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], faces[None, :, 2:])
    both = np.clip(high - low + 1, 0, None).prod(axis=2)
    areas = [(own[:, 2:] - own[:, :2] + 1).prod(axis=1) for own in (boxes, faces)]
    return np.asarray(both / (areas[0][:, None] + areas[1][None] - both), np.float64)


def _interval(values: Values) -> tuple[float, float] | None:
    values = values[np.isfinite(values)]
    if not len(values):
        return None
    low, high = np.percentile(values, (2.5, 97.5))
    return float(low), float(high)
