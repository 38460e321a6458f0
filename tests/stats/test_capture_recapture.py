"""Capture-recapture says what is missed at least, and is far too low where hard faces are hard for both detectors."""

import numpy as np
import pytest

from anon_batch.config import GatesConfig
from anon_batch.detect.merge import merge_detectors
from anon_batch.formats import layout
from anon_batch.formats.evidence_json import Evidence, Sample
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline.gates import GATES, evaluate_gates
from anon_batch.pipeline.kept_evidence import KeptEvidence
from anon_batch.records import Detections
from anon_batch.stats import ShardStats, summarise
from anon_batch.stats.capture_recapture import count_finders, missed_at_least, missed_by_both
from anon_batch.stats.missed_figures import missed_figures


def _simulated():
    """Nine of ten faces are easy: each detector finds 97 % of these, and 20 % of the others. Return counts and the true share."""
    rng = np.random.default_rng(3)
    chance = np.where(np.arange(200_000) % 10 == 0, 0.2, 0.97)
    a, b = rng.random(len(chance)) < chance, rng.random(len(chance)) < chance
    counts = {"a": int((a & ~b).sum()), "b": int((b & ~a).sum()), "a+b": int((a & b).sum())}
    return counts, float((a | b).mean())


def test_with_hard_faces_it_claims_far_too_much_and_says_at_least():
    found_by, truth = _simulated()
    figure = missed_at_least(found_by)
    assert 1 - figure.value == pytest.approx(0.998, abs=0.001)
    assert truth == pytest.approx(0.936, abs=0.001)
    assert figure.note.startswith("at least 0.2")
    assert "No evidence that few are missed" in figure.note
    assert (figure.low, figure.high) == (figure.value, None)  # it bounds from below alone


def test_no_setting_makes_a_gate_read_it():
    found_by, _ = _simulated()
    stats = ShardStats(rows=5, found_by=found_by)
    figures, _ = missed_figures(summarise(stats))
    assert figures["missed.at_least"].value < 0.003
    kept = {
        file: Evidence("r", "2026-01-01T00:00:00+00:00", "1", Sample(5, 5), figures=figures)
        for file in (layout.EVALUATION, layout.REVIEW)
    }
    limits = GatesConfig(**dict.fromkeys(GATES, 0.5))
    results = evaluate_gates(StatsJson(summarise(stats)), limits, KeptEvidence(kept)).results
    open_gates = {result.name for result in results if result.value is not None}
    assert open_gates == {"withheld", "failed"}
    assert {"capture_recapture", "at_least", "found_by"}.isdisjoint(GatesConfig.model_fields)


def test_independent_detectors_are_estimated_well():
    rng = np.random.default_rng(4)
    a, b = rng.random(100_000) < 0.8, rng.random(100_000) < 0.7
    missed = missed_by_both(int((a & ~b).sum()), int((b & ~a).sum()), int((a & b).sum()))
    assert missed == pytest.approx((~a & ~b).sum(), rel=0.03)


def test_two_detectors_that_agree_miss_nothing_that_this_could_see():
    assert missed_by_both(0, 0, 50) == 0
    with pytest.raises(ValueError, match="expected numbers from 0"):
        missed_by_both(-1, 0, 0)


@pytest.mark.parametrize("found_by", [{}, {"a": 10}, {"a": 10, "b": 3}, {"other": 4}])
def test_without_two_detectors_that_share_faces_there_is_no_figure(found_by):
    figure = missed_at_least(found_by)
    assert figure.value is None
    assert "needs two detectors" in figure.note


def test_of_several_pairs_the_one_that_says_most_counts():
    found_by = {"a+b": 90, "a": 1, "c": 30, "a+b+c": 10}
    assert missed_at_least(found_by).unit == "faces found by a or c"


def _found(name, *boxes, score=0.9, label="face"):
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.full(n, score, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        (name,) * n,
        (label,) * n,
    )


def test_merging_detectors_keeps_all_finders():
    a = _found("a", (0, 0, 20, 20), (50, 50, 80, 80))
    b = _found("b", (1, 1, 21, 21), (100, 100, 130, 130))
    c = _found("c", (0, 0, 21, 21), (100, 100, 131, 131))
    merged = merge_detectors([a, b, c], 0.5)
    assert merged.detectors == ("a", "a", "b")
    assert merged.finders == (frozenset("abc"), frozenset("a"), frozenset("bc"))
    assert count_finders(merged) == {"a+b+c": 1, "a": 1, "b+c": 1}
    assert merged.take(np.array([2, 0])).finders == (frozenset("bc"), frozenset("abc"))


def test_small_unsure_and_other_detections_do_not_count():
    parts = [
        _found("a", (0, 0, 15, 15)),
        _found("a", (0, 0, 20, 20), score=0.6),
        _found("a", (0, 0, 20, 20), label="plate"),
    ]
    assert count_finders(Detections.merge(parts)) == {}
    assert count_finders(Detections.empty()) == {}
