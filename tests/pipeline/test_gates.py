"""Gates: a pure function over the merged statistics."""

from __future__ import annotations

import numpy as np
import pytest

from anon_batch.config import GatesConfig
from anon_batch.formats.gates_json import GateResult
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline.gates import common_failure, evaluate_gates
from anon_batch.records import Detections, GroundTruth
from anon_batch.stats import ShardStats, summarise

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
    boxes = np.array([[20 * n, 0, 20 * n + 10, 10] for n in range(labelled)], np.float32).reshape(-1, 4)
    stats = ShardStats()
    detections = Detections(
        boxes[:found], np.ones(found, np.float32), np.full((found, 5, 2), np.nan, np.float32), ("x",) * found
    )
    stats.add_row("anonymized", None, detections, GroundTruth(boxes, np.zeros(labelled, bool)))
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
        ({"missed": 0.25}, 0.25, True),
        ({"missed": 0.2}, 0.25, False),
        ({"recall": 0.75}, 0.75, True),
        ({"recall": 0.76}, 0.75, False),
    ],
)
def test_missed_is_an_upper_and_recall_a_lower_bound(gates: dict[str, float], value: float, passed: bool) -> None:
    [result] = _gates(_searched(3, 4), GatesConfig(withheld=None, failed=None, **gates))
    assert (result.value, result.passed) == (value, passed)
    assert result.note.endswith("of 4 ground-truth regions")


@pytest.mark.parametrize("name", ["missed", "recall", "residual", "ap_kept"])
def test_a_gate_without_a_figure_is_exceeded_and_says_so(name: str) -> None:
    [result] = _gates(_stats(clean=5), GatesConfig(withheld=None, failed=None, **{name: 0.5}))
    assert (result.value, result.passed) == (None, False)
    assert result.note.startswith("not measured: ")


def test_residual_counts_the_outcomes_of_its_check() -> None:
    stats = _stats(anonymized=4)
    stats.add_checks({"residual": {"passed": 3, "failed": 1}})
    [result] = _gates(stats, GatesConfig(withheld=None, failed=None, residual=0.2))
    assert (result.value, result.passed, result.note) == (0.25, False, "1 of 4 checked images")


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
