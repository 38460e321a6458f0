"""Figures of the report: all values that its page shows."""

from __future__ import annotations

from dataclasses import dataclass

from anon_batch.stats import TimeShares

Interval = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class Band:
    """Detection against ground truth in one band of face sizes; intervals are 95 % confidence intervals."""

    name: str
    regions: int
    missed: int
    false_positives: int
    recall: float | None
    recall_interval: Interval
    precision: float | None
    precision_interval: Interval
    average_precision: float | None


@dataclass(frozen=True, slots=True)
class LabelFigures:
    """The detections of one label; `band` compares all sizes with the ground truth, None without any."""

    name: str
    images: int
    detections: int
    anonymized: int
    kept: int
    band: Band | None


@dataclass(frozen=True, slots=True)
class Figures:
    """All computed values of the page.

    Args:
        statuses, reasons: (name, rows, share); reasons as `status: code`.
        per_image: mean detections of a searched image with its interval.
        methods, sizes, scores: (name, detections, share).
        bands: None without ground truth.
        unsearched: rows with ground truth that were not searched.
        time: how the workers spent their time.
        images_per_s: throughput of one worker, rows per second.
        elapsed_s: from the first start to the end, pauses included.
        models: (name, sha256).
        published: names of the pass-through columns that are published.
        withheld: (column or key, why) of those that are not.
        blanked: (column or key, why, values) of values that were left out of published columns.
        settings: (dotted key, value).
    """

    rows: int
    statuses: list[tuple[str, int, float]]
    reasons: list[tuple[str, int, float]]
    searched: int
    with_regions: int
    detections: int
    anonymized: int
    kept: int
    per_image: tuple[float, float, float] | None
    labels: list[LabelFigures]
    methods: list[tuple[str, int, float]]
    sizes: list[tuple[str, int, float]]
    scores: list[tuple[str, int, float]]
    bands: list[Band] | None
    unsearched: int
    time: TimeShares
    images_per_s: float | None
    elapsed_s: float | None
    bytes_in: int
    bytes_out: int
    models: list[tuple[str, str]]
    published: list[str]
    withheld: list[tuple[str, str]]
    blanked: list[tuple[str, str, int]]
    settings: list[tuple[str, str]]
