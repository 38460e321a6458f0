"""The detections of one label: how many, how sure, how large, and what happened to them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anon_batch.records import Detections
from anon_batch.stats import counts

MAX_LABELS = 32
SCORE_HISTOGRAM_BINS = 100
MAX_COUNT_BIN = 1000  # images with more detections share the last bin
MAX_SIZE_BIN = 20


@dataclass(slots=True)
class LabelStats:
    """Counts of the detections of one label, or of several together.

    Args:
        per_image: detections -> images that have so many, from 1; 1000 stands for 1000 and more.
        scores: bin of width 0.01 -> detections.
        sizes: floor of log2 of the box's longer side, px -> detections; 0 holds sides below 2 px.
        methods: method -> anonymized regions; at most 64 keys, then `other`.
        kept: detections left untouched on the owner's word.
    """

    per_image: dict[int, int] = field(default_factory=dict)
    scores: dict[int, int] = field(default_factory=dict)
    sizes: dict[int, int] = field(default_factory=dict)
    methods: dict[str, int] = field(default_factory=dict)
    kept: int = 0

    @classmethod
    def of(cls, detections: Detections, methods: Iterable[str], kept: int) -> LabelStats:
        """Return the counts of one image.

        Args:
            detections: its detections, at least one.
            methods: the method of each anonymized region.
            kept: how many detections were kept.
        """
        out = cls({min(len(detections), MAX_COUNT_BIN): 1}, kept=kept)
        last = SCORE_HISTOGRAM_BINS - 1
        bins = np.clip(np.nan_to_num(detections.scores).astype(np.float64) * SCORE_HISTOGRAM_BINS, 0, last)
        counts.add_bins(out.scores, bins.astype(np.int64))
        boxes = detections.boxes.astype(np.float64)
        longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        sizes = np.clip(np.floor(np.log2(np.maximum(longer, 1))), 0, MAX_SIZE_BIN)
        counts.add_bins(out.sizes, sizes.astype(np.int64))
        out.methods = counts.add_capped({}, Counter(methods))
        return out

    def merge(self, other: LabelStats) -> LabelStats:
        """Return the sum of both; neither changes."""
        return LabelStats(
            counts.add(self.per_image, other.per_image),
            counts.add(self.scores, other.scores),
            counts.add(self.sizes, other.sizes),
            counts.add_capped(self.methods, other.methods),
            self.kept + other.kept,
        )

    @property
    def detections(self) -> int:
        """Return the number of detections."""
        return sum(self.scores.values())

    def summary(self) -> dict[str, Any]:
        """Return the figures of `labels` in stats.json; see `summary.summarise`."""
        return {
            "images": sum(self.per_image.values()),
            "detections": self.detections,
            "regions_anonymized": sum(self.methods.values()),
            "regions_kept": self.kept,
            "regions_per_image": {str(key): n for key, n in sorted(self.per_image.items())},
            **self.histograms(),
        }

    def histograms(self) -> dict[str, Any]:
        """Return scores, sizes_px and methods with readable keys."""
        return {
            "scores": {f"{key / SCORE_HISTOGRAM_BINS:.2f}": n for key, n in sorted(self.scores.items())},
            "sizes_px": {str(2**key if key else 0): n for key, n in sorted(self.sizes.items())},
            "methods": dict(sorted(self.methods.items())),
        }

    def to_state(self) -> list[Any]:
        """Return a JSON value."""
        bins = [counts.to_pairs(own) for own in (self.per_image, self.scores, self.sizes)]
        return [*bins, self.methods, self.kept]

    @classmethod
    def from_state(cls, state: list[Any]) -> LabelStats:
        """Return what `to_state` wrote; ValueError, TypeError or AttributeError for anything else."""
        per_image, scores, sizes, methods, kept = state
        if type(kept) is not int or kept < 0:
            raise ValueError(f"{kept!r} kept, expected a whole number")
        bins = [counts.from_pairs(own) for own in (per_image, scores, sizes)]
        return cls(bins[0], bins[1], bins[2], counts.checked(methods), kept)
