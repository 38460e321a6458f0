"""Only pixels of replaced MCUs, and one next to them, may differ from the source in a spliced file."""

import numpy as np
import pytest

from anon_batch.imaging.jpeg import check_splice as jpeg_check
from anon_batch.imaging.jpeg.check_splice import PatchPixels, check_splice
from anon_batch.imaging.jpeg.coefficients import SpliceError
from anon_batch.imaging.jpeg.markers import Component
from anon_batch.imaging.jpeg.mcu_patch import McuPatch

PARTS = [Component(1, 2, 2, 0), Component(2, 1, 1, 1), Component(3, 1, 1, 1)]
BEFORE = np.random.default_rng(6).integers(0, 255, (80, 96, 3), dtype=np.uint8)
ROWS, COLUMNS = (32, 48), (48, 80)  # two MCUs


@pytest.fixture
def checked(monkeypatch):
    """Return a function that checks pixels which the decoder is made to return."""
    touched = np.zeros(BEFORE.shape[:2], np.bool_)
    touched[40, [50, 70]] = True
    patch = McuPatch.from_mask(touched, PARTS)
    new = patch.cut(BEFORE, 0) + np.uint8(1)

    def check(change):
        after = BEFORE.copy()
        for (rows, columns), there in patch.areas:
            after[rows, columns] = new[there]
        change(after)
        monkeypatch.setattr(jpeg_check, "_decode", lambda _data, _space: after)
        check_splice(b"", BEFORE, patch, PatchPixels(new, new[..., 0]))

    return check


def _changed(row, column):
    def change(after):
        after[row, column, 1] += 1

    return change


def test_new_blocks_pass(checked):
    checked(lambda after: None)


@pytest.mark.parametrize("row", range(28, 52))
def test_rows_that_may_differ(checked, row):
    if ROWS[0] - 1 <= row <= ROWS[0] or ROWS[1] - 1 <= row <= ROWS[1]:  # chroma is mixed on both sides of the border
        checked(_changed(row, 60))
        return
    with pytest.raises(SpliceError, match="not the new ones" if ROWS[0] <= row < ROWS[1] else "outside"):
        checked(_changed(row, 60))


@pytest.mark.parametrize("column", range(44, 84))
def test_columns_that_may_differ(checked, column):
    if COLUMNS[0] - 1 <= column <= COLUMNS[0] or COLUMNS[1] - 1 <= column <= COLUMNS[1]:
        checked(_changed(40, column))
        return
    with pytest.raises(SpliceError, match="not the new ones" if COLUMNS[0] <= column < COLUMNS[1] else "outside"):
        checked(_changed(40, column))


def test_another_size_is_an_error(monkeypatch):
    touched = np.ones(BEFORE.shape[:2], np.bool_)
    patch = McuPatch.from_mask(touched, PARTS)
    monkeypatch.setattr(jpeg_check, "_decode", lambda _data, _space: BEFORE[:-1])
    with pytest.raises(SpliceError, match="size"):
        check_splice(b"", BEFORE, patch, PatchPixels(BEFORE, BEFORE[..., 0]))
