"""Gates: a pure function over the merged statistics."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from anon_batch.config import GatesConfig
from anon_batch.formats import layout
from anon_batch.formats.evidence_json import Evidence, Sample
from anon_batch.formats.gates_json import GateResult
from anon_batch.formats.release import Release
from anon_batch.formats.stats_json import StatsJson
from anon_batch.geometry import regions_of
from anon_batch.pipeline.gates import common_failure, evaluate_gates
from anon_batch.pipeline.kept_evidence import KeptEvidence, read_kept_evidence
from anon_batch.records import Detections, GroundTruth, Preview
from anon_batch.stats import ShardStats, judge_regions, merge_all, summarise
from anon_batch.stats.figure import Figure
from anon_batch.stats.residual import residual_figures
from anon_batch.storage import Storage

OFF = GatesConfig(withheld=None, failed=None)


def _gates(stats: ShardStats, limits: GatesConfig) -> list[GateResult]:
    return list(evaluate_gates(StatsJson(summarise(stats)), limits).results)


def _stats(anonymized: int = 0, clean: int = 0, withheld: int = 0, failed: int = 0) -> ShardStats:
    stats = ShardStats()
    for status, rows in (("anonymized", anonymized), ("clean", clean)):
        for _ in range(rows):
            stats.add_row(status)
    for _ in range(withheld):
        stats.add_row("withheld", "encode")
    for _ in range(failed):
        stats.add_row("failed", "decode")
    return stats


def _searched(found: int, labelled: int) -> ShardStats:
    """One image with `labelled` regions, the first `found` of which were detected."""
    boxes = np.array([[20 * n, 0, 20 * n + 16, 16] for n in range(labelled)], np.float32).reshape(-1, 4)
    stats = ShardStats()
    detections = Detections(
        boxes[:found], np.ones(found, np.float32), np.full((found, 5, 2), np.nan, np.float32), ("x",) * found
    )
    truth = GroundTruth(boxes, np.zeros(labelled, bool))
    regions = regions_of(detections, 20 * labelled, 20, 1.0, "rectangle")
    judged = judge_regions(truth, regions, detections, Preview("a", np.zeros((20, 20 * labelled, 3), np.uint8)))
    stats.add_row("anonymized", None, detections, truth, labelled=judged)
    return stats


def test_defaults_are_one_percent_of_withheld_and_of_failed_rows() -> None:
    results = _gates(_stats(anonymized=98, withheld=1, failed=1), GatesConfig())
    assert [(r.name, r.kind, r.limit, r.value, r.passed) for r in results] == [
        ("withheld", "at_most", 0.01, 0.01, True),
        ("failed", "at_most", 0.01, 0.01, True),
    ]
    assert results[0].note == "1 of 100 rows"
    results = _gates(_stats(anonymized=97, withheld=2, failed=1), GatesConfig())
    assert [r.passed for r in results] == [False, True]


def test_one_failed_row_of_a_tiny_sample_exceeds_the_gate() -> None:
    [_, failed] = _gates(_stats(clean=12, failed=1), GatesConfig())
    assert (failed.passed, failed.note) == (False, "1 of 13 rows")


def test_null_switches_a_gate_off() -> None:
    assert _gates(_stats(failed=5), OFF) == []


@pytest.mark.parametrize(
    ("gates", "value", "passed"),
    [
        ({"recall": 0.75}, 0.75, True),
        ({"recall": 0.76}, 0.75, False),
    ],
)
def test_recall_is_a_lower_bound(gates: dict[str, float], value: float, passed: bool) -> None:
    [result] = _gates(_searched(3, 4), GatesConfig(withheld=None, failed=None, **gates))
    assert (result.value, result.passed) == (value, passed)
    assert result.note.endswith("of 4 ground-truth regions")


def _with_plates(found: int, plates: int) -> ShardStats:
    """Forty images with a face each that is covered; then one with plates, of which the first are covered."""
    boxes = np.array([[40 * n, 0, 40 * n + 32, 16] for n in range(plates)], np.float32)
    truth = GroundTruth(boxes, np.zeros(plates, bool), ("licence_plate",) * plates)
    marks = np.full((found, 5, 2), np.nan, np.float32)
    labels = ("licence_plate",) * found
    detections = Detections(boxes[:found], np.ones(found, np.float32), marks, ("d",) * found, labels)
    regions = regions_of(detections, 40 * plates, 20, 1.0, "rectangle")
    judged = judge_regions(truth, regions, detections, Preview("a", np.zeros((20, 40 * plates, 3), np.uint8)))
    stats = ShardStats()
    stats.add_row("anonymized", None, detections, truth, labelled=judged)
    return merge_all([*[_searched(1, 1)] * 40, stats])


def test_the_worst_label_counts_so_that_faces_do_not_hide_plates() -> None:
    limits = GatesConfig(withheld=None, failed=None, missed=0.2, recall=0.9)
    missed, recall = _gates(_with_plates(1, 4), limits)
    assert (missed.passed, recall.passed) == (False, False)
    assert missed.note == "upper bound; 3 of 4 labelled number plates from 16 px are uncovered"
    assert recall.note == "1 of 4 ground-truth regions of the worst label, `licence_plate`"
    assert recall.value == 0.25


def test_missed_compares_the_upper_end_of_the_interval() -> None:
    """One image whose faces are all covered proves nothing about other images."""
    [result] = _gates(_searched(40, 40), GatesConfig(withheld=None, failed=None, missed=0.5))
    assert result.value == pytest.approx(0.975)
    assert not result.passed
    assert result.note == "upper bound; 0 of 40 labelled faces from 16 px are uncovered"
    many = merge_all([_searched(1, 1)] * 40 + [_searched(0, 1)])
    [result] = _gates(many, GatesConfig(withheld=None, failed=None, missed=0.13))
    assert 1 / 41 < result.value == pytest.approx(0.1286, abs=2e-3)  # Clopper and Pearson's, for 1 of 41 images
    assert result.passed
    assert not _gates(many, GatesConfig(withheld=None, failed=None, missed=0.12))[0].passed


def test_withheld_images_do_not_make_the_missed_figure() -> None:
    stats = ShardStats()
    stats.add_row("withheld", "encode", None, GroundTruth(np.array([[0, 0, 20, 20]], np.float32), np.zeros(1, bool)))
    [result] = _gates(stats, GatesConfig(withheld=None, failed=None, missed=1.0))
    assert (result.value, result.passed) == (None, False)
    assert result.note.startswith(
        "not measured: no published image has a labelled face or other region from 16 px; without it, "
    )


@pytest.mark.parametrize("name", ["missed", "recall", "residual", "reidentification", "ap_kept"])
def test_a_gate_without_a_figure_is_exceeded_and_says_so(name: str) -> None:
    [result] = _gates(_stats(clean=5), GatesConfig(withheld=None, failed=None, **{name: 0.5}))
    assert (result.value, result.passed) == (None, False)
    assert result.note.startswith("not measured: ")


def test_residual_is_the_upper_bound_of_the_check() -> None:
    stats = _stats(anonymized=4)
    stats.add_checks({"residual": {"checked": 400, "found": 4, "planted_24_48": 40, "planted_found_24_48": 36}})
    [result] = _gates(stats, GatesConfig(withheld=None, failed=None, residual=0.01))
    figure = residual_figures(summarise(stats))["residual.share"]
    assert (result.value, result.passed) == (figure.high, True)
    assert result.note == "upper bound; estimate 0.1 % of 400 checked images"


def test_no_rows_are_not_measured() -> None:
    assert [r.value for r in _gates(ShardStats(), GatesConfig())] == [None, None]


@pytest.mark.parametrize(
    ("stats", "expected"),
    [
        (_stats(failed=3), ("failed", "decode")),
        (_stats(withheld=1), ("withheld", "encode")),
        (_stats(failed=2, withheld=1), None),
        (_stats(failed=3, clean=1), None),
        (_stats(clean=3), None),
        (ShardStats(), None),
    ],
)
def test_every_row_fails_alike(stats: ShardStats, expected: tuple[str, str] | None) -> None:
    assert common_failure(StatsJson(summarise(stats))) == expected


def _measured(file: str, **figures: Figure) -> KeptEvidence:
    named = {name.replace("__", "."): figure for name, figure in figures.items()}
    return KeptEvidence({file: Evidence("r", "2026-01-01T00:00:00+00:00", "1", Sample(5, 5), figures=named)})


@pytest.mark.parametrize(
    ("gates", "file", "figures", "value", "passed"),
    [
        ({"ap_kept": 0.9}, layout.EVALUATION, {"utility__ap_kept": Figure(0.95, 0.9, 1.0, 40, "faces")}, 0.9, True),
        ({"ap_kept": 0.91}, layout.EVALUATION, {"utility__ap_kept": Figure(0.95, 0.9, 1.0, 40, "faces")}, 0.9, False),
        ({"reidentification": 0.1}, layout.EVALUATION, {"reidentification__rank_1": Figure(0.02, 0, 0.1)}, 0.1, True),
        ({"reidentification": 0.09}, layout.EVALUATION, {"reidentification__rank_1": Figure(0.02, 0, 0.1)}, 0.1, False),
        ({"missed": 0.01}, layout.REVIEW, {"review__missed": Figure(0, high=0.01, n=299, unit="images")}, 0.01, True),
    ],
)
def test_a_gate_compares_the_worse_bound_of_what_was_measured_after_the_run(
    gates: dict[str, float], file: str, figures: dict[str, Figure], value: float, passed: bool
) -> None:
    limits = GatesConfig(withheld=None, failed=None, **gates)
    [result] = evaluate_gates(StatsJson(summarise(_stats(clean=5))), limits, _measured(file, **figures)).results
    assert (result.value, result.passed, result.evidence) == (value, passed, file)


def test_an_estimate_without_a_bound_exceeds_its_gate() -> None:
    evidence = _measured(layout.EVALUATION, utility__ap_kept=Figure(0.99, note="too few images for an interval"))
    limits = GatesConfig(withheld=None, failed=None, ap_kept=0.5)
    [result] = evaluate_gates(StatsJson(summarise(_stats(clean=5))), limits, evidence).results
    assert (result.value, result.passed) == (None, False)
    assert "utility.ap_kept has no lower bound: too few images" in result.note


@pytest.mark.parametrize(
    ("gate", "name", "figure"),
    [
        ("reidentification", "reidentification__rank_1", Figure(0.8, 0.0, -5)),
        ("ap_kept", "utility__ap_kept", Figure(0.1, 9)),
    ],
)
def test_a_bound_better_than_its_estimate_passes_no_gate(gate: str, name: str, figure: Figure) -> None:
    limits = GatesConfig(withheld=None, failed=None, **{gate: 0.5})
    evidence = _measured(layout.EVALUATION, **{name: figure})
    [result] = evaluate_gates(StatsJson(summarise(_stats(clean=5))), limits, evidence).results
    assert (result.value, result.passed) == (figure.value, False)


@pytest.mark.parametrize(("reviewed", "source"), [(0.6, layout.REVIEW), (0.001, layout.STATS)])
def test_missed_takes_the_worse_of_ground_truth_and_review(reviewed: float, source: str) -> None:
    evidence = _measured(layout.REVIEW, review__missed=Figure(0.0, high=reviewed, n=299, unit="images"))
    limits = GatesConfig(withheld=None, failed=None, missed=0.9)
    labelled = merge_all([_searched(3, 4)] * 100)
    [result] = evaluate_gates(StatsJson(summarise(labelled)), limits, evidence).results
    assert result.value is not None
    assert result.value >= max(0.25, reviewed)
    assert result.evidence == source


def test_capture_recapture_feeds_no_gate() -> None:
    figures = {name: Figure(0.0, 0.0, 0.0, 10**6, "faces") for name in ("missed__all", "missed__at_least", "review__x")}
    for file in (layout.EVALUATION, layout.REVIEW):
        limits = GatesConfig(withheld=None, failed=None, missed=0.5, recall=0.5, residual=0.5)
        results = evaluate_gates(StatsJson(summarise(_stats(clean=5))), limits, _measured(file, **figures)).results
        assert [result.value for result in results] == [None, None, None]


def test_evidence_on_another_run_or_state_or_damaged_is_refused(tmp_path: Path) -> None:
    release, stats = Release(Storage(), str(tmp_path / "out")), StatsJson(summarise(_stats(clean=5)))
    limits = GatesConfig(withheld=None, failed=None, ap_kept=0.5)
    figures = {"utility.ap_kept": Figure(0.9, 0.8, 1.0)}

    def note(run_id: str, sha256: str) -> str:
        evidence = Evidence(run_id, "2026-01-01T00:00:00+00:00", "1", Sample(5, 5), sha256, figures)
        release.write_evidence(layout.EVALUATION, evidence)
        [result] = evaluate_gates(stats, limits, read_kept_evidence(release, "r", stats)).results
        assert result.passed is (not result.note.startswith("not measured"))
        return result.note

    assert "lower bound" in note("r", stats.sha256)
    assert "of run other, not of this one" in note("other", stats.sha256)
    assert "another state of this release; repeat `anon-batch evaluate OUTPUT`" in note("r", "0" * 64)
    release.put(layout.EVALUATION, b"{")
    [result] = evaluate_gates(stats, limits, read_kept_evidence(release, "r", stats)).results
    assert "evaluation.json cannot be read" in result.note
