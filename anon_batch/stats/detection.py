"""Detection against ground truth, by label and size: counts over bins of the score.

True and false positives are counted in SCORE_BINS bins, which is enough to compute the precision-recall
curve and its average precision after any merge of shards, at a fixed size.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.records import BoolArray, Detections, GroundTruth
from anon_batch.stats import counts
from anon_batch.stats.label import MAX_LABELS
from anon_batch.stats.matching import BANDS, IOU_THRESHOLD, match_bands

SCORE_BINS = 2000
_RECALLS = np.linspace(0, 1, 101)

_Curve = npt.NDArray[np.float64]


@dataclass(slots=True)
class BandStats:
    """One band of sizes: how many regions of the ground truth count, and the positives by bin of their score."""

    regions: int = 0
    true_positives: dict[int, int] = field(default_factory=dict)
    false_positives: dict[int, int] = field(default_factory=dict)

    def merge(self, other: BandStats) -> BandStats:
        """Return the sum of both; neither changes."""
        return BandStats(
            self.regions + other.regions,
            counts.add(self.true_positives, other.true_positives),
            counts.add(self.false_positives, other.false_positives),
        )

    def curve(self) -> tuple[_Curve, _Curve, _Curve]:
        """Return precision, recall and score, one entry a bin that is not empty, by falling score.

        Each entry is what the detections with this score (the bin's lower border) or a higher one reach.
        Recall is NaN when there is no region.
        """
        bins = np.array(sorted({*self.true_positives, *self.false_positives}, reverse=True), np.int64)
        found = np.cumsum([self.true_positives.get(int(b), 0) for b in bins], dtype=np.float64)
        wrong = np.cumsum([self.false_positives.get(int(b), 0) for b in bins], dtype=np.float64)
        recall = found / self.regions if self.regions else np.full(len(bins), np.nan)
        return found / (found + wrong), recall, bins / SCORE_BINS

    def average_precision(self) -> float | None:
        """Return the mean over 101 recalls 0, 0.01, ..., 1 of the best precision at that recall or above, as COCOeval.

        None without regions.
        """
        if not self.regions:
            return None
        precision, recall, _ = self.curve()
        best = np.maximum.accumulate(precision[::-1])[::-1]
        at = np.searchsorted(recall, _RECALLS, side="left")
        return float(np.where(at < len(best), np.append(best, 0.0)[np.minimum(at, len(best))], 0.0).mean())

    def summary(self) -> dict[str, Any]:
        """Return counts and rates at the run's own thresholds; see `summary.summarise`."""
        found, wrong = sum(self.true_positives.values()), sum(self.false_positives.values())
        return {
            "regions": self.regions,
            "true_positives": found,
            "false_positives": wrong,
            "missed": self.regions - found,
            "precision": found / (found + wrong) if found + wrong else None,
            "recall": found / self.regions if self.regions else None,
            "average_precision": self.average_precision(),
        }

    def to_state(self) -> list[Any]:
        """Return a JSON value."""
        return [self.regions, counts.to_pairs(self.true_positives), counts.to_pairs(self.false_positives)]

    @classmethod
    def from_state(cls, state: list[Any]) -> BandStats:
        """Return what `to_state` wrote; ValueError or TypeError for anything else."""
        regions, found, wrong = state
        if type(regions) is not int or regions < 0:
            raise ValueError(f"{regions!r} regions, expected a whole number")
        return cls(regions, counts.from_pairs(found), counts.from_pairs(wrong))


Bands = dict[str, BandStats]  # every band of BANDS


def _empty_bands() -> Bands:
    return {band: BandStats() for band in BANDS}


def _merge_bands(a: Bands, b: Bands) -> Bands:
    return {name: a[name].merge(b[name]) for name in BANDS}


@dataclass(slots=True)
class DetectionStats:
    """Detection against ground truth, by label and band.

    Args:
        images: images with ground truth that were searched.
        labels: label -> band -> counts; at most MAX_LABELS labels, then `other`.
    """

    images: int = 0
    labels: dict[str, Bands] = field(default_factory=dict)

    @property
    def bands(self) -> Bands:
        """Return the counts of all labels together, by band."""
        total = _empty_bands()
        for own in self.labels.values():
            total = _merge_bands(total, own)
        return total

    def add(self, detections: Detections, ground_truth: GroundTruth) -> None:
        """Count one image."""
        self.images += 1
        if not len(detections) and not len(ground_truth):
            return  # nothing to match: most images of most datasets
        scores = np.nan_to_num(detections.scores).astype(np.float64)
        bins = np.clip(scores * SCORE_BINS, 0, SCORE_BINS - 1).astype(np.int64)
        matches = match_bands(detections, ground_truth)
        found: dict[str, Bands] = {}
        for label in dict.fromkeys((*detections.labels, *ground_truth.labels)):
            of_label, regions = _are(detections.labels, label), _are(ground_truth.labels, label)
            found[label] = bands = _empty_bands()
            for name, own in matches.items():
                bands[name].regions = int((~own.region_ignored & regions).sum())
                counts.add_bins(bands[name].true_positives, bins[own.true_positives & of_label])
                counts.add_bins(bands[name].false_positives, bins[own.false_positives & of_label])
        self.labels = counts.merge_capped(self.labels, found, _merge_bands, MAX_LABELS)

    def merge(self, other: DetectionStats) -> DetectionStats:
        """Return the sum of both; neither changes."""
        labels = counts.merge_capped(self.labels, other.labels, _merge_bands, MAX_LABELS)
        return DetectionStats(self.images + other.images, labels)

    def summary(self) -> dict[str, Any]:
        """Return the figures of `detection` in stats.json; see `summary.summarise`."""
        return {
            "iou_threshold": IOU_THRESHOLD,
            "images": self.images,
            "bands": _summaries(self.bands),
            "labels": {label: _summaries(bands) for label, bands in sorted(self.labels.items())},
        }

    def to_state(self) -> dict[str, Any]:
        """Return a JSON value; bands without any count are left out."""
        empty = BandStats()
        labels = {
            label: {name: band.to_state() for name, band in bands.items() if band != empty}
            for label, bands in self.labels.items()
        }
        return {"images": self.images, "labels": labels}

    @classmethod
    def from_state(cls, state: Mapping[str, Any]) -> DetectionStats:
        """Return what `to_state` wrote; ValueError, KeyError, TypeError or AttributeError for anything else."""
        if type(state["images"]) is not int:
            raise ValueError(f"{state['images']!r} images, expected a whole number")
        labels = {}
        for label, read in state["labels"].items():
            labels[label] = bands = _empty_bands()
            for name, band in read.items():
                if name not in bands:
                    raise ValueError(f"band {name!r}, expected one of {', '.join(bands)}")
                bands[name] = BandStats.from_state(band)
        return cls(state["images"], labels)


def _are(labels: tuple[str, ...], label: str) -> BoolArray:
    return np.array([own == label for own in labels], np.bool_)


def _summaries(bands: Bands) -> dict[str, Any]:
    return {name: band.summary() for name, band in bands.items()}
