"""Downscaled sizes and previews."""

from __future__ import annotations

import numpy as np
import pytest

from anon_batch.imaging.downscale import downscale, fit_size
from anon_batch.records import Preview


@pytest.mark.parametrize(
    ("size", "expected"),
    [
        ((400, 300), (100, 75)),
        ((300, 400), (75, 100)),
        ((100, 100), (100, 100)),
        ((101, 1), (100, 1)),
        ((4000, 1), (100, 1)),
    ],
)
def test_the_longer_side_fits(size: tuple[int, int], expected: tuple[int, int]) -> None:
    assert fit_size(*size, 100) == expected


def test_a_downscaled_preview_keeps_the_size_of_the_whole_image() -> None:
    preview = Preview("a", np.zeros((301, 403, 3), np.uint8))
    small = downscale(downscale(preview, 200), 100)
    assert (small.width, small.height) == (100, 74)
    assert small.whole_size == (403, 301)
    assert (small.scale_x, small.scale_y) == (403 / 100, 301 / 74)


def test_a_preview_that_fits_is_not_copied() -> None:
    preview = Preview("a", np.zeros((30, 40, 3), np.uint8))
    assert downscale(preview, 40) is preview
