"""Compute what the report shows, from run.json and stats.json alone, so that its cost does not depend on the rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import PUBLIC_SECTIONS, RunJson
from anon_batch.formats.stats_json import StatsJson
from anon_batch.records import STATUSES
from anon_batch.stats import TimeShares, mean_interval, time_shares, wilson
from anon_batch.stats.label import MAX_COUNT_BIN

Interval = tuple[float, float] | None


@dataclass(frozen=True, slots=True)
class FinishedRelease:
    """A finished release with its public descriptions.

    Args:
        release: on storage.
        run: its run.json.
        stats: its stats.json.
        gates: its gates.json.
    """

    release: Release
    run: RunJson
    stats: StatsJson
    gates: Gates


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
    settings: list[tuple[str, str]]


def read_finished(release: Release) -> FinishedRelease:
    """Read the descriptions of a finished release.

    Raises:
        ConfigError: there is no release, or it is not finished.
        IntegrityError: run.json, stats.json or gates.json is damaged or missing.
    """
    record = release.read_run_json()
    if not record.is_finished:
        raise ConfigError(
            f"{release.uri}: this run is not finished, so there is nothing to report yet; run the same job again to "
            "resume it (`anon-batch status` shows its progress)"
        )
    gates = release.read_gates()
    if gates is None:
        raise IntegrityError(f"{release.address(layout.GATES)}: missing; run the same job again to write it")
    return FinishedRelease(release, record, release.read_stats(), gates)


def compute_figures(finished: FinishedRelease) -> Figures:
    """Compute what the page shows.

    Raises:
        IntegrityError: stats.json or run.json is not what this package writes.
    """
    try:
        return _figures(finished.run, finished.stats.summary)
    except (KeyError, TypeError, ValueError, AttributeError) as exc:
        uri, detail = finished.release.address(layout.STATS), f"{type(exc).__name__}: {exc}"
        raise IntegrityError(f"{uri}: not statistics of this package ({detail})") from None


def _figures(record: RunJson, summary: Mapping[str, Any]) -> Figures:
    rows, time = int(summary["rows"]), time_shares(summary)
    detection = summary["detection"]
    return Figures(
        rows=rows,
        statuses=_shares({status: summary["statuses"].get(status, 0) for status in STATUSES}, rows),
        reasons=_shares(_flat_reasons(summary["reasons"]), rows),
        searched=int(summary["images_searched"]),
        with_regions=int(summary["images_with_regions"]),
        detections=int(summary["detections"]),
        anonymized=int(summary["regions_anonymized"]),
        kept=int(summary["regions_kept"]),
        per_image=mean_interval({min(int(k), MAX_COUNT_BIN): int(n) for k, n in summary["regions_per_image"].items()}),
        labels=_labels(summary, detection),
        methods=_shares(summary["methods"]),
        sizes=_shares(_size_names(summary["sizes_px"])),
        scores=_shares(_tenths(summary["scores"])),
        bands=None if detection is None else [_band(name, band) for name, band in detection["bands"].items()],
        unsearched=0 if detection is None else int(detection["unsearched_images"]),
        time=time,
        images_per_s=time.images_per_s(rows),
        elapsed_s=_elapsed_s(record),
        bytes_in=int(summary["bytes_in"]),
        bytes_out=int(summary["bytes_out"]),
        models=[(name, digest) for name, _, digest in (model.partition("@") for model in record.models)],
        settings=list(_settings(record.config)),
    )


def _shares(counts: Mapping[str, Any], whole: int | None = None) -> list[tuple[str, int, float]]:
    total = sum(int(n) for n in counts.values()) if whole is None else whole
    return [(str(name), int(n), int(n) / total if total else 0.0) for name, n in counts.items()]


def _flat_reasons(reasons: Mapping[str, Any]) -> dict[str, int]:
    flat: dict[str, int] = {}
    for status, inner in reasons.items():
        if isinstance(inner, Mapping):
            flat.update({f"{status}: {reason}": int(n) for reason, n in inner.items()})
        else:
            flat[status] = int(inner)
    return flat


def _size_names(sizes: Mapping[str, Any]) -> dict[str, int]:
    borders = sorted((int(border), int(n)) for border, n in sizes.items())
    return {f"{border} to {max(2 * border, 2)} px": n for border, n in borders}


def _tenths(scores: Mapping[str, Any]) -> dict[str, int]:
    tenths = dict.fromkeys(range(10), 0)
    for border, n in scores.items():
        tenths[min(9, round(float(border) * 100) // 10)] += int(n)
    return {f"{tenth / 10:.1f} to {(tenth + 1) / 10:.1f}": n for tenth, n in tenths.items() if n}


def _labels(summary: Mapping[str, Any], detection: Mapping[str, Any] | None) -> list[LabelFigures]:
    """Return the figures of every label that was detected or is in the ground truth."""
    found, known = summary["labels"], {} if detection is None else detection["labels"]
    out = []
    for name in sorted({*found, *known}):
        label = found.get(name, {})
        images, detections, anonymized, kept = (
            int(label.get(key, 0)) for key in ("images", "detections", "regions_anonymized", "regions_kept")
        )
        band = _band("all", known[name]["all"]) if name in known else None
        out.append(LabelFigures(name, images, detections, anonymized, kept, band))
    return out


def _band(name: str, band: Mapping[str, Any]) -> Band:
    faces, found, wrong = (int(band[key]) for key in ("regions", "true_positives", "false_positives"))
    return Band(
        name.replace("_", " "),
        faces,
        int(band["missed"]),
        wrong,
        _ratio(band["recall"]),
        wilson(found, faces),
        _ratio(band["precision"]),
        wilson(found, found + wrong),
        _ratio(band["average_precision"]),
    )


def _ratio(value: Any) -> float | None:
    return None if value is None else float(value)


def _elapsed_s(record: RunJson) -> float | None:
    if record.finished_at is None:
        return None
    return (datetime.fromisoformat(record.finished_at) - datetime.fromisoformat(record.created_at)).total_seconds()


def _settings(config: Mapping[str, Any]) -> list[tuple[str, str]]:
    found: list[tuple[str, str]] = []

    def walk(prefix: str, value: Any) -> None:
        if isinstance(value, Mapping):
            for key, inner in value.items():
                walk(f"{prefix}.{key}", inner)
        else:
            found.append((prefix, json.dumps(value, ensure_ascii=False)))

    for section in PUBLIC_SECTIONS:
        if section in config:
            walk(section, config[section])
    return found
