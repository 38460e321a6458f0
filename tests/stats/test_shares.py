"""Intervals and shares: known values, edges, and what is no summary."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.stats import ShardStats, mean_interval, summarise, time_shares, wilson


@pytest.mark.parametrize(
    ("hits", "trials", "low", "high"),
    [
        (0, 10, 0.0, 0.2775),
        (10, 10, 0.7225, 1.0),
        (1, 29, 0.0061, 0.1718),
        (15, 148, 0.0624, 0.1605),
    ],
)
def test_wilson(hits: int, trials: int, low: float, high: float) -> None:
    """Values of Newcombe, Statistics in Medicine 17 (1998), table I, method 3, and of the closed form at the ends."""
    assert wilson(hits, trials) == pytest.approx((low, high), abs=6e-5)


@given(st.integers(1, 10**9), st.data())
def test_wilson_holds_the_share(trials: int, data: st.DataObject) -> None:
    hits = data.draw(st.integers(0, trials))
    bounds = wilson(hits, trials)
    assert bounds is not None
    assert 0 <= bounds[0] <= hits / trials <= bounds[1] <= 1


def test_no_trials_no_interval() -> None:
    assert wilson(0, 0) is None


@pytest.mark.parametrize(("hits", "trials"), [(-1, 5), (6, 5)])
def test_wilson_refuses_what_is_not_a_share(hits: int, trials: int) -> None:
    with pytest.raises(ValueError, match="expected 0 to 5"):
        wilson(hits, trials)


def test_wilson_takes_fractions() -> None:
    assert wilson(0.5, 1) == pytest.approx((0.0546, 0.9454), abs=1e-4)
    assert mean_interval({}) is None


def test_mean_interval() -> None:
    mean, low, high = mean_interval({0: 50, 2: 50}) or (0, 0, 0)
    half = 1.959964 * math.sqrt(100 / 99 / 100)
    assert (mean, low, high) == pytest.approx((1, 1 - half, 1 + half))
    assert mean_interval({3: 1}) == (3, 3, 3)
    assert (mean_interval({0: 99, 1: 1}) or (0, 1, 0))[1] == 0


def _stats() -> ShardStats:
    stats = ShardStats()
    for stage, wall, cpu in (("read", 6.0, 0.5), ("detect", 3.0, 2.5), ("odd", 1.0, 0.0)):
        stats.add_seconds(stage, wall, cpu)
    stats.add_worker({"detect": 3.0, "anonymize": 1.0, "wait_input": 5.0, "between": 1.0}, 4.0)
    return stats


def test_shares_of_time() -> None:
    shares = time_shares(summarise(_stats()))
    assert [(s.name, s.wall_share, s.cpu_s, s.cpu_share) for s in shares.stages] == [
        ("read", 0.6, 0.5, 0.125),
        ("detect", 0.3, 2.5, 0.625),
        ("odd", 0.1, 0.0, 0.0),
    ]
    assert [(p.name, p.share) for p in shares.phases] == [
        ("detect", 0.3),
        ("anonymize", 0.1),
        ("wait_input", 0.5),
        ("between", 0.1),
    ]
    assert (shares.worker_s, shares.idle_share, shares.elsewhere_cpu_s) == (10, 0.6, 1)
    assert shares.images_per_s(50) == 5
    assert shares.stages[2].text == "odd", "a stage of a later version is shown by its name"


def test_a_summary_without_timing_has_no_phases() -> None:
    summary = summarise(_stats())
    del summary["timing"]
    shares = time_shares(summary)
    assert (shares.phases, shares.idle_share, shares.images_per_s(5)) == ((), None, None)
    assert [s.cpu_s for s in shares.stages] == [None] * 3


def test_no_time_at_all() -> None:
    shares = time_shares(summarise(ShardStats()))
    assert (shares.stages, shares.phases, shares.idle_share) == ((), (), None)


@pytest.mark.parametrize(
    "summary",
    [
        {},
        {"seconds": []},
        {"seconds": {"read": "x"}},
        {"seconds": {"read": -1}},
        {"seconds": {"read": math.nan}},
        {"seconds": {}, "timing": 3},
        {"seconds": {}, "timing": {"cpu_seconds": 1}},
        {"seconds": {"read": math.inf}},
    ],
)
def test_no_summary(summary: Any) -> None:
    with pytest.raises((KeyError, TypeError, ValueError, AttributeError)):
        time_shares(summary)
