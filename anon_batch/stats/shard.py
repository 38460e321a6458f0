"""Statistics of a shard, and by merging of a release: fixed-size states, each with the way it merges.

They travel as JSON in the key-value metadata of each commit and are recomputed from all commits at the end,
so no process has to count along. Merging is associative and commutative with `ShardStats()` as identity:
seconds are kept as whole microseconds, as sums of floats depend on their order.
"""

from __future__ import annotations

import json
import operator
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass, field, replace
from functools import reduce
from types import MappingProxyType
from typing import Any

import numpy as np

from anon_batch.errors import IntegrityError
from anon_batch.records import DEFAULT_LABEL, STATUSES, Detections, GroundTruth
from anon_batch.stats import counts
from anon_batch.stats.capture_recapture import count_finders
from anon_batch.stats.detection import DetectionStats
from anon_batch.stats.label import MAX_COUNT_BIN, MAX_LABELS, LabelStats
from anon_batch.stats.missed import MissedStats
from anon_batch.stats.uncovered import LabelledRegions

VERSION = 4


@dataclass(slots=True)
class ShardStats:
    """What happened to a set of rows.

    Args:
        rows: manifest rows.
        statuses: status -> rows.
        reasons: "status:reason" -> rows; at most 64 keys, then `other`.
        regions_per_image: detections of all labels -> images that were searched; 1000 stands for 1000 and more.
        labels: label -> its detections; at most MAX_LABELS labels, then `other`.
        checks: "check:outcome" -> how often; at most 64 keys, then `other`.
        bytes_in: source bytes read.
        bytes_out: bytes of published images.
        stage_us: stage -> microseconds of wall time, summed over threads.
        stage_cpu_us: stage -> microseconds of CPU time of those threads.
        worker_us: phase -> microseconds of the thread that drives the networks; the phases cover the worker's whole time.
        process_cpu_us: CPU time of the worker's process in all its threads.
        unsearched_images: rows with ground truth in which no detector ran to the end.
        detection: against ground truth.
        missed: labelled faces that published images still show.
        found_by: names of detectors, joined by `+` -> faces that exactly these found; at most 64 keys, then `other`.
    """

    rows: int = 0
    statuses: dict[str, int] = field(default_factory=dict)
    reasons: dict[str, int] = field(default_factory=dict)
    regions_per_image: dict[int, int] = field(default_factory=dict)
    labels: dict[str, LabelStats] = field(default_factory=dict)
    checks: dict[str, int] = field(default_factory=dict)
    bytes_in: int = 0
    bytes_out: int = 0
    stage_us: dict[str, int] = field(default_factory=dict)
    stage_cpu_us: dict[str, int] = field(default_factory=dict)
    worker_us: dict[str, int] = field(default_factory=dict)
    process_cpu_us: int = 0
    unsearched_images: int = 0
    detection: DetectionStats = field(default_factory=DetectionStats)
    missed: MissedStats = field(default_factory=MissedStats)
    found_by: dict[str, int] = field(default_factory=dict)

    def add_row(
        self,
        status: str,
        reason: str | None = None,
        detections: Detections | None = None,
        ground_truth: GroundTruth | None = None,
        *,
        methods: Mapping[int, str] | None = None,
        kept: Collection[int] = (),
        labelled: LabelledRegions | None = None,
        slices: Mapping[str, str] = MappingProxyType({}),
        bytes_in: int = 0,
        bytes_out: int = 0,
    ) -> None:
        """Count one manifest row that has ended.

        Args:
            status: anonymized, clean, withheld or failed.
            reason: code when withheld or failed.
            detections: what was found; None when no detector ran to the end.
            ground_truth: the manifest's regions; None when unknown. They count for a withheld image too, because it was
                searched all the same.
            methods: index of a detection -> method that anonymized it.
            kept: indices of the detections that were left untouched on the owner's word.
            labelled: what became of the ground truth's regions in a published image.
            slices: column -> the row's value.
            bytes_in: source bytes read for the row.
            bytes_out: bytes of the published image.

        Raises:
            ValueError: an unknown status, or methods without detections.
        """
        if status not in STATUSES:
            raise ValueError(f"status: {status!r}, expected one of {STATUSES}")
        if detections is None and methods:
            raise ValueError(f"methods of {len(methods)} regions, but no detections")
        self.rows += 1
        self.statuses[status] = self.statuses.get(status, 0) + 1
        if reason is not None:
            self.reasons = counts.add_capped(self.reasons, {f"{status}:{reason}": 1})
        self.bytes_in += bytes_in
        self.bytes_out += bytes_out
        if detections is not None:
            self._add_detections(detections, methods or {}, frozenset(kept))
            self.found_by = counts.add_capped(self.found_by, count_finders(detections))
            if ground_truth is not None:
                self.detection.add(detections, ground_truth)
        elif ground_truth is not None:
            self.unsearched_images += 1
        if ground_truth is not None and reason is not None:
            faces = np.array([label == DEFAULT_LABEL for label in ground_truth.labels], np.bool_)
            self.missed.add_unpublished(int((faces & ~(ground_truth.ignore | ground_truth.keep)).sum()))
        elif labelled is not None:
            self.missed.add(labelled, slices)

    def add_checks(self, outcomes: Mapping[str, Mapping[str, int]]) -> None:
        """Add outcomes of checks: check -> outcome (`passed`, `failed` or the check's own) -> how often."""
        flat = {f"{check}:{outcome}": n for check, own in outcomes.items() for outcome, n in own.items()}
        self.checks = counts.add_capped(self.checks, flat)

    def add_seconds(self, stage: str, seconds: float, cpu_seconds: float = 0.0) -> None:
        """Add the time that a stage took: wall, and CPU of the threads in it."""
        self.stage_us = counts.add_capped(self.stage_us, {stage: round(seconds * 1e6)})
        self.stage_cpu_us = counts.add_capped(self.stage_cpu_us, {stage: round(cpu_seconds * 1e6)})

    def add_worker(self, phases: Mapping[str, float], process_cpu_s: float) -> None:
        """Add a worker's time: seconds by phase of the thread that drives the networks, and CPU seconds of the process."""
        self.worker_us = counts.add_capped(self.worker_us, {name: round(s * 1e6) for name, s in phases.items()})
        self.process_cpu_us += round(process_cpu_s * 1e6)

    def _add_detections(self, detections: Detections, methods: Mapping[int, str], kept: frozenset[int]) -> None:
        number = min(len(detections), MAX_COUNT_BIN)
        self.regions_per_image[number] = self.regions_per_image.get(number, 0) + 1
        found = {}
        for label in dict.fromkeys(detections.labels):
            own = [index for index, name in enumerate(detections.labels) if name == label]
            used = [methods[index] for index in own if index in methods]
            found[label] = LabelStats.of(detections.take(np.array(own)), used, len(kept.intersection(own)))
        self.labels = counts.merge_capped(self.labels, found, LabelStats.merge, MAX_LABELS)

    def public(self) -> ShardStats:
        """Return what the public part of a shard may hold: nothing that the ground truth tells but numbers of images.

        A shard may hold a single image, and its counts would show where a face was missed, and its private slices.
        """
        return replace(self, detection=DetectionStats(self.detection.images), missed=self.missed.public())

    @property
    def has_ground_truth(self) -> bool:
        """Return whether any row had one."""
        return bool(self.missed.images or self.missed.unpublished_images or self.detection.images)

    def to_json(self) -> str:
        """Return compact JSON; `from_json` gives an equal object."""
        state: dict[str, Any] = {"version": VERSION}
        for name in MERGES:
            value = getattr(self, name)
            if name in _STATES:
                value = value.to_state()
            elif name == "labels":
                value = {label: own.to_state() for label, own in value.items()}
            elif name == "regions_per_image":
                value = counts.to_pairs(value)
            state[name] = value
        return json.dumps(state, separators=(",", ":"), sort_keys=True)

    @classmethod
    def from_json(cls, text: str) -> ShardStats:
        """Return what `to_json` wrote.

        Raises:
            IntegrityError: the text is not what this version's `to_json` writes.
        """
        try:
            state = json.loads(text)
            if (version := state.pop("version")) != VERSION:
                raise ValueError(f"version {version}, expected {VERSION}")
            if set(state) != set(MERGES):
                raise ValueError(f"expected the keys of version {VERSION}")
            return cls(**{name: _read(name, value) for name, value in state.items()})
        except (ValueError, KeyError, TypeError, AttributeError) as exc:
            raise IntegrityError(f"statistics of a commit cannot be read ({exc}): {text[:80]!r}") from None


