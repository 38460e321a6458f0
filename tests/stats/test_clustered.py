"""Intervals of shares in clusters: laws, known cases, and coverage by simulation against a bootstrap over images."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from anon_batch.stats.clustered import ClusteredShare
from anon_batch.stats.exact import clopper_pearson

_IMAGES = st.lists(st.integers(0, 30).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), max_size=12)


def _merged(images):
    total = ClusteredShare()
    for hits, faces in images:
        total = total.merge(ClusteredShare.of(hits, faces))
    return total


@given(_IMAGES, _IMAGES, _IMAGES)
def test_merging_is_exact_in_any_order(a, b, c):
    assert _merged(a).merge(_merged(b)).merge(_merged(c)) == _merged(c).merge(_merged(a).merge(_merged(b)))
    assert _merged(a).merge(ClusteredShare()) == _merged(a) == _merged(sorted(a))
    assert ClusteredShare.from_state(_merged(a).to_state()) == _merged(a)


@given(_IMAGES)
def test_the_interval_holds_the_share(images):
    total = _merged(images)
    if not total.faces:
        assert total.interval() is None
        assert total.share is None
        return
    low, high = total.interval()
    assert 0 <= low <= total.share <= high <= 1
    assert low == 0 or total.hits
    assert high == 1 or total.hits < total.faces
    assert total.design_effect >= 1


def test_one_face_in_each_image_gives_the_exact_interval():
    total = _merged([(1, 1)] * 3 + [(0, 1)] * 197)
    assert total.design_effect == pytest.approx(1, abs=0.01)
    assert total.interval() == pytest.approx(clopper_pearson(3, 200), abs=1e-3)
    assert _merged([(0, 1)] * 60).interval() == pytest.approx(clopper_pearson(0, 60))


def test_images_that_are_missed_as_a_whole_count_as_one_face_each():
    total = _merged([(10, 10)] * 10 + [(0, 10)] * 90)
    assert total.design_effect == pytest.approx(10, rel=0.02)
    low, high = total.interval()
    assert (low, high) == pytest.approx(clopper_pearson(10, 100), abs=0.01)


def test_without_a_miss_the_faces_of_an_image_may_be_all_alike():
    low, high = _merged([(0, 10)] * 60).interval()
    assert (low, high) == pytest.approx(clopper_pearson(0, 60), abs=2e-3)
    assert _merged([(0, 50)]).interval() == pytest.approx(clopper_pearson(0, 1))


@pytest.mark.parametrize(
    "state", [[1], [1, 0, 1, 2, 1, 4, 2], [0, 0, 5, 0, 0, 0, 0], [1, 0, 1.0, 0, 1, 0, 0], [-1] * 7]
)
def test_sums_that_cannot_be_are_refused(state):
    with pytest.raises((ValueError, TypeError)):
        ClusteredShare.from_state(state)


def _sample(rng, images, share, alike):
    """Return hits and faces of images with one face to dozens, whose misses depend on each other (beta-binomial)."""
    faces = 1 + np.minimum(rng.negative_binomial(0.5, 0.15, images), 60)
    if not alike:
        return rng.binomial(faces, share), faces
    chances = rng.beta(share * (1 - alike) / alike, (1 - share) * (1 - alike) / alike, images)
    return rng.binomial(faces, chances), faces


def _of(hits, faces):
    sums = [len(faces), (hits > 0).sum(), faces.sum(), hits.sum(), faces @ faces, hits @ hits, faces @ hits]
    return ClusteredShare(*map(int, sums))


def _bootstrap(rng, hits, faces):
    weights = rng.poisson(1, (200, len(faces)))
    shares = (weights @ hits) / np.maximum(weights @ faces, 1)
    return np.quantile(shares, (0.025, 0.975))


def _coverage(images, share, alike, runs, seed):
    rng = np.random.default_rng(seed)
    own = bootstrap = 0
    for _ in range(runs):
        hits, faces = _sample(rng, images, share, alike)
        low, high = _of(hits, faces).interval()
        own += low <= share <= high
        low, high = _bootstrap(rng, hits, faces)
        bootstrap += low <= share <= high
    return own / runs, bootstrap / runs


@pytest.mark.parametrize(
    ("images", "share", "alike"), [(100, 0.002, 0.5), (400, 0.01, 0.5), (400, 0.05, 0.1), (100, 0.3, 0)]
)
def test_the_interval_covers_where_a_bootstrap_does_not(images, share, alike):
    runs = 300
    own, bootstrap = _coverage(images, share, alike, runs, seed=5)
    assert own >= 0.95 - 3 * (0.05 * 0.95 / runs) ** 0.5
    assert own >= bootstrap - 0.03
    if images * share < 5:
        assert bootstrap < 0.9


@pytest.mark.full
@pytest.mark.parametrize("alike", [0, 0.1, 0.5])
@pytest.mark.parametrize("share", [0.002, 0.01, 0.05, 0.3])
@pytest.mark.parametrize("images", [100, 400, 2000])
def test_coverage_is_near_nominal(images, share, alike):
    runs = 1500
    own, bootstrap = _coverage(images, share, alike, runs, seed=11)
    print(f"{images} images, {share:.1%}, alike {alike}: {own:.3f}, bootstrap {bootstrap:.3f}")
    assert own >= 0.95 - 3 * (0.05 * 0.95 / runs) ** 0.5
