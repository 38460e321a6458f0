"""The sheet: every touched MCU once, none over another, and the way back."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from anon_batch.imaging.jpeg.markers import Component
from anon_batch.imaging.jpeg.mcu_patch import Sheet

PARTS = {
    "444": [Component(1, 1, 1, 0)] * 3,
    "420": [Component(1, 2, 2, 0), Component(2, 1, 1, 1), Component(3, 1, 1, 1)],
    "411": [Component(1, 4, 1, 0), Component(2, 1, 1, 1), Component(3, 1, 1, 1)],
    "Gray": [Component(1, 1, 1, 0)],
}


@given(st.sampled_from(sorted(PARTS)), arrays(np.bool_, st.tuples(st.integers(1, 70), st.integers(1, 90))))
def test_each_touched_mcu_is_on_the_sheet_once(sampling, touched):
    sheet = Sheet.of(touched, PARTS[sampling])
    height, width = sheet.mcu_height, sheet.mcu_width
    wanted = {(y // height, x // width) for y, x in np.argwhere(touched).tolist()}
    found = [(run.row, run.column + k) for run in sheet.runs for k in range(run.columns)]
    assert sorted(found) == sorted(wanted)
    taken = [(run.to_row, run.to_column + k) for run in sheet.runs for k in range(run.columns)]
    assert len(set(taken)) == len(taken)
    assert all(row < sheet.rows and column < sheet.columns for row, column in taken)
    for run, (here, there) in zip(sheet.runs, sheet.areas, strict=True):
        assert here[0] == slice(run.row * height, (run.row + 1) * height)
        assert here[1] == slice(run.column * width, (run.column + run.columns) * width)
        assert there[0] == slice(run.to_row * height, (run.to_row + 1) * height)
        assert there[1] == slice(run.to_column * width, (run.to_column + run.columns) * width)


@pytest.mark.parametrize("sampling", PARTS)
def test_beyond_the_picture_the_border_goes_on(sampling):
    picture = np.arange(61 * 75, dtype=np.uint16).reshape(61, 75)
    touched = np.zeros((61, 75), np.bool_)
    touched[60, 74] = True
    sheet = Sheet.of(touched, PARTS[sampling])
    (run,) = sheet.runs
    rows = np.minimum(np.arange(run.row * sheet.mcu_height, (run.row + 1) * sheet.mcu_height), 60)
    columns = np.minimum(np.arange(run.column * sheet.mcu_width, (run.column + 1) * sheet.mcu_width), 74)
    np.testing.assert_array_equal(sheet.cut(picture, 9), picture[np.ix_(rows, columns)])


def test_between_the_mcus_stands_what_was_asked_for():
    touched = np.zeros((16, 1600), np.bool_)
    touched[:8, :40] = touched[8:, 80:96] = True  # five, then two: the second run does not fit beside the first
    sheet = Sheet.of(touched, PARTS["Gray"])
    assert (sheet.rows, sheet.columns) == (1, 7)
    touched[8:] = np.arange(1600) % 400 < 8  # five, then four times one
    sheet = Sheet.of(touched, PARTS["Gray"])
    assert (sheet.rows, sheet.columns, len(sheet.runs)) == (1, 9, 5)
    touched[:8] = np.arange(1600) % 800 < 400  # twice fifty, which is less than 64 only once
    sheet = Sheet.of(touched, PARTS["Gray"])
    cut = sheet.cut(np.zeros((16, 1600), np.uint8), 7)
    assert (sheet.rows, sheet.columns) == (2, 64)
    assert (cut == 7).sum() == 64 * (2 * 64 - 104)


@pytest.mark.parametrize("sampling", PARTS)
def test_rows_hold_the_blocks_of_the_touched_mcus_alone(sampling):
    parts = PARTS[sampling]
    touched = np.zeros((61, 75), np.bool_)
    touched[20:40, 30:75] = touched[60, 2] = True
    sheet = Sheet.of(touched, parts)
    across, down = (max(sides) for sides in zip(*((c.horizontal, c.vertical) for c in parts), strict=True))
    dims = [(-(-61 * c.vertical // (8 * down)), -(-75 * c.horizontal // (8 * across))) for c in parts]
    grids = [np.ones((sheet.rows * c.vertical, sheet.columns * c.horizontal, 64), np.int16) for c in parts]
    counts = [np.zeros(shape, int) for shape in dims]
    for (index, row), pieces in sheet.rows_of(grids, parts, dims).items():
        for column, blocks in pieces:
            counts[index][row, column : column + len(blocks)] += 1
            assert column + len(blocks) <= dims[index][1]
    for count, component in zip(counts, parts, strict=True):
        wanted = np.zeros(count.shape, int)
        for y, x in np.argwhere(touched):
            row, column = y // (8 * down) * component.vertical, x // (8 * across) * component.horizontal
            wanted[row : row + component.vertical, column : column + component.horizontal] = 1
        np.testing.assert_array_equal(count, wanted)


def test_nothing_touched_is_an_empty_sheet():
    sheet = Sheet.of(np.zeros((20, 30), np.bool_), PARTS["420"])
    assert (sheet.runs, sheet.rows, sheet.columns) == ((), 0, 0)
