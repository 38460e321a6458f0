"""Statistics of a shard, and by merging of a release: fixed-size states, each with the way it merges.

They travel as JSON in the key-value metadata of each commit and are recomputed from all commits at the end,
so no process has to count along. Merging is associative and commutative with `ShardStats()` as identity:
seconds are kept as whole microseconds, as sums of floats depend on their order.
"""

from __future__ import annotations

import json
import operator
from collections import Counter
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np

from anon_batch.errors import IntegrityError
from anon_batch.records import STATUSES, Detections, GroundTruth
from anon_batch.stats import counts
from anon_batch.stats.detection import DetectionStats

VERSION = 2
SCORE_HISTOGRAM_BINS = 100
MAX_FACES_BIN = 1000  # pictures with more faces share the last bin
MAX_SIZE_BIN = 20


@dataclass(slots=True)
class ShardStats:
    """What happened to a set of rows.

    Args:
        rows: manifest rows.
        statuses: status -> rows.
        reasons: "status:reason" -> rows; at most 64 keys, then `other`.
        faces_per_image: faces found -> pictures that were searched; 1000 stands for 1000 and more.
        scores: bin of width 0.01 -> detections.
        face_sizes: floor of log2 of the box's longer side, px -> detections; 0 holds sides below 2 px.
        methods: method -> treated faces; at most 64 keys, then `other`.
        bytes_in: source bytes read.
        bytes_out: bytes of published pictures.
        stage_us: stage -> microseconds of wall time, summed over threads.
        stage_cpu_us: stage -> microseconds of CPU time of those threads.
        worker_us: phase -> microseconds of the thread that drives the networks; the phases share out the worker's whole time.
        process_cpu_us: CPU time of the worker's process in all its threads.
        unsearched_images: rows with ground truth in which no detector ran to the end.
        detection: against ground truth.
    """

    rows: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    faces_per_image: dict[int, int] = field(default_factory=dict)
    scores: dict[int, int] = field(default_factory=dict)
    face_sizes: dict[int, int] = field(default_factory=dict)
    methods: dict[str, int] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0
    stage_us: dict[str, int] = field(default_factory=dict)
    stage_cpu_us: dict[str, int] = field(default_factory=dict)
    worker_us: dict[str, int] = field(default_factory=dict)
    process_cpu_us: int = 0
    unsearched_images: int = 0
    detection: DetectionStats = field(default_factory=DetectionStats)

    def add_row(
        self,
        status: str,
        reason: str | None = None,
        detections: Detections | None = None,
        ground_truth: GroundTruth | None = None,
        *,
        methods: Mapping[int, str] | None = None,
        bytes_in: int = 0,
        bytes_out: int = 0,
    ) -> None:
        """Counts one manifest row that has come to its end.

        Args:
            status: anonymized, clean, withheld or failed.
            reason: code when withheld or failed.
            detections: what was found; None when no detector ran to the end.
            ground_truth: labelled faces; None when the manifest says nothing. A withheld picture counts too:
                its faces were searched for all the same.
            methods: face index -> method of the treated faces.
            bytes_in: source bytes read for the row.
            bytes_out: bytes of the published picture.

        Raises:
            ValueError: an unknown status.
        """
        if status not in STATUSES:
            raise ValueError(f"status: {status!r}, expected one of {STATUSES}")
        self.rows += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if reason is not None:
            self.reasons = counts.add_capped(self.reasons, {f"{status}:{reason}": 1})
        if methods:
            self.methods = counts.add_capped(self.methods, Counter(methods.values()))
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
        if detections is not None:
            self._add_detections(detections)
            if ground_truth is not None:
                self.detection.add(detections, ground_truth)
        elif ground_truth is not None:
            self.unsearched_images += 1

    def add_seconds(self, stage: str, seconds: float, cpu_seconds: float = 0.0) -> None:
        """Adds the time that a stage took: wall, and CPU of the threads in it."""
        self.stage_us = counts.add_capped(self.stage_us, {stage: round(seconds * 1e6)})
        self.stage_cpu_us = counts.add_capped(self.stage_cpu_us, {stage: round(cpu_seconds * 1e6)})

    def add_worker(self, phases: Mapping[str, float], process_cpu_s: float) -> None:
        """Adds a worker's time: seconds by phase of the thread that drives the networks, and CPU seconds of the process."""
        self.worker_us = counts.add_capped(self.worker_us, {name: round(s * 1e6) for name, s in phases.items()})
        self.process_cpu_us += round(process_cpu_s * 1e6)

    def _add_detections(self, detections: Detections) -> None:
        faces = min(len(detections), MAX_FACES_BIN)
        self.faces_per_image[faces] = self.faces_per_image.get(faces, 0) + 1
        if not faces:
            return  # most pictures of most data sets
        last = SCORE_HISTOGRAM_BINS - 1
        bins = np.clip(np.nan_to_num(detections.scores).astype(np.float64) * SCORE_HISTOGRAM_BINS, 0, last)
        counts.add_bins(self.scores, bins.astype(np.int64))
        boxes = detections.boxes.astype(np.float64)
        longer = np.maximum(boxes[:, 2] - boxes[:, 0], boxes[:, 3] - boxes[:, 1])
        sizes = np.clip(np.floor(np.log2(np.maximum(longer, 1))), 0, MAX_SIZE_BIN)
        counts.add_bins(self.face_sizes, sizes.astype(np.int64))

    def summary(self) -> dict[str, Any]:
        """The figures for `stats.json`: values that JSON can hold, None where a rate has no denominator.

        Returns:
            A dict with these keys:

            - rows, bytes_in, bytes_out, images_searched, images_with_faces, faces_found, faces_treated;
            - statuses: status -> rows, all four;
            - reasons: status -> reason -> rows; what exceeded the cap is under `other`, without a status;
            - faces_per_image: faces found -> images, "1000" for 1000 and more;
            - scores: lower border of a bin 0.01 wide -> detections;
            - face_sizes_px: lower border of the longer side, a power of 2 or 0 -> detections;
            - methods: method -> faces; seconds: stage -> wall seconds, summed over threads;
            - timing: cpu_seconds, stage -> seconds; worker_seconds, phase -> seconds of the thread that drives the
              networks, which together are all the time of all workers; process_cpu_seconds of their processes. Left out
              when no shard has it;
            - detection: None without ground truth, else iou_threshold, images, unsearched_images and bands:
              band -> faces, true_positives, false_positives, missed_faces, precision, recall (all at the
              run's own thresholds) and average_precision. Bands are `all`; COCO's areas `small` (up to
              32² px²), `medium` (32² to 96²), `large` (from 96²); and `from_16_px` (longer side). Ignored
              faces, and detections that took one, are in none of these.
        """
        searched = sum(self.faces_per_image.values())
        with_truth = bool(self.detection.images or self.unsearched_images)
        detection = {**self.detection.summary(), "unsearched_images": self.unsearched_images}
        summary = {
            "rows": self.rows,
            "statuses": {status: self.statuses.get(status, 0) for status in STATUSES},
            "reasons": self._reasons_by_status(),
            "images_searched": searched,
            "images_with_faces": searched - self.faces_per_image.get(0, 0),
            "faces_found": sum(self.scores.values()),
            "faces_treated": sum(self.methods.values()),
            "faces_per_image": {str(key): n for key, n in sorted(self.faces_per_image.items())},
            "scores": {f"{key / SCORE_HISTOGRAM_BINS:.2f}": n for key, n in sorted(self.scores.items())},
            "face_sizes_px": {str(2**key if key else 0): n for key, n in sorted(self.face_sizes.items())},
            "methods": dict(sorted(self.methods.items())),
            "bytes_in": self.bytes_in,
            "bytes_out": self.bytes_out,
            "seconds": _seconds(self.stage_us),
            "detection": detection if with_truth else None,
        }
        if self.worker_us:  # commits of the statistics' version 1 have none
            summary["timing"] = {
                "cpu_seconds": _seconds(self.stage_cpu_us),
                "worker_seconds": _seconds(self.worker_us),
                "process_cpu_seconds": self.process_cpu_us / 1e6,
            }
        return summary

    def _reasons_by_status(self) -> dict[str, Any]:
        nested: dict[str, Any] = {}
        for key, rows in sorted(self.reasons.items()):
            status, separator, reason = key.partition(":")
            if separator:
                nested.setdefault(status, {})[reason] = rows
            else:
                nested[status] = rows
        return nested

    def to_json(self) -> str:
        """Compact JSON; `from_json` gives an equal object."""
        state: dict[str, Any] = {"version": VERSION}
        for name in MERGES:
            value = getattr(self, name)
            if name == "detection":
                value = value.to_state()
            elif name in _BINNED:
                value = counts.to_pairs(value)
            state[name] = value
        return json.dumps(state, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ShardStats:
        """Inverse of `to_json`.

        Raises:
            IntegrityError: the text is not what this version's `to_json` wrote.
        """
        try:
            state = json.loads(text)
            version = state.pop("version")
            if version == 1:  # before CPU and worker times: those shards have none
                state = {"stage_cpu_us": {}, "worker_us": {}, "process_cpu_us": 0, **state}
            elif version != VERSION:
                raise ValueError(f"version {version}, expected {VERSION}")
            if set(state) != set(MERGES):
                raise ValueError(f"expected the keys of version {VERSION}")
            return cls(**{name: _read(name, value) for name, value in state.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise IntegrityError(f"statistics of a commit cannot be read ({exc}): {text[:80]!r}") from None


# How each state merges.
MERGES: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "rows": operator.add,
        "statuses": counts.add,
        "reasons": counts.add_capped,
        "faces_per_image": counts.add,
        "scores": counts.add,
        "face_sizes": counts.add,
        "methods": counts.add_capped,
        "bytes_in": operator.add,
        "bytes_out": operator.add,
        "stage_us": counts.add_capped,
        "stage_cpu_us": counts.add_capped,
        "worker_us": counts.add_capped,
        "process_cpu_us": operator.add,
        "unsearched_images": operator.add,
        "detection": DetectionStats.merge,
    }
)
_BINNED = frozenset({"faces_per_image", "scores", "face_sizes"})
_PLAIN = frozenset({"rows", "bytes_in", "bytes_out", "process_cpu_us", "unsearched_images"})


def _seconds(us: Mapping[str, int]) -> dict[str, float]:
    return {name: value / 1e6 for name, value in sorted(us.items())}


def _read(name: str, value: Any) -> Any:
    if name == "detection":
        return DetectionStats.from_state(value)
    if name in _BINNED:
        return counts.from_pairs(value)
    if name in _PLAIN:
        if type(value) is not int:
            raise ValueError(f"{name}: {value!r}, expected a whole number")
        return value
    if not all(type(number) is int for number in value.values()):
        raise ValueError(f"{name}: expected whole numbers")
    return dict(value)


def merge(a: ShardStats, b: ShardStats) -> ShardStats:
    """Statistics of both sets of rows together; neither argument changes."""
    merged = {name: combine(getattr(a, name), getattr(b, name)) for name, combine in MERGES.items()}
    return ShardStats(**merged)


def merge_all(parts: Iterable[ShardStats]) -> ShardStats:
    """Statistics of all parts together."""
    return reduce(merge, parts, ShardStats())
