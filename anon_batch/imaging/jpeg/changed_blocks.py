"""What regions of a JPEG showed: the DCT coefficients in which the source differs from its output.

Because an anonymized JPEG keeps every block that no method touched, the source's coefficients in the changed MCUs are all that is
needed to get the source's back, exactly, without a second lossy encoding. Each changed MCU belongs to one region, so that one
region can be restored while the others stay as they are.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from anon_batch.errors import FailedError
from anon_batch.imaging.jpeg.coefficients import (
    Coefficients,
    SpliceError,
    block_dims,
    finest_sampling,
    read_blocks,
    write_blocks,
)
from anon_batch.imaging.jpeg.markers import Component, JpegHeader, iter_segments, read_jpeg_header
from anon_batch.imaging.jpeg.splice import choose_sampling
from anon_batch.imaging.jpeg.strip import strip_jpeg, strip_segments
from anon_batch.imaging.orientation import turn_points
from anon_batch.records import RegionRecord

CODEC = "jpeg-dct-v1"
_HEAD = struct.Struct("<III")  # rows and columns of MCUs in the image, MCUs that follow
_LEVEL = 6


class UnsealableError(Exception):
    """The source's coefficients do not follow from the output's: its file has to be sealed instead."""


class _Jpeg(NamedTuple):
    plain: bytes
    header: JpegHeader
    components: tuple[Component, ...]
    blocks: list[Coefficients]

    @property
    def mcus(self) -> tuple[int, int]:
        """Rows and columns of MCUs."""
        widest, highest = finest_sampling(self.components)
        return -(-self.header.height // (8 * highest)), -(-self.header.width // (8 * widest))


def pack_regions(source: bytes, output: bytes, regions: Sequence[RegionRecord], orientation: int) -> list[bytes]:
    """Return what each region showed, in their order.

    Args:
        source: the JPEG file.
        output: the anonymized JPEG, in the same stored orientation.
        regions: what was anonymized, px of the upright image.
        orientation: EXIF orientation of the source.

    Raises:
        UnsealableError: the files differ in more than the coefficients of some blocks.
    """
    before, after = _read(source), _read(output)
    if (before.components, before.header.width, before.header.height) != (
        after.components,
        after.header.width,
        after.header.height,
    ) or any(before.header.tables[c.table] != after.header.tables[c.table] for c in before.components):
        raise UnsealableError
    changed = _find_changed(before, after)
    owners = _find_owners(np.argwhere(changed), before, regions, orientation)
    at = np.flatnonzero(changed)
    return [_pack(before, at[owners == index]) for index in range(len(regions))]


def restore_regions(output: bytes, packed: Sequence[bytes], orientation: int) -> bytes:
    """Return the JPEG with some regions as they were, without metadata; all of them give the source's coefficients.

    Args:
        output: the anonymized JPEG.
        packed: from `pack_regions`.
        orientation: EXIF orientation of the output.

    Raises:
        UnsealableError: they do not belong to this output.
    """
    jpeg = _read(output)
    for one in packed:
        _unpack(jpeg, one)
    try:
        written = write_blocks(jpeg.plain, jpeg.header, jpeg.components, jpeg.blocks)
    except SpliceError as exc:
        raise UnsealableError from exc
    return strip_jpeg(written, orientation=orientation)


def read_coefficients(data: bytes) -> list[Coefficients]:
    """Return the coefficients of each component of a JPEG, (rows, columns, 64).

    Raises:
        UnsealableError: it has none that can be read.
    """
    return _read(data).blocks


def _read(data: bytes) -> _Jpeg:
    try:
        plain, segments = strip_segments(data, iter_segments(data), orientation=1)
        header = read_jpeg_header(plain, segments)
        components = choose_sampling(header)
        return _Jpeg(plain, header, components, read_blocks(plain, header, components))
    except (SpliceError, FailedError, ValueError, KeyError, IndexError, struct.error) as exc:
        raise UnsealableError from exc


def _find_changed(before: _Jpeg, after: _Jpeg) -> npt.NDArray[np.bool_]:
    """Return (MCU rows, MCU columns): where a coefficient differs."""
    rows, columns = before.mcus
    changed = np.zeros((rows, columns), np.bool_)
    for component, old, new in zip(before.components, before.blocks, after.blocks, strict=True):
        high, wide = component.vertical, component.horizontal
        differ = np.zeros((rows * high, columns * wide), np.bool_)
        differ[: old.shape[0], : old.shape[1]] = (old != new).any(axis=2)
        changed |= differ.reshape(rows, high, columns, wide).any(axis=(1, 3))
    return changed


def _find_owners(
    mcus: npt.NDArray[np.int64], jpeg: _Jpeg, regions: Sequence[RegionRecord], orientation: int
) -> npt.NDArray[np.int64]:
    """Return the region of each MCU, (N,): the smallest whose inscribed ellipse holds its centre, so that a face comes back whole
    although a person's region lies around it; else the one whose ellipse is nearest, measured in its radii.
    """
    widest, highest = finest_sampling(jpeg.components)
    stored = np.stack([(mcus[:, 1] + 0.5) * 8 * widest, (mcus[:, 0] + 0.5) * 8 * highest], axis=1)
    centres = turn_points(stored, jpeg.header.width, jpeg.header.height, orientation)[:, None, :]
    boxes = np.array([(r.x1, r.y1, r.x2, r.y2) for r in regions], np.float64)
    middle, radii = (boxes[:, :2] + boxes[:, 2:]) / 2, np.maximum(boxes[:, 2:] - boxes[:, :2], 1) / 2
    distances = (((centres - middle) / radii) ** 2).sum(axis=2)
    inside = distances <= 1
    smallest = np.where(inside, radii.prod(axis=1), np.inf).argmin(axis=1)
    owners: npt.NDArray[np.int64] = np.where(inside.any(axis=1), smallest, distances.argmin(axis=1))
    return owners


def _pack(jpeg: _Jpeg, mcus: npt.NDArray[np.int64]) -> bytes:
    rows, columns = jpeg.mcus
    parts = [_HEAD.pack(rows, columns, len(mcus)), mcus.astype("<u4").tobytes()]
    # All first coefficients, then all second ones: equal ones side by side, which compresses better.
    parts += [blocks[at].T.astype("<i2").tobytes() for blocks, at in _places(jpeg, mcus)]
    return zlib.compress(b"".join(parts), _LEVEL)


def _unpack(jpeg: _Jpeg, packed: bytes) -> None:
    """Write the coefficients of one region into those of an image."""
    try:
        data = zlib.decompress(packed)
        rows, columns, count = _HEAD.unpack_from(data)
        mcus = np.frombuffer(data, "<u4", count, _HEAD.size).astype(np.int64)
        if (rows, columns) != jpeg.mcus or (count and mcus.max() >= rows * columns):
            raise UnsealableError
        begin = _HEAD.size + 4 * count
        for blocks, at in _places(jpeg, mcus):
            number = len(at[0])
            part = np.frombuffer(data, "<i2", 64 * number, begin).reshape(64, number)
            blocks[at] = part.T
            begin += 128 * number
        if begin != len(data):
            raise UnsealableError
    except (zlib.error, struct.error, ValueError) as exc:
        raise UnsealableError from exc


def _places(
    jpeg: _Jpeg, mcus: npt.NDArray[np.int64]
) -> Iterator[tuple[Coefficients, tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]]:
    """Yield the blocks of each component with rows and columns of those in some MCUs, without those that only pad MCUs."""
    _, columns = jpeg.mcus
    for component, blocks, (height, width) in zip(
        jpeg.components, jpeg.blocks, block_dims(jpeg.header, jpeg.components), strict=True
    ):
        high, wide = component.vertical, component.horizontal
        down = (mcus // columns * high)[:, None, None] + np.arange(high)[None, :, None]
        across = (mcus % columns * wide)[:, None, None] + np.arange(wide)[None, None, :]
        shape = (len(mcus), high, wide)
        row, column = np.broadcast_to(down, shape).ravel(), np.broadcast_to(across, shape).ravel()
        inside = (row < height) & (column < width)
        yield blocks, (row[inside], column[inside])
