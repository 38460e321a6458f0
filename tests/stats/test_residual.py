"""Figures of the check `residual`: bounds that hold, recall by size, and a reason where nothing was measured."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.stats import ShardStats, merge, summarise
from anon_batch.stats.exact import lower_bound, upper_bound
from anon_batch.stats.residual import residual_figures

NAMES = ("checked", "skipped", "found", "planted_12_24", "planted_found_12_24", "planted_48_96", "planted_found_48_96")


def figures(**counts):
    stats = ShardStats()
    stats.add_checks({"residual": counts})
    return residual_figures(summarise(stats))


def test_all_images_checked_leave_what_the_check_itself_misses():
    share = figures(checked=1000, found=20, planted_24_48=100, planted_found_24_48=80)["residual.share"]
    assert share.value == pytest.approx(0.02 * 0.2 / 0.8)
    recall = lower_bound(80, 100, 0.975)
    assert share.high == pytest.approx(upper_bound(20, 1000, 0.975) * (1 - recall) / recall)
    assert (share.n, share.low) == (1000, None)
    assert "all images were checked" in share.note


def test_what_remains_is_a_share_of_what_is_published():
    planted = {"planted_24_48": 100, "planted_found_24_48": 80}
    share = figures(checked=1000, found=500, withheld=500, **planted)["residual.share"]
    assert share.value == pytest.approx(0.5 * 0.2 / 0.8 * 2)
    assert share.high == pytest.approx(
        min(1, 2 * upper_bound(500, 1000, 0.975) * (1 / lower_bound(80, 100, 0.975) - 1))
    )
    assert "withheld every image" in figures(checked=9, found=9, withheld=9, **planted)["residual.share"].note


def test_a_sample_stands_for_the_images_that_were_not_checked():
    share = figures(checked=1000, skipped=1, found=20, planted_24_48=100, planted_found_24_48=80)["residual.share"]
    assert share.value == pytest.approx(0.02 / 0.8)
    assert share.high == pytest.approx(upper_bound(20, 1000, 0.975) / lower_bound(80, 100, 0.975))
    assert "estimate from a sample" in share.note


def test_nothing_found_is_not_nothing_left():
    share = figures(checked=50, planted_24_48=5, planted_found_24_48=5)["residual.share"]
    assert share.value == 0
    assert share.high > 0.05
    assert figures(checked=50, planted_24_48=5, planted_found_24_48=1, found=40)["residual.share"].high == 1


@pytest.mark.parametrize(
    ("counts", "said"),
    [
        ({}, "no residual check"),
        ({"skipped": 3}, "saw no image"),
        ({"checked": 3}, "no face was planted: `checks.residual.plant` is 0, or too few images were checked"),
        ({"checked": 3, "planted_12_24": 2}, "none of 2 planted faces"),
    ],
)
def test_what_was_not_measured_says_why(counts, said):
    share = figures(**counts)["residual.share"]
    assert share.value is None
    assert said in share.note


def test_counts_that_the_statistics_cut_off_are_not_believed():
    stats = ShardStats()
    stats.add_checks(
        {"a": {f"{n:03}": 1 for n in range(62)}, "residual": {"checked": 9, "found": 9, "planted_12_24": 1}}
    )
    assert "more than the statistics hold" in residual_figures(summarise(stats))["residual.share"].note


def test_recall_by_size_rises_with_the_band():
    own = figures(checked=9, planted_48_96=4, planted_found_48_96=4, planted_12_24=5, planted_found_12_24=1)
    assert [name for name in own if name.startswith("residual.recall")] == [
        "residual.recall",
        "residual.recall.12_24",
        "residual.recall.48_96",
    ]
    assert (own["residual.recall"].value, own["residual.recall"].n) == (5 / 9, 9)
    assert own["residual.recall.12_24"].value == 0.2


@given(st.lists(st.fixed_dictionaries({name: st.integers(0, 5) for name in NAMES}), max_size=5), st.randoms())
def test_figures_do_not_depend_on_the_shards(parts, random):
    def total(some):
        stats = ShardStats()
        for own in some:
            shard = ShardStats()
            shard.add_checks({"residual": _possible(own)})
            stats = merge(stats, shard)
        return residual_figures(summarise(stats))

    shuffled = list(parts)
    random.shuffle(shuffled)
    assert total(parts) == total(shuffled)


def _possible(counts):
    counts = {**counts, "found": min(counts["found"], counts["checked"])}
    for band in ("12_24", "48_96"):
        counts[f"planted_found_{band}"] = min(counts[f"planted_found_{band}"], counts[f"planted_{band}"])
    return counts


@pytest.mark.parametrize("share_checked", [1.0, 0.3])
def test_the_bound_covers_the_truth_in_simulated_releases(share_checked):
    """10,000 images, 2 % with a missed face, a check that finds 75 % of them, 500 planted faces."""
    rng, covered, runs = np.random.default_rng(1), 0, 200
    for _ in range(runs):
        left = rng.random(10_000) < 0.02
        checked = rng.random(10_000) < share_checked
        found = left & checked & (rng.random(10_000) < 0.75)
        counts = {"checked": checked.sum(), "found": found.sum(), "planted_12_24": 500, "skipped": (~checked).sum()}
        own = figures(**{name: int(n) for name, n in counts.items()}, planted_found_12_24=int(rng.binomial(500, 0.75)))
        truth = (left & ~found).mean()
        covered += truth <= own["residual.share"].high
    assert covered >= 0.95 * runs
