"""The interval of the precision kept: the same formula as the estimate, and it covers what it should."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from anon_batch.evaluate.kept_interval import average_precisions, kept_interval
from anon_batch.stats.detection import BandStats

BINS = st.dictionaries(st.integers(0, 1999), st.integers(1, 3), max_size=4)
IMAGES = st.lists(
    st.tuples(BINS, BINS, st.integers(0, 3)).map(
        lambda own: BandStats(sum(own[0].values()) + own[2], own[0], own[1])  # found, wrong, missed
    ),
    min_size=1,
    max_size=6,
)


@settings(max_examples=50, deadline=None)
@given(IMAGES, st.integers(0, 3))
def test_equal_to_the_precision_of_repeated_images(images: list[BandStats], times: int) -> None:
    weights = np.array([[1] * len(images), [times, *[1] * (len(images) - 1)]], np.float64)
    for row, found in zip(weights, average_precisions(images, weights), strict=True):
        total = BandStats()
        for image, count in zip(images, row, strict=True):
            for _ in range(int(count)):
                total = total.merge(image)
        expected = total.average_precision()
        assert np.isnan(found) if expected is None else found == pytest.approx(expected)


def test_the_interval_covers_the_truth_nearly_as_often_as_it_says() -> None:
    # Each of 60 images has 1 to 6 faces of equal score; one half of the images keeps 9 of 10, the other 5 of 10: 0.7 in all.
    generator, covered, widths = np.random.default_rng(5), 0, []
    for repeat in range(60):
        before, after = [], []
        for _ in range(60):
            faces, share = int(generator.integers(1, 7)), generator.choice([0.9, 0.5])
            left = int(generator.binomial(faces, share))
            before.append(BandStats(faces, {1000: faces}))
            after.append(BandStats(faces, {1000: left} if left else {}))
        low, high = kept_interval(after, before, repeat) or (1.0, 0.0)
        covered += low - 0.005 <= 0.7 <= high + 0.005  # because precision is read at 101 recalls
        widths.append(high - low)
    assert covered >= 52, "60 intervals of 95 %"
    assert 0.05 < np.mean(widths) < 0.25


def test_nothing_to_keep_has_no_interval() -> None:
    assert kept_interval([BandStats()] * 3, [BandStats()] * 3) is None
    assert kept_interval([BandStats(1)], [BandStats(1, {5: 1})]) is None
    assert kept_interval([BandStats(1)] * 3, [BandStats(1, {5: 1})] * 3) == (0, 0)
