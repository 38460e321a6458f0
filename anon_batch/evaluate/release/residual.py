"""How many published images show the second detector something that no published region covers."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from anon_batch.evaluate.release.findings import Findings
from anon_batch.formats.evidence_json import Table
from anon_batch.records import BoolArray, Detections, FloatArray
from anon_batch.stats import counts
from anon_batch.stats.exact import clopper_pearson
from anon_batch.stats.figure import Figure

MAX_OUTSIDE = 0.5
SURE_SCORE = 0.5  # below, most boxes of a detector are no faces
_BINS = 20  # of the score
_STEPS = (0.0, 0.3, 0.5, 0.7, 0.9)


@dataclass(frozen=True, slots=True)
class ResidualState:
    """Detections in outputs that no published region covers.

    Args:
        images: published images that were searched, by status.
        uncovered: bin of the highest score of such a detection -> images with one, by falling score `0` to `19`.
    """

    images: Mapping[str, int] = field(default_factory=dict)
    uncovered: dict[int, int] = field(default_factory=dict)

    def merge(self, other: ResidualState) -> ResidualState:
        """Return the sum of both; neither changes."""
        return ResidualState(counts.add(self.images, other.images), counts.add(self.uncovered, other.uncovered))

    def findings(self) -> Findings:
        """Return `residual.after`, and its table by score."""
        images = sum(self.images.values())
        if not images:
            return Findings({"residual.after": Figure.missing("no sampled row has an output")})
        note = (
            f"share of published images in which the second detector finds a face, with a score from {SURE_SCORE}, that no "
            "published region covers; its false boxes count too, and what it does not find does not; exact interval"
        )
        figure = _share(self._from(SURE_SCORE), images, note)
        rows = tuple((f"{step:.1f} and above", hits := self._from(step), _share(hits, images)) for step in _STEPS)
        table = Table(
            "Published images with a face-like detection outside all regions, by its highest score",
            ("score of the second detector", "images", "share"),
            rows,
            "Most detections of a low score are no faces: `anon-batch review OUTPUT` shows what they are.",
        )
        return Findings({"residual.after": figure}, {"residual.after": table})

    def _from(self, score: float) -> int:
        return sum(n for own, n in self.uncovered.items() if own >= round(score * _BINS))


def of_image(status: str, found: Detections, regions: FloatArray) -> ResidualState:
    """Return the state of one published image.

    Args:
        status: of its row.
        found: by the second detector in the output, clipped to the image.
        regions: (N, 4) xyxy, published extents.
    """
    scores = found.scores[uncovered(found.boxes, regions)]
    bins = {} if not len(scores) else {min(_BINS - 1, int(float(scores.max()) * _BINS)): 1}
    return ResidualState({status: 1}, bins)


def uncovered(boxes: FloatArray, regions: FloatArray) -> BoolArray:
    """Return which boxes are not covered: their centre, or more than MAX_OUTSIDE of them, lies outside all regions.

    Args:
        boxes: (N, 4) xyxy.
        regions: (M, 4) xyxy, whole px.

    Returns:
        (N,) bool.
    """
    return np.array([not _is_covered(box, regions) for box in boxes.astype(np.float64)], np.bool_)


def _is_covered(box: FloatArray, regions: FloatArray) -> bool:
    x1, y1, x2, y2 = box
    left, top, right, bottom = (int(v) for v in (np.floor(x1), np.floor(y1), np.ceil(x2), np.ceil(y2)))
    inside = np.zeros((max(1, bottom - top), max(1, right - left)), np.bool_)
    for a, b, c, d in regions.astype(np.int64) - np.array([left, top, left, top]):
        inside[max(b, 0) : max(d, 0), max(a, 0) : max(c, 0)] = True
    height, width = inside.shape
    return bool(inside[height // 2, width // 2]) and float(inside.mean()) >= 1 - MAX_OUTSIDE


def _share(hits: int, images: int, note: str = "") -> Figure:
    low, high = clopper_pearson(hits, images) or (None, None)
    return Figure(hits / images, low, high, images, "published images", note)
