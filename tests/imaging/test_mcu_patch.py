"""The patch: every touched MCU once, none over another, and the way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anon_batch.imaging.jpeg.markers import Component
from anon_batch.imaging.jpeg.mcu_patch import McuPatch

PARTS = {
    "444": [Component(1, 1, 1, 0)] * 3,
    "420": [Component(1, 2, 2, 0), Component(2, 1, 1, 1), Component(3, 1, 1, 1)],
    "411": [Component(1, 4, 1, 0), Component(2, 1, 1, 1), Component(3, 1, 1, 1)],
    "Gray": [Component(1, 1, 1, 0)],
}


@given(st.sampled_from(sorted(PARTS)), arrays(np.bool_, st.tuples(st.integers(1, 70), st.integers(1, 90))))
def test_each_touched_mcu_is_in_the_patch_once(sampling, touched):
    patch = McuPatch.from_mask(touched, PARTS[sampling])
    height, width = patch.mcu_height, patch.mcu_width
    wanted = {(y // height, x // width) for y, x in np.argwhere(touched).tolist()}
    found = [(run.row, run.column + k) for run in patch.runs for k in range(run.columns)]
    assert sorted(found) == sorted(wanted)
    taken = [(run.to_row, run.to_column + k) for run in patch.runs for k in range(run.columns)]
    assert len(set(taken)) == len(taken)
    assert all(row < patch.rows and column < patch.columns for row, column in taken)
    for run, (here, there) in zip(patch.runs, patch.areas, strict=True):
        assert here[0] == slice(run.row * height, (run.row + 1) * height)
        assert here[1] == slice(run.column * width, (run.column + run.columns) * width)
        assert there[0] == slice(run.to_row * height, (run.to_row + 1) * height)
        assert there[1] == slice(run.to_column * width, (run.to_column + run.columns) * width)


@pytest.mark.parametrize("sampling", PARTS)
def test_border_pixels_are_repeated_beyond_the_image(sampling):
    image = np.arange(61 * 75, dtype=np.uint16).reshape(61, 75)
    touched = np.zeros((61, 75), np.bool_)
    touched[60, 74] = True
    patch = McuPatch.from_mask(touched, PARTS[sampling])
    (run,) = patch.runs
    rows = np.minimum(np.arange(run.row * patch.mcu_height, (run.row + 1) * patch.mcu_height), 60)
    columns = np.minimum(np.arange(run.column * patch.mcu_width, (run.column + 1) * patch.mcu_width), 74)
    np.testing.assert_array_equal(patch.cut(image, 9), image[np.ix_(rows, columns)])


def test_the_rest_of_the_patch_has_the_fill_value():
    touched = np.zeros((16, 1600), np.bool_)
    touched[:8, :40] = touched[8:, 80:96] = True  # five, then two: the second run does not fit beside the first
    patch = McuPatch.from_mask(touched, PARTS["Gray"])
    assert (patch.rows, patch.columns) == (1, 7)
    touched[8:] = np.arange(1600) % 400 < 8  # five, then four times one
    patch = McuPatch.from_mask(touched, PARTS["Gray"])
    assert (patch.rows, patch.columns, len(patch.runs)) == (1, 9, 5)
    touched[:8] = np.arange(1600) % 800 < 400  # twice fifty, which is less than 64 only once
    patch = McuPatch.from_mask(touched, PARTS["Gray"])
    cut = patch.cut(np.zeros((16, 1600), np.uint8), 7)
    assert (patch.rows, patch.columns) == (2, 64)
    assert (cut == 7).sum() == 64 * (2 * 64 - 104)


@pytest.mark.parametrize("sampling", PARTS)
def test_rows_hold_only_blocks_of_touched_mcus(sampling):
    parts = PARTS[sampling]
    touched = np.zeros((61, 75), np.bool_)
    touched[20:40, 30:75] = touched[60, 2] = True
    patch = McuPatch.from_mask(touched, parts)
    across, down = (max(sides) for sides in zip(*((c.horizontal, c.vertical) for c in parts), strict=True))
    dims = [(-(-61 * c.vertical // (8 * down)), -(-75 * c.horizontal // (8 * across))) for c in parts]
    grids = [np.ones((patch.rows * c.vertical, patch.columns * c.horizontal, 64), np.int16) for c in parts]
    counts = [np.zeros(shape, int) for shape in dims]
    for (index, row), pieces in patch.to_rows(grids, parts, dims).items():
        for column, blocks in pieces:
            counts[index][row, column : column + len(blocks)] += 1
            assert column + len(blocks) <= dims[index][1]
    for count, component in zip(counts, parts, strict=True):
        wanted = np.zeros(count.shape, int)
        for y, x in np.argwhere(touched):
            row, column = y // (8 * down) * component.vertical, x // (8 * across) * component.horizontal
            wanted[row : row + component.vertical, column : column + component.horizontal] = 1
        np.testing.assert_array_equal(count, wanted)


def test_nothing_touched_is_an_empty_patch():
    patch = McuPatch.from_mask(np.zeros((20, 30), np.bool_), PARTS["420"])
    assert (patch.runs, patch.rows, patch.columns) == ((), 0, 0)
