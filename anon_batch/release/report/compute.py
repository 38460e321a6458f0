"""Compute what the report shows, from its JSON files alone, so that its cost does not depend on the number of rows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any

from anon_batch.errors import IntegrityError
from anon_batch.formats import layout
from anon_batch.formats.run_json import PUBLIC_SECTIONS, RunJson
from anon_batch.records import STATUSES
from anon_batch.release.report.figures import Band, Figures, LabelFigures
from anon_batch.release.report.finished import FinishedRelease
from anon_batch.stats import mean_interval, time_shares, wilson
from anon_batch.stats.label import MAX_COUNT_BIN


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
        published=[str(name) for name in record.columns.get("published", [])],
        withheld=[(str(name), str(why)) for name, why in record.columns.get("withheld", {}).items()],
        blanked=_blanked(record.columns),
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


def _blanked(columns: Mapping[str, Any]) -> list[tuple[str, str, int]]:
    kinds = columns.get("blanked", {})
    return [(str(name), str(why), int(n)) for name, own in kinds.items() for why, n in own.items()]


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
