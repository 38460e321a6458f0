"""Detections: what was found, how large, with which score, and what was done to it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anon_batch.release.report.document import Block, Drawn, Figures, NamedFigure, Section, Text, table
from anon_batch.release.report.plots import Axis, Histogram
from anon_batch.stats import mean_interval
from anon_batch.stats.figure import Figure
from anon_batch.stats.label import MAX_COUNT_BIN
from anon_batch.units import format_count

_CHECKS_NOTE = "A region that fails goes to the next method of its fallbacks; an image that fails is withheld."


def found_section(summary: Mapping[str, Any]) -> Section:
    """Return what was detected and what was done to it."""
    searched, found = int(summary["images_searched"]), int(summary["images_with_regions"])
    anonymized, kept = int(summary["regions_anonymized"]), int(summary["regions_kept"])
    text = (
        f"{format_count(searched)} images were searched, and something was detected in {format_count(found)} of them: "
        f"{format_count(int(summary['detections']))} detections, {format_count(anonymized)} of them anonymized"
        f"{f', {format_count(kept)} kept because the owner asked for it' if kept else ''}. Detections of images that were "
        "withheld are not anonymized, because such images are not published."
    )
    mean = mean_interval({min(int(k), MAX_COUNT_BIN): int(n) for k, n in summary["regions_per_image"].items()})
    figures = (
        ()
        if mean is None
        else (
            NamedFigure(
                "found.per_image", "detections in an image, mean", Figure(*mean, n=searched, unit="images"), "number"
            ),
        )
    )
    blocks: tuple[Block, ...] = (
        Text(text),
        *((Figures("per-image", "Mean, with its 95 % interval", figures),) if figures else ()),
        *_labels(summary),
        *_methods(summary["methods"]),
        *_sizes({int(size): int(n) for size, n in summary["sizes_px"].items()}),
        *_scores({float(score): int(n) for score, n in summary["scores"].items()}),
        *_checks(summary.get("checks", {})),
    )
    return Section("found", "Detections and their treatment", blocks)


def _labels(summary: Mapping[str, Any]) -> Iterator[Block]:
    known = summary["detection"]["labels"] if summary["detection"] else {}
    rows = []
    for name in sorted({*summary["labels"], *known}):
        own, truth = summary["labels"].get(name, {}), known.get(name, {}).get("all", {})
        counts = [int(own.get(key, 0)) for key in ("images", "detections", "regions_anonymized", "regions_kept")]
        rows.append((name, *counts, *(int(truth[key]) if truth else None for key in ("regions", "missed"))))
    columns = ("images", "detections", "anonymized", "kept", "labelled", "not found")
    yield from table(
        "labels",
        "Labels",
        {"label": "text", **dict.fromkeys(columns, "count")},
        rows,
        "“labelled” and “not found” count the ground truth of the manifest, at IoU 0.5." if known else "",
    )


def _methods(methods: Mapping[str, Any]) -> Iterator[Block]:
    total = sum(int(n) for n in methods.values())
    rows = [(name, int(n), int(n) / total if total else 0.0) for name, n in methods.items()]
    rows.sort(key=lambda row: (-row[1], row[0]))
    columns = {"method": "text", "regions": "count", "share": "share"}
    yield from table("methods", "Methods that anonymized the regions", columns, rows)


def _sizes(sizes: Mapping[int, int]) -> Iterator[Block]:
    """Yield the histogram of sizes; a key is the lower border of a bin: 0, or a power of 2 whose bin reaches to its double."""
    if not any(sizes.values()):
        return
    last = max([1, *sizes])
    borders = [1]
    while borders[-1] <= last:
        borders.append(2 * borders[-1])
    first = next((i for i, border in enumerate(borders[:-1]) if _at(sizes, border)), 0)
    counts = [_at(sizes, border) for border in borders[first:-1]]
    yield Drawn(
        "plot-sizes",
        Histogram(
            "Size of the detections",
            "Number of detections by the longer side of their box in the image; each bin reaches to twice its lower border.",
            Axis("longer side of the detection, px", "number", log=True),
            Axis("detections", "number"),
            tuple(borders[first:]),
            tuple(counts),
        ),
    )


def _at(sizes: Mapping[int, int], border: int) -> int:
    return sizes.get(border, 0) + (sizes.get(0, 0) if border == 1 else 0)


def _scores(scores: Mapping[float, int]) -> Iterator[Block]:
    """Yield the histogram of scores, in bins 0.02 wide, because 100 of them are too narrow to read."""
    if not any(scores.values()):
        return
    counts = [0] * 50
    for score, n in scores.items():
        counts[min(49, round(score * 100) // 2)] += n
    first = min(next(i for i, n in enumerate(counts) if n), 45)
    yield Drawn(
        "plot-scores",
        Histogram(
            "Score of the detections",
            "Number of detections by the score that the detector gave. Many detections at the lowest score mean that a lower "
            "threshold would find more.",
            Axis("score", "number"),
            Axis("detections", "number"),
            tuple(i / 50 for i in range(first, 51)),
            tuple(counts[first:]),
        ),
    )


def _checks(checks: Mapping[str, Any]) -> Iterator[Block]:
    rows = [
        (str(check), str(outcome), int(n))
        for check, own in checks.items()
        if isinstance(own, Mapping)
        for outcome, n in own.items()
    ]
    yield from table(
        "checks",
        "Checks of the outputs",
        {"check": "code", "outcome": "text", "count": "count"},
        rows,
        _CHECKS_NOTE,
    )
