"""The figures of stats.json."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from anon_batch.records import STATUSES
from anon_batch.stats.label import LabelStats
from anon_batch.stats.shard import ShardStats


def summarise(stats: ShardStats) -> dict[str, Any]:
    """Return the figures for stats.json: values that JSON can hold, None for a rate without a denominator.

    Returns:
        A dict with these keys:

        - rows, bytes_in, bytes_out, images_searched, images_with_regions (in which something was detected), detections,
          regions_anonymized, regions_kept (left untouched on the owner's word);
        - statuses: status -> rows, all four;
        - reasons: status -> reason -> rows; what exceeded the cap is under `other`, without a status;
        - regions_per_image: detections -> images, "1000" for 1000 and more;
        - scores: lower border of a bin 0.01 wide -> detections;
        - sizes_px: lower border of the longer side, a power of 2 or 0 -> detections;
        - methods: method -> regions;
        - labels: label -> images (that have the label), detections, regions_anonymized, regions_kept, regions_per_image,
          scores, sizes_px, methods; labels that exceeded the cap are under `other`;
        - checks: check -> outcome -> how often, e.g. structure -> {passed, failed};
        - seconds: stage -> wall seconds, summed over threads;
        - timing: cpu_seconds, stage -> seconds; worker_seconds, phase -> seconds of the thread that drives the
          networks, which together are all the time of all workers; process_cpu_seconds of their processes. Left out
          when no shard has it;
        - detection: None without ground truth, else iou_threshold, images, unsearched_images, bands (all labels together)
          and labels (label -> the same): band -> regions, true_positives, false_positives, missed, precision, recall
          (all at the run's own thresholds) and average_precision. Bands are `all`; COCO's areas `small` (up to
          32² px²), `medium` (32² to 96²), `large` (from 96²); and `from_16_px` (longer side). A detection finds only regions
          of its own label. Ignored regions, and detections that match one, are in none of these.
    """
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