def _merge_labels(a: Mapping[str, LabelStats], b: Mapping[str, LabelStats]) -> dict[str, LabelStats]:
    return counts.merge_capped(a, b, LabelStats.merge, MAX_LABELS)


# How each state merges.
MERGES: Mapping[str, Callable[[Any, Any], Any]] = MappingProxyType(
    {
        "rows": operator.add,
        "statuses": counts.add,
        "reasons": counts.add_capped,
        "regions_per_image": counts.add,
        "labels": _merge_labels,
        "checks": counts.add_capped,
        "bytes_in": operator.add,
        "bytes_out": operator.add,
        "stage_us": counts.add_capped,
        "stage_cpu_us": counts.add_capped,
        "worker_us": counts.add_capped,
        "process_cpu_us": operator.add,
        "unsearched_images": operator.add,
        "detection": DetectionStats.merge,
        "missed": MissedStats.merge,
        "found_by": counts.add_capped,
    }
)
_STATES: Mapping[str, Callable[[Any], Any]] = MappingProxyType(
    {"detection": DetectionStats.from_state, "missed": MissedStats.from_state}
)
_PLAIN = frozenset({"rows", "bytes_in", "bytes_out", "process_cpu_us", "unsearched_images"})


def _read(name: str, value: Any) -> Any:
    if name in _STATES:
        return _STATES[name](value)
    if name == "labels":
        return {label: LabelStats.from_state(own) for label, own in value.items()}
    if name == "regions_per_image":
        return counts.from_pairs(value)
    if name in _PLAIN:
        if type(value) is not int:
            raise ValueError(f"{name}: {value!r}, expected a whole number")
        return value
    return counts.checked(value)


def merge(a: ShardStats, b: ShardStats) -> ShardStats:
    """Return the statistics of both sets of rows together; neither argument changes."""
    merged = {name: combine(getattr(a, name), getattr(b, name)) for name, combine in MERGES.items()}
    return ShardStats(**merged)


def merge_all(parts: Iterable[ShardStats]) -> ShardStats:
    """Return the statistics of all parts together."""
    return reduce(merge, parts, ShardStats())
