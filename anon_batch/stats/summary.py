"""The figures of stats.json."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Any

from anon_batch.records import STATUSES
from anon_batch.stats.label import LabelStats
from anon_batch.stats.shard import ShardStats

# The keys of stats.json and their meaning; the reference page is made from them.
KEYS: Mapping[str, str] = MappingProxyType(
    {
        "rows": "number of manifest rows",
        "statuses": "status -> rows, all four statuses",
        "reasons": "status -> reason -> rows; reasons that exceed the cap are counted under `other`, without a status",
        "images_searched": "images in which detection finished",
        "images_with_regions": "images in which something was detected",
        "detections": "number of detections",
        "regions_anonymized": "number of anonymized regions",
        "regions_kept": "regions left as they are on the owner's word",
        "regions_per_image": "number of detections -> images; `1000` stands for 1000 and more",
        "scores": "lower border of a bin 0.01 wide -> detections",
        "sizes_px": "lower border of the longer side, a power of 2 or 0 -> detections",
        "methods": "method -> regions",
        "labels": "label -> `images` with that label, `detections`, `regions_anonymized`, `regions_kept`, `regions_per_image`, "
        "`scores`, `sizes_px`, `methods`; labels that exceed the cap are counted under `other`",
        "checks": "check -> outcome -> count, for example `structure` -> `passed`, `failed`",
        "bytes_in": "bytes read from sources",
        "bytes_out": "bytes of the outputs",
        "seconds": "stage -> wall seconds, summed over threads",
        "detection": "accuracy against the ground truth at IoU 0.5, null without: `iou_threshold`, `images`, "
        "`unsearched_images`, `bands` (all labels) and `labels` (label -> the same). A band has `regions`, `true_positives`, "
        "`false_positives`, `missed`, `precision`, `recall` (all at the run's own thresholds) and `average_precision`. Bands "
        "are `all`, COCO's areas `small` (up to 32² px²), `medium` (32² to 96²) and `large` (from 96²), and `from_16_px` "
        "(longer side). A detection finds only regions of its own label. Ignored regions, and detections that match one, are "
        "not counted.",
        "missed": "labelled faces that published images still show, null without ground truth: `max_outside`, `images`, "
        "`unpublished_images` and `unpublished_faces` (withheld or failed: they show nobody), and `groups` (dimension -> value "
        "-> `faces`, `uncovered`, `images` with such faces, `share`, and its 95 % interval `low`, `high`). A labelled region is "
        "uncovered if its centre, or more than `max_outside` of its box, lies outside all masks; ignored and kept regions do "
        "not count. The dimensions are `all` (`all` and `from_16_px`), `size`, and of faces from 16 px `brightness`, `pose`, "
        "`crowding` (labelled faces in the image) and the manifest's private columns `slice_*`; `label` counts the regions of "
        "every label from 16 px. See the guide to missed faces",
        "found_by": "names of detectors, joined by `+` -> faces from 16 px with a score from 0.7 that exactly these found; says "
        "how much two detectors miss at least, see the guide to missed faces",
        "timing": "`cpu_seconds` by stage, `worker_seconds` by phase of the thread that drives the networks (together all time "
        "of all workers), and `process_cpu_seconds`; missing if no row was attempted",
    }
)


def summarise(stats: ShardStats) -> dict[str, Any]:
    """Return the figures for stats.json: `KEYS`, in values that JSON can hold. A rate without a denominator is None."""
    together = LabelStats()
    for own in stats.labels.values():
        together = together.merge(own)
    searched = sum(stats.regions_per_image.values())
    with_truth = bool(stats.detection.images or stats.unsearched_images)
    detection = {**stats.detection.summary(), "unsearched_images": stats.unsearched_images}
    summary = {
        "rows": stats.rows,
        "statuses": {status: stats.statuses.get(status, 0) for status in STATUSES},
        "reasons": _nest(stats.reasons),
        "images_searched": searched,
        "images_with_regions": searched - stats.regions_per_image.get(0, 0),
        "detections": together.detections,
        "regions_anonymized": sum(together.methods.values()),
        "regions_kept": together.kept,
        "regions_per_image": {str(key): n for key, n in sorted(stats.regions_per_image.items())},
        **together.histograms(),
        "labels": {label: own.summary() for label, own in sorted(stats.labels.items())},
        "checks": _nest(stats.checks),
        "bytes_in": stats.bytes_in,
        "bytes_out": stats.bytes_out,
        "seconds": _seconds(stats.stage_us),
        "detection": detection if with_truth else None,
        "missed": stats.missed.summary(),
        "found_by": dict(sorted(stats.found_by.items())),
    }
    if stats.worker_us:  # rows that were given up without an attempt have none
        summary["timing"] = {
            "cpu_seconds": _seconds(stats.stage_cpu_us),
            "worker_seconds": _seconds(stats.worker_us),
            "process_cpu_seconds": stats.process_cpu_us / 1e6,
        }
    return summary


def _nest(counts: Mapping[str, int]) -> dict[str, Any]:
    """Return counts by "a:b" as a -> b -> count; a key without a colon stays at the top."""
    nested: dict[str, Any] = {}
    for key, count in sorted(counts.items()):
        outer, separator, inner = key.partition(":")
        if separator:
            nested.setdefault(outer, {})[inner] = count
        else:
            nested[outer] = count
    return nested


def _seconds(us: Mapping[str, int]) -> dict[str, float]:
    return {name: value / 1e6 for name, value in sorted(us.items())}
