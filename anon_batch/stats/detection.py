"""How well faces were found, where the manifest says where they are: counts over bins of the score.

True and false positives are counted in `SCORE_BINS` bins, which is enough to redraw the precision-recall
curve and its average precision after any merge of shards, at a fixed size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.records import Detections, GroundTruth
from anon_batch.stats import counts
from anon_batch.stats.matching import BANDS, IOU_THRESHOLD, match_bands

SCORE_BINS = 2000
_RECALLS = np.linspace(0, 1, 101)

_Curve = npt.NDArray[np.float64]


@dataclass(slots=True)
class BandStats:
    """One band of face sizes: how many faces count, and the positives by bin of their score."""

    faces: int = 0
    true_positives: dict[int, int] = field(default_factory=dict)
    false_positives: dict[int, int] = field(default_factory=dict)

    def merge(self, other: BandStats) -> BandStats:
        """Sum of both; neither changes."""
        return BandStats(
            self.faces + other.faces,
            counts.add(self.true_positives, other.true_positives),
            counts.add(self.false_positives, other.false_positives),
        )

    def curve(self) -> tuple[_Curve, _Curve, _Curve]:
        """Precision, recall and score, one entry a bin that is not empty, by falling score.

        Each entry is what the detections with this score (the bin's lower border) or a higher one reach.
        Recall is NaN when there is no face.
        """
        bins = np.array(sorted({*self.true_positives, *self.false_positives}, reverse=True), np.int64)
        found = np.cumsum([self.true_positives.get(int(b), 0) for b in bins], dtype=np.float64)
        wrong = np.cumsum([self.false_positives.get(int(b), 0) for b in bins], dtype=np.float64)
        recall = found / self.faces if self.faces else np.full(len(bins), np.nan)
        return found / (found + wrong), recall, bins / SCORE_BINS

    def average_precision(self) -> float | None:
        """Mean over 101 recalls 0, 0.01, ..., 1 of the best precision at that recall or beyond, as COCOeval;
        None without faces.
        """
        if not self.faces:
            return None
        precision, recall, _ = self.curve()
        best = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(recall, _RECALLS, side="left")
        return float(np.where(at < len(best), np.append(best, 0.0)[np.minimum(at, len(best))], 0.0).mean())

    def summary(self) -> dict[str, Any]:
        """Counts and rates at the run's own thresholds; the keys are listed at `shard.ShardStats.summary`."""
        found, wrong = sum(self.true_positives.values()), sum(self.false_positives.values())
        return {
            "faces": self.faces,
            "true_positives": found,
            "false_positives": wrong,
            "missed_faces": self.faces - found,
            "precision": found / (found + wrong) if found + wrong else None,
            "recall": found / self.faces if self.faces else None,
            "average_precision": self.average_precision(),
        }

    def to_state(self) -> list[Any]:
        """JSON value."""
        return [self.faces, counts.to_pairs(self.true_positives), counts.to_pairs(self.false_positives)]

    @classmethod
    def from_state(cls, state: list[Any]) -> BandStats:
        """Inverse of `to_state`; ValueError or TypeError for anything else."""
        faces, found, wrong = state
        if type(faces) is not int or faces < 0:
            raise ValueError(f"{faces!r} faces, expected a whole number")
        return cls(faces, counts.from_pairs(found), counts.from_pairs(wrong))


def _empty_bands() -> dict[str, BandStats]:
    return {band: BandStats() for band in BANDS}


@dataclass(slots=True)
class DetectionStats:
    """Detection against ground truth, by band.

    Args:
        images: pictures with ground truth that were searched.
        bands: band -> counts.
    """

    images: int = 0
    bands: dict[str, BandStats] = field(default_factory=_empty_bands)

    def add(self, detections: Detections, ground_truth: GroundTruth) -> None:
        """Counts one picture."""
        self.images += 1
        if not len(detections) and not len(ground_truth):
            return  # nothing to match: most pictures of most data sets
        scores = np.nan_to_num(detections.scores).astype(np.float64)
        bins = np.clip(scores * SCORE_BINS, 0, SCORE_BINS - 1).astype(np.int64)
        for name, matches in match_bands(detections, ground_truth).items():
            band = self.bands[name]
            band.faces += int((~matches.face_ignored).sum())
            counts.add_bins(band.true_positives, bins[matches.true_positives])
            counts.add_bins(band.false_positives, bins[matches.false_positives])

    def merge(self, other: DetectionStats) -> DetectionStats:
        """Sum of both; neither changes."""
        bands = {name: self.bands[name].merge(other.bands[name]) for name in BANDS}
        return DetectionStats(self.images + other.images, bands)

    def summary(self) -> dict[str, Any]:
        """What was counted; the keys are listed at `shard.ShardStats.summary`."""
        bands: Mapping[str, BandStats] = self.bands
        return {
            "iou_threshold": IOU_THRESHOLD,
            "images": self.images,
            "bands": {name: band.summary() for name, band in bands.items()},
        }

    def to_state(self) -> dict[str, Any]:
        """JSON value; bands without anything are left out."""
        empty = BandStats()
        return {
            "images": self.images,
            "bands": {name: band.to_state() for name, band in self.bands.items() if band != empty},
        }

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> DetectionStats:
        """Inverse of `to_state`; ValueError, KeyError or TypeError for anything else."""
        bands = _empty_bands()
        for name, band in state["bands"].items():
            if name not in bands:
                raise ValueError(f"band {name!r}, expected one of {', '.join(bands)}")
            bands[name] = BandStats.from_state(band)
        if type(state["images"]) is not int:
            raise ValueError(f"{state['images']!r} images, expected a whole number")
        return cls(state["images"], bands)
