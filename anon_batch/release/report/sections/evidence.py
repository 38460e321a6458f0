"""The evidence: one section a question, with all that was measured for it."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from anon_batch.label_words import noun_of
from anon_batch.release.report.document import Block, Section, Text, table
from anon_batch.release.report.measures import Measures
from anon_batch.release.report.shown import blocks_of
from anon_batch.stats import wilson
from anon_batch.stats.figure import Figure
from anon_batch.units import format_count

_AT_LEAST = (
    "A figure by capture and recapture compares two detectors that both miss the hardest faces. It says how many were missed at "
    "least, never that so few were missed; no limit is judged by it."
)
_SECTIONS = (
    ("missed", "Evidence: missed faces", ("missed", "residual", "review"), "anon-batch review OUTPUT"),
    ("recognised", "Evidence: recognition", ("reidentification",), "anon-batch evaluate OUTPUT"),
    (
        "useful",
        "Evidence: use for training",
        ("utility", "naturalness", "groups"),
        "anon-batch evaluate OUTPUT",
    ),
)
_NOT = "No measurement of this was taken. Run `{command}`, then `anon-batch report OUTPUT` again."


def evidence_sections(measures: Measures, summary: Mapping[str, Any]) -> Iterator[Section]:
    """Yield a section for each question, and one for measures that belong to none."""
    known: set[str] = set()
    for anchor, title, subjects, command in _SECTIONS:
        known.update(subjects)
        own = measures.of(subjects)
        blocks = list(blocks_of(own, anchor, "What was measured"))
        if anchor == "missed":
            blocks += _bands(summary)
            if any("least" in name or "recapture" in name for name in (*own.figures, *own.tables)):
                blocks.append(Text(_AT_LEAST, "note"))
        if not blocks:
            blocks = [Text(_NOT.format(command=command))]
        yield Section(f"evidence-{anchor}", title, tuple(blocks))
    other = measures.of(measures.subjects - known)
    if blocks := list(blocks_of(other, "other", "What else was measured")):
        yield Section("evidence-other", "Other measurements", tuple(blocks))


def _bands(summary: Mapping[str, Any]) -> Iterator[Block]:
    """Yield how the detectors compare with the ground truth, by size."""
    detection = summary["detection"]
    if detection is None:
        yield Text("The manifest has no ground truth, so the number of missed faces is not known from it.", "note")
        return
    rows = [(name.replace("_", " "), *_accuracy(band)) for name, band in detection["bands"].items()]
    if len(detection["labels"]) > 1:
        rows += [(noun_of(label), *_accuracy(bands["all"])) for label, bands in sorted(detection["labels"].items())]
    unsearched = int(detection["unsearched_images"])
    skipped = (
        f" {format_count(unsearched)} images with ground truth were not searched and are not counted."
        if unsearched
        else ""
    )
    yield from table(
        "accuracy",
        "Detectors against the ground truth, at the thresholds of this run and IoU 0.5",
        {
            "size or label": "text",
            "labelled": "count",
            "not found": "count",
            "recall": "share",
            "false boxes": "count",
            "precision": "share",
            "average precision": "share",
        },
        rows,
        "Wilson intervals, which take detections as independent; those of one image are not, so the true intervals are somewhat "
        "wider. A false box was anonymized though nobody labelled it. A face that a box covers without reaching IoU 0.5 counts "
        f"as not found here. small: up to 32² px², medium: to 96², large: from 96²; from 16 px: longer side.{skipped}",
    )


def _accuracy(band: Mapping[str, Any]) -> tuple[int | Figure | float | None, ...]:
    regions, found, wrong = (int(band[key]) for key in ("regions", "true_positives", "false_positives"))
    average = band["average_precision"]
    return (
        regions,
        int(band["missed"]),
        _share(found, regions),
        wrong,
        _share(found, found + wrong),
        None if average is None else float(average),
    )


def _share(hits: int, of: int) -> Figure | None:
    interval = wilson(hits, of)
    return None if interval is None else Figure(hits / of, *interval)
