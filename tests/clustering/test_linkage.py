"""Average linkage under cannot-links, against scipy's and by its properties."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.cluster.hierarchy import fcluster, linkage
from scipy.spatial.distance import squareform

from anon_batch.clustering.linkage import average_linkage
from anon_batch.clustering.neighbours import similar_pairs
from anon_batch.clustering.persons import find_persons

Features = np.ndarray


def features_of(seed: int, persons: int, each: int, noise: float = 0.5) -> tuple[Features, Features]:
    """Return unit features (persons * each, 32) and the person of each."""
    rng = np.random.default_rng(seed)
    centres = rng.normal(size=(persons, 32))
    centres /= np.linalg.norm(centres, axis=1, keepdims=True)
    who = np.repeat(np.arange(persons), each)
    rows = centres[who] + noise / np.sqrt(32) * rng.normal(size=(len(who), 32))
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32), who


def partition(labels: Features) -> set[frozenset[int]]:
    return {frozenset(np.flatnonzero(labels == label).tolist()) for label in np.unique(labels)}


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("threshold", [0.2, 0.5, 0.8])
def test_without_cannot_links_it_is_scipys(seed: int, threshold: float) -> None:
    features, _ = features_of(seed, 6, 5, noise=1.0)
    square = features.astype(np.float64) @ features.T.astype(np.float64)
    square = (square + square.T) / 2
    np.fill_diagonal(square, 1)
    own = average_linkage(square, np.arange(30), threshold)
    theirs = fcluster(linkage(squareform(1 - square, checks=False), "average"), 1 - threshold, "distance")
    assert partition(own) == partition(theirs)


def test_average_linkage_does_not_chain() -> None:
    angles = np.arange(12) * 0.5  # neighbours have a cosine of 0.88, those two steps apart one of 0.54
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32)
    found = find_persons(features, np.arange(12), np.zeros(12, np.int64), 0.7)
    assert found.sizes.max() == 3


def test_two_faces_of_one_image_never_merge_though_they_are_equal() -> None:
    features = np.ones((4, 3), np.float32) / np.sqrt(3).astype(np.float32)
    found = find_persons(features, np.array([0, 0, 1, 1]), np.zeros(4, np.int64), 0.9)
    assert partition(found.labels) == {frozenset({0, 2}), frozenset({1, 3})}
    assert found.cohesion == pytest.approx(1)


@settings(max_examples=40, deadline=None)
@given(
    st.integers(0, 10**6), st.integers(1, 40), st.integers(1, 6), st.floats(0.2, 0.9), st.randoms(use_true_random=False)
)
def test_what_holds_for_all_faces(seed: int, n: int, images: int, threshold: float, random: object) -> None:
    rng = np.random.default_rng(seed)
    features, _ = features_of(seed, max(1, n // 3), 3, noise=1.2)
    n = len(features)
    own_images, groups = rng.integers(0, images * 4, n), rng.integers(0, 2, n)
    found = find_persons(features, own_images, groups, threshold)
    order = rng.permutation(n)
    shuffled = find_persons(features[order], own_images[order], groups[order], threshold)
    # Other positions change which of two equal means merges first; drawn similarities are never equal.
    assert partition(found.labels) == {frozenset(order[list(own)].tolist()) for own in partition(shuffled.labels)}
    for person in partition(found.labels):
        at = sorted(person)
        assert len(set(own_images[at].tolist())) == len(at), "cannot-link"
        assert len(set(groups[at].tolist())) == 1
        if len(at) > 1:
            assert found.cohesion[at[0]] > threshold - 0.3
    assert (found.labels <= np.arange(n)).all()
    assert (found.sizes == np.bincount(found.labels, minlength=n)[found.labels]).all()


def test_neighbours_in_blocks_are_those_of_one_product(monkeypatch: pytest.MonkeyPatch) -> None:
    features, _ = features_of(3, 30, 10)
    images = np.arange(300) // 2
    whole = similar_pairs(features, images, 0.5, neighbours=1000)
    square = features.astype(np.float64) @ features.T.astype(np.float64)
    expected = {(i, j) for i, j in zip(*np.nonzero(square >= 0.5), strict=True) if i < j and images[i] != images[j]}
    assert set(zip(whole.first.tolist(), whole.second.tolist(), strict=True)) == expected
    monkeypatch.setattr("anon_batch.clustering.neighbours._ROWS", 7)
    monkeypatch.setattr("anon_batch.clustering.neighbours._COLUMNS", 11)
    for neighbours in (1, 4, 1000):
        few = similar_pairs(features, images, 0.5, neighbours)
        monkeypatch.undo()
        one = similar_pairs(features, images, 0.5, neighbours)
        assert few.first.tolist() == one.first.tolist()
        assert few.similarity.tolist() == one.similarity.tolist()
        monkeypatch.setattr("anon_batch.clustering.neighbours._ROWS", 7)
        monkeypatch.setattr("anon_batch.clustering.neighbours._COLUMNS", 11)


def test_a_component_that_is_too_large_is_split_and_never_mixed() -> None:
    features, who = features_of(5, 8, 25, noise=0.6)
    images, groups = np.arange(200), np.zeros(200, np.int64)
    whole = find_persons(features, images, groups, 0.1)
    assert whole.divided == 0
    found = find_persons(features, images, groups, 0.1, most_faces=20)
    assert found.divided > 0
    assert found.sizes.max() <= 20
    again = find_persons(np.repeat(features[:1], 50, axis=0), np.arange(50), np.zeros(50, np.int64), 0.5, most_faces=20)
    assert sorted(np.unique(again.labels, return_counts=True)[1].tolist()) == [10, 20, 20]
    persons = [
        set(who[sorted(own)].tolist()) for own in partition(find_persons(features, images, groups, 0.5, 20).labels)
    ]
    assert all(len(own) == 1 for own in persons)


def test_nothing_to_compare() -> None:
    none = find_persons(np.zeros((0, 4), np.float32), np.zeros(0, np.int64), np.zeros(0, np.int64), 0.5)
    assert len(none.labels) == 0
    one = find_persons(np.ones((1, 1), np.float32), np.zeros(1, np.int64), np.zeros(1, np.int64), 0.5)
    assert one.labels.tolist() == [0]
