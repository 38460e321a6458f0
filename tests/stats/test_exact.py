"""Exact bounds against the definition and the figures that everybody quotes."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from anon_batch.stats.exact import clean_sample_size, clopper_pearson, lower_bound, upper_bound


@pytest.mark.parametrize(("share", "images"), [(0.01, 299), (0.005, 598), (0.001, 2995), (0.0005, 5990)])
def test_clean_samples_prove_what_is_known(share, images):
    assert clean_sample_size(share) == images
    assert upper_bound(0, images) <= share < upper_bound(0, images - 1)


@given(st.integers(1, 400), st.data())
def test_the_interval_holds_all_shares_that_do_not_contradict_the_hits(trials, data):
    hits = data.draw(st.integers(0, trials))
    low, high = clopper_pearson(hits, trials)
    assert low <= hits / trials <= high
    assert hits == 0 or binom.sf(hits - 1, trials, low) == pytest.approx(0.025, abs=1e-9)
    assert hits == trials or binom.cdf(hits, trials, high) == pytest.approx(0.025, abs=1e-9)


@given(st.integers(1, 400), st.data())
def test_one_sided_bounds(trials, data):
    hits = data.draw(st.integers(0, trials))
    assert hits == trials or binom.cdf(hits, trials, upper_bound(hits, trials)) == pytest.approx(0.05, abs=1e-9)
    assert hits == 0 or binom.sf(hits - 1, trials, lower_bound(hits, trials)) == pytest.approx(0.05, abs=1e-9)


def test_nothing_is_known_without_trials():
    assert clopper_pearson(0, 0) is None
    assert (lower_bound(0, 0), upper_bound(0, 0)) == (0.0, 1.0)


@pytest.mark.parametrize(
    "call", [lambda: upper_bound(2, 1), lambda: upper_bound(-1, 1), lambda: clopper_pearson(0, 1, 1.0)]
)
def test_numbers_outside_their_range_are_refused(call):
    with pytest.raises(ValueError, match=r"expected|between"):
        call()


@pytest.mark.parametrize("share", [0, 1, -0.1])
def test_a_share_that_no_sample_proves_is_refused(share):
    with pytest.raises(ValueError, match="between 0 and 1"):
        clean_sample_size(share)
