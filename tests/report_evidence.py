"""Evidence with every kind of figure, table and curve, for tests of the report. Its numbers are invented."""

from __future__ import annotations

import math
from typing import Any

from anon_batch.formats import layout
from anon_batch.formats.evidence_json import Curve, Evidence, Sample, Table
from anon_batch.formats.release import Release
from anon_batch.stats.figure import Figure


def figure(value: float, spread: float, n: int, unit: str, note: str = "") -> Figure:
    return Figure(value, value - spread, value + spread, n, unit, note)


def det(start: float) -> list[tuple[float, float]]:
    return [(10 ** (-4 + i / 10), min(1.0, start * 10 ** (-i / 60))) for i in range(41)]


def evaluation(run_id: str, stats_sha256: str, classes: int = 1000) -> Evidence:
    attackers = [("naive", 0.02), ("anonymized gallery", 0.041), ("parrot", 0.062), ("inversion", 0.033)]
    rows = tuple(
        (f"class {i:04}", figure(round(0.13 * math.sin(i * 7.3) * math.exp(-(i % 50) / 20), 4), 0.03, 50, "images"), 50)
        for i in range(classes)
    )
    groups = (("young", 0.97), ("adult", 0.981), ("old", 0.962))
    return Evidence(
        run_id=run_id,
        created_at="2026-03-05T12:00:00+00:00",
        tool_version="1.0",
        stats_sha256=stats_sha256,
        sample=Sample(2000, 50_000, 7),
        figures={
            "reidentification.rank_1": figure(0.062, 0.038, 102, "persons", "parrot attack on sface; chance is 1.0 %"),
            "reidentification.fnmr_at_fmr_0.01": figure(0.97, 0.02, 102, "genuine pairs"),
            "reidentification.fnmr_at_fmr_0.001": Figure.missing("102 persons support no FMR below 0.0098"),
            "reidentification.whole_image.rank_1": figure(0.41, 0.1, 102, "persons"),
            "reidentification.p_value": Figure(0.0312, n=102, unit="persons"),
            "utility.ap_kept": figure(0.981, 0.012, 1069, "labelled faces"),
            "utility.canary": figure(-0.007, 0.004, 50_000, "images", "accuracy after minus before"),
            "utility.frechet": figure(14.2, 1.1, 2000, "images", "mobilenet_v3 features"),
            "utility.kernel": Figure(0.00231, n=2000, unit="images"),
            "naturalness.probe": figure(0.61, 0.03, 800, "faces"),
            "weather.sunny": Figure(17.0, note="a measure that this version does not know"),
        },
        tables={
            "reidentification.attackers": Table(
                "Attackers, by how many persons they recognise at the first guess",
                ("seen", "attack", "recogniser", "rank 1", "p"),
                tuple(
                    (seen, name, "sface", figure(value, value / 2, 102, "persons"), 0.04)
                    for seen in ("the face alone", "the whole image, with hair, clothes and background")
                    for name, value in attackers
                ),
                "Bootstrap by person.",
            ),
            "utility.classes": Table(
                "Change of accuracy by class", ("class", "change", "images"), rows, "Holm's correction."
            ),
            "groups.age": Table(
                "Faces found again, by age group of the generated face",
                ("age group", "found", "naturalness"),
                tuple((name, figure(value, 0.01, 300, "faces"), 0.6) for name, value in groups),
            ),
            "unknown.things": Table("Something new", ("thing", "number"), (("a", 1), ("b", None), ("c", 2.5))),
        },
        curves={
            "reidentification.det": Curve(
                "Trade-off between false matches and false non-matches (DET)",
                "false match rate",
                "false non-match rate",
                {"originals": det(0.02), "naive": det(0.99), "parrot": det(0.95)},
                log_x=True,
                log_y=True,
            )
        },
        models=("sface@" + "ab" * 32,),
        skipped={"utility.segmentation": "no ground truth with masks"},
    )


def review(run_id: str, stats_sha256: str) -> Evidence:
    return Evidence(
        run_id=run_id,
        created_at="2026-03-04T09:00:00+00:00",
        tool_version="1.0",
        stats_sha256=stats_sha256,
        sample=Sample(299, 50_000, 3),
        figures={
            "review.missed": Figure(0.0, None, 0.0106, 299, "images", "0 found; corrected by the catch rate"),
            "review.catch_rate": figure(0.97, 0.03, 60, "planted faces"),
            "missed.at_least": Figure(0.0018, 0.0018, None, 940, "detections", "capture and recapture, two detectors"),
        },
        tables={
            "residual.recall": Table(
                "Planted faces that the residual check found, by size",
                ("size", "found"),
                tuple((f"{s} px", figure(v, 0.05, 60, "faces")) for s, v in ((16, 0.6), (32, 0.9), (64, 0.95))),
            ),
            "missed.size": Table(
                "Missed faces by size",
                ("longer side", "missed"),
                tuple(
                    (s, figure(v, v / 2, 80, "faces"))
                    for s, v in (("0 to 15 px", 0.4), ("16 to 31 px", 0.08), ("32 and more px", 0.01))
                ),
            ),
        },
    )


def add_all(release: Release, **options: Any) -> None:
    """Give a release an evaluation and a review of its present state."""
    run_id, sha256 = release.read_run_json().run_id, release.read_stats().sha256
    release.write_evidence(layout.EVALUATION, evaluation(run_id, sha256, **options))
    release.write_evidence(layout.REVIEW, review(run_id, sha256))
