"""The touched MCUs of a JPEG (minimum coded units: the 8 to 32 px wide tiles that hold whole blocks of every
component), cut out and laid side by side: a small picture of its own, the sheet.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anon_batch.imaging.jpeg_coefficients import Coefficients, Rows, finest
from anon_batch.imaging.jpeg_markers import Component
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
        rows, columns: of the sheet, in MCUs.
        mcu_height, mcu_width: px.
        finest: as the function of that name gives it.
    """

    runs: tuple[Run, ...]
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
        return cls(tuple(runs), row + 1 if runs else 0, columns, 8 * sides[1], 8 * sides[0], sides)

    @property
    def height(self) -> int:
        """Of the sheet, px."""
        return self.rows * self.mcu_height

    @property
    def width(self) -> int:
        """Of the sheet, px."""
        return self.columns * self.mcu_width

    def areas(self, run: Run, height: int = 0, width: int = 0) -> tuple[Area, Area]:
        """Rows and columns of a run in the picture and on the sheet, in units of which an MCU has this many; px if not
        told.
        """
        height, width = height or self.mcu_height, width or self.mcu_width
        rows = slice(run.row * height, (run.row + 1) * height)
        columns = slice(run.column * width, (run.column + run.columns) * width)
        to_rows = slice(run.to_row * height, (run.to_row + 1) * height)
        to_columns = slice(run.to_column * width, (run.to_column + run.columns) * width)
        return (rows, columns), (to_rows, to_columns)

    def cut(self, samples: npt.NDArray[Any], between: int) -> npt.NDArray[Any]:
        """The sheet of a picture's samples, (H, W) or (H, W, C); beyond the picture its border pixel's.

        Args:
            samples: of the whole picture.
            between: what stands where no MCU is.
        """
        out = np.full((self.height, self.width, *samples.shape[2:]), between, samples.dtype)
        for run in self.runs:
            here, there = self.areas(run)
            part, whole = samples[here], out[there]
            if part.shape != whole.shape:
                missing = [(0, wanted - found) for wanted, found in zip(whole.shape, part.shape, strict=True)]
                part = np.pad(part, missing, mode="edge")
            whole[...] = part
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
            for run in self.runs:
                (rows, columns), (to_rows, to_columns) = self.areas(run, component.vertical, component.horizontal)
                blocks = sheet[to_rows, to_columns][:, : width - columns.start]
                for row in range(rows.start, min(rows.stop, height)):
                    out.setdefault((index, row), []).append((columns.start, blocks[row - rows.start]))
        return out


def _touched_mcus(touched: BoolArray, down: int, across: int) -> BoolArray:
    """(MCU rows, MCU columns) bool."""
    height, width = touched.shape
    if height % down or width % across:
        padded = np.zeros((-(-height // down) * down, -(-width // across) * across), np.bool_)
        padded[:height, :width] = touched
        touched = padded
    eights = np.ascontiguousarray(touched).view(np.uint64)  # eight pixels each: a block's row
    rows = np.bitwise_or.reduce(eights.reshape(-1, down, eights.shape[1]), axis=1)
    return np.asarray(rows.reshape(len(rows), -1, across // 8).any(axis=2))
