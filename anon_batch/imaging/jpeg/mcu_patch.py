"""The touched MCUs of a JPEG (minimum coded units: the 8 to 32 px wide tiles that hold whole blocks of every
component), cut out and laid side by side: a small picture of its own, the sheet.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anon_batch.imaging.jpeg.coefficients import Coefficients, Rows, finest
from anon_batch.imaging.jpeg.markers import Component
from anon_batch.records import BoolArray

_COLUMNS = 64  # at least, where there are as many MCUs
Area = tuple[slice, slice]


class Run(NamedTuple):
    """Touched MCUs side by side: `columns` of them from (row, column) of the picture, at (to_row, to_column) of the sheet,
    all in MCUs.
    """

    row: int
    column: int
    columns: int
    to_row: int
    to_column: int


@dataclass(frozen=True, slots=True)
class Sheet:
    """Where the touched MCUs go.

    Args:
        runs: all of them.
        areas: of each, rows and columns in the picture, perhaps beyond its border, and on the sheet, px.
        rows, columns: of the sheet, in MCUs.
        mcu_height, mcu_width: px.
        finest: as the function of that name gives it.
    """

    runs: tuple[Run, ...]
    areas: tuple[tuple[Area, Area], ...]
    rows: int
    columns: int
    mcu_height: int
    mcu_width: int
    finest: tuple[int, int]

    @classmethod
    def of(cls, touched: BoolArray, components: Sequence[Component]) -> Sheet:
        """The sheet of the MCUs with a touched pixel of (H, W)."""
        sides = finest(components)
        mcus = _touched_mcus(touched, 8 * sides[1], 8 * sides[0])
        framed = np.zeros((mcus.shape[0], mcus.shape[1] + 2), np.bool_)
        framed[:, 1:-1] = mcus
        # A run starts at one change and stops at the next.
        changes = np.flatnonzero(framed[:, 1:] != framed[:, :-1])
        starts, lengths = changes[::2], changes[1::2] - changes[::2]
        total = int(lengths.sum())
        columns = max(int(lengths.max(initial=0)), min(total, _COLUMNS), math.isqrt(total))
        runs: list[Run] = []
        row = column = 0
        for start, length in zip(starts.tolist(), lengths.tolist(), strict=True):
            if column + length > columns:
                row, column = row + 1, 0
            from_row, from_column = divmod(start, mcus.shape[1] + 1)
            runs.append(Run(from_row, from_column, length, row, column))
            column += length
        high, wide = 8 * sides[1], 8 * sides[0]
        areas = tuple(_areas(run, high, wide) for run in runs)
        return cls(tuple(runs), areas, row + 1 if runs else 0, columns, high, wide, sides)

    @property
    def height(self) -> int:
        """Of the sheet, px."""
        return self.rows * self.mcu_height

    @property
    def width(self) -> int:
        """Of the sheet, px."""
        return self.columns * self.mcu_width

    def cut(self, samples: npt.NDArray[Any], between: int) -> npt.NDArray[Any]:
        """The sheet of a picture's samples, (H, W) or (H, W, C); beyond the picture its border pixel's.

        Args:
            samples: of the whole picture.
            between: what stands where no MCU is.
        """
        out = np.full((self.height, self.width, *samples.shape[2:]), between, samples.dtype)
        for here, there in self.areas:
            part, whole = samples[here], out[there]
            height, width = part.shape[:2]
            whole[:height, :width] = part
            if part.shape != whole.shape:
                whole[:height, width:] = whole[:height, width - 1 : width]
                whole[height:] = whole[height - 1 : height]
        return out

    def rows_of(
        self, sheets: Sequence[Coefficients], components: Sequence[Component], dims: Sequence[tuple[int, int]]
    ) -> Rows:
        """What of the picture's blocks is to be replaced by the sheet's.

        Args:
            sheets: (rows, columns, 64) of each component of the sheet.
            components: the components.
            dims: (rows, columns) of blocks of each in the picture; the last MCUs may reach beyond.
        """
        out: dict[tuple[int, int], list[tuple[int, Coefficients]]] = {}
        for index, (sheet, component, (height, width)) in enumerate(zip(sheets, components, dims, strict=True)):
            high, wide = component.vertical, component.horizontal
            for run in self.runs:
                column, to_column = run.column * wide, run.to_column * wide
                stop = to_column + min(run.columns * wide, width - column)
                for line in range(min(high, height - run.row * high)):
                    part = sheet[run.to_row * high + line, to_column:stop]
                    out.setdefault((index, run.row * high + line), []).append((column, part))
        return out


def _areas(run: Run, high: int, wide: int) -> tuple[Area, Area]:
    top, left, to_top, to_left = run.row * high, run.column * wide, run.to_row * high, run.to_column * wide
    width = run.columns * wide
    here = slice(top, top + high), slice(left, left + width)
    return here, (slice(to_top, to_top + high), slice(to_left, to_left + width))


def _touched_mcus(touched: BoolArray, down: int, across: int) -> BoolArray:
    """(MCU rows, MCU columns) bool."""
    height, width = touched.shape
    whole = height // down * down
    # Rows first: what is left is small enough to be padded.
    rows = np.zeros((-(-height // down), -(-width // across) * across), np.uint8)
    marks = touched.view(np.uint8)
    np.bitwise_or.reduce(marks[:whole].reshape(-1, down, width), axis=1, out=rows[: whole // down, :width])
    if whole < height:
        np.bitwise_or.reduce(marks[whole:], axis=0, out=rows[-1, :width])
    eights = rows.view(np.uint64)  # eight columns each: a block's
    step = across // 8
    return np.asarray(functools.reduce(np.bitwise_or, [eights[:, at::step] for at in range(step)]) != 0)
