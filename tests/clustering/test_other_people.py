"""How alike different people look: the expected number of false pairs, and the threshold that follows from it."""

from __future__ import annotations

import numpy as np
import pytest

from anon_batch.clustering.other_people import MOST_PAIRS, OtherPeople, find_other_people, pairs_compared


def drawn(seed: int, images: int, faces: int, dimensions: int = 24) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(images * faces, dimensions))
    features /= np.linalg.norm(features, axis=1, keepdims=True)
    boxes = np.tile([[20.0 * at, 0, 20.0 * at + 10, 10] for at in range(faces)], (images, 1))
    return features.astype(np.float32), np.repeat(np.arange(images), faces), boxes.astype(np.float32)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("threshold", [0.45, 0.55, 0.65])
def test_others_of_other_images_are_as_many_as_expected_or_fewer(seed: int, threshold: float) -> None:
    features, images, boxes = drawn(seed, 300, 4)
    found = find_other_people(features, images, boxes)
    others, _, _ = drawn(seed + 100, 1, 1500)
    similarity = (others @ others.T)[np.triu_indices(1500, 1)]
    expected = found.expected(threshold, len(similarity))
    seen = int((similarity >= threshold).sum())
    assert expected.low <= expected.value <= expected.high
    assert seen <= expected.high, "the tail is too thin"


def test_the_threshold_is_the_least_that_keeps_to_the_budget() -> None:
    found = find_other_people(*drawn(1, 200, 4, dimensions=128))
    for pairs, most in ((10_000, 1.0), (10**6, 1.0), (10**6, 100.0), (10**6, 0.01)):
        threshold = found.threshold(pairs, most)
        assert threshold is not None
        assert found.expected(threshold, pairs).value <= most
        below = found.expected(threshold - 0.02, pairs).value
        assert below > most or threshold - 0.02 < np.quantile(found.similarity, 0.99)
    assert found.threshold(10**15, 1e-9) is None


def test_pairs_that_tell_nothing_about_others_are_left_out() -> None:
    features, images, boxes = drawn(2, 40, 3)
    features[1] = features[0]  # one person twice: a mirror
    boxes[4] = boxes[3] + 2  # one face found twice
    found = find_other_people(features, images, boxes)
    assert found.counts() == {"pairs": 118, "images": 40, "doubles": 1, "twice": 1}
    assert found.similarity.max() < 0.9


def test_a_crowd_weighs_no_more_than_ten_people() -> None:
    features, _, boxes = drawn(3, 1, 200)
    found = find_other_people(features, np.zeros(200, np.int64), boxes)
    assert found.counts()["pairs"] == MOST_PAIRS


@pytest.mark.parametrize(("images", "faces"), [(29, 10), (60, 2), (1, 200), (40, 1)])
def test_too_few_pairs_or_images_are_not_enough(images: int, faces: int) -> None:
    assert not find_other_people(*drawn(4, images, faces)).is_enough
    assert find_other_people(*drawn(4, 40, 4)).is_enough


def test_number_of_pairs_of_one_group_and_of_different_images() -> None:
    images, groups = np.array([0, 0, 1, 2, 2, 3]), np.array([0, 0, 0, 1, 1, 1])
    assert pairs_compared(images, groups) == 4
    many = np.arange(100_000)
    assert pairs_compared(many, np.zeros(100_000, np.int64)) == 4_999_950_000


def test_equal_similarities_have_no_tail() -> None:
    flat = OtherPeople(np.full(300, 0.25), np.arange(300), 0, 0)
    assert flat.expected(0.25, 10).value == 10
    assert flat.expected(0.3, 10).value == 0
