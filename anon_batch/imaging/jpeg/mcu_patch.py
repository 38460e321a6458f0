"""Pack the touched MCUs of a JPEG into a small image of its own, the patch.

MCUs (minimum coded units) are the tiles, 8 to 32 px wide, that hold whole blocks of every component.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from anon_batch.imaging.jpeg.coefficients import Coefficients, Rows, finest_sampling
from anon_batch.imaging.jpeg.markers import Component
from anon_batch.records import BoolArray

_MIN_COLUMNS = 64  # of a patch with as many MCUs
Area = tuple[slice, slice]


class McuRun(NamedTuple):
    """Touched MCUs side by side.

    Args:
        row, column: of the first one in the image, in MCUs.
        columns: how many.
        to_row, to_column: of the first one in the patch, in MCUs.
    """

    row: int
    column: int
    columns: int
    to_row: int
    to_column: int


@dataclass(frozen=True, slots=True)
class McuPatch:
    """Where the touched MCUs lie in the image and in the patch.

    Args:
        runs: all of them.
        areas: of each run, rows and columns in the image, perhaps beyond its border, and in the patch, px.
        rows, columns: size of the patch, in MCUs.
        mcu_height, mcu_width: px.
        finest: largest horizontal and vertical sampling factor.
    """

    runs: tuple[McuRun, ...]
    areas: tuple[tuple[Area, Area], ...]
    rows: int
    columns: int
    mcu_height: int
    mcu_width: int
    finest: tuple[int, int]

    @classmethod
    def from_mask(cls, touched: BoolArray, components: Sequence[Component]) -> McuPatch:
        """Return the patch of the MCUs with a touched pixel of (H, W)."""
        finest = finest_sampling(components)
        high, wide = 8 * finest[1], 8 * finest[0]
        mcus = _find_touched(touched, high, wide)
        framed = np.zeros((mcus.shape[0], mcus.shape[1] + 2), np.bool_)
        framed[:, 1:-1] = mcus
        # A run starts at one change and stops at the next.
        changes = np.flatnonzero(framed[:, 1:] != framed[:, :-1])
        starts, lengths = changes[::2], changes[1::2] - changes[::2]
        total = int(lengths.sum())
        columns = max(int(lengths.max(initial=0)), min(total, _MIN_COLUMNS), math.isqrt(total))
        runs = _pack_runs(starts.tolist(), lengths.tolist(), mcus.shape[1] + 1, columns)
        areas = tuple(_run_areas(run, high, wide) for run in runs)
        return cls(runs, areas, runs[-1].to_row + 1 if runs else 0, columns, high, wide, finest)

    @property
    def height(self) -> int:
        """Return the patch's height, px."""
        return self.rows * self.mcu_height

    @property
    def width(self) -> int:
        """Return the patch's width, px."""
        return self.columns * self.mcu_width

    def cut(self, samples: npt.NDArray[Any], fill: int) -> npt.NDArray[Any]:
        """Copy an image's samples, (H, W) or (H, W, C), into a patch; beyond the image its border pixels are repeated.

        Args:
            samples: of the whole image.
            fill: value where the patch has no MCU.
        """
        out = np.full((self.height, self.width, *samples.shape[2:]), fill, samples.dtype)
        for source, target in self.areas:
            part, whole = samples[source], out[target]
            height, width = part.shape[:2]
            whole[:height, :width] = part
            if part.shape != whole.shape:
                whole[:height, width:] = whole[:height, width - 1 : width]
                whole[height:] = whole[height - 1 : height]
        return out

    def to_rows(
        self, patches: Sequence[Coefficients], components: Sequence[Component], dims: Sequence[tuple[int, int]]
    ) -> Rows:
        """Return which of the image's blocks the patch's blocks replace.

        Args:
            patches: (rows, columns, 64) of each component of the patch.
            components: the components.
            dims: (rows, columns) of blocks of each in the image; the last MCUs may reach beyond.
        """
        out: dict[tuple[int, int], list[tuple[int, Coefficients]]] = {}
        for index, (patch, component, (height, width)) in enumerate(zip(patches, components, dims, strict=True)):
            high, wide = component.vertical, component.horizontal
            for run in self.runs:
                column, to_column = run.column * wide, run.to_column * wide
                stop = to_column + min(run.columns * wide, width - column)
                for line in range(min(high, height - run.row * high)):
                    part = patch[run.to_row * high + line, to_column:stop]
                    out.setdefault((index, run.row * high + line), []).append((column, part))
        return out


def _pack_runs(starts: Sequence[int], lengths: Sequence[int], stride: int, columns: int) -> tuple[McuRun, ...]:
    """Place runs of MCUs into rows of at most `columns`.

    Args:
        starts: first MCU of each run, as row * stride + column.
        lengths: MCUs of each run.
        stride: see `starts`.
        columns: width of the patch.
    """
    runs: list[McuRun] = []
    row = column = 0
    for start, length in zip(starts, lengths, strict=True):
        if column + length > columns:
            row, column = row + 1, 0
        runs.append(McuRun(*divmod(start, stride), length, row, column))
        column += length
    return tuple(runs)


def _run_areas(run: McuRun, high: int, wide: int) -> tuple[Area, Area]:
    """Return rows and columns of a run in the image and in the patch, px."""
    top, left, to_top, to_left = run.row * high, run.column * wide, run.to_row * high, run.to_column * wide
    width = run.columns * wide
    source = slice(top, top + high), slice(left, left + width)
    return source, (slice(to_top, to_top + high), slice(to_left, to_left + width))


def _find_touched(touched: BoolArray, down: int, across: int) -> BoolArray:
    """Return (MCU rows, MCU columns) bool: which MCUs of down x across px have a touched pixel."""
    height, width = touched.shape
    whole = height // down * down
    # Reduce rows first, because the result is small enough to be padded.
    rows = np.zeros((-(-height // down), -(-width // across) * across), np.uint8)
    marks = touched.view(np.uint8)
    np.bitwise_or.reduce(marks[:whole].reshape(-1, down, width), axis=1, out=rows[: whole // down, :width])
    if whole < height:
        np.bitwise_or.reduce(marks[whole:], axis=0, out=rows[-1, :width])
    eights = rows.view(np.uint64)  # the eight columns of a block at once
    step = across // 8
    return np.asarray(functools.reduce(np.bitwise_or, [eights[:, at::step] for at in range(step)]) != 0)
