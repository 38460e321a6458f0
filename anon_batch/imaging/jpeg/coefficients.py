"""The quantised DCT coefficients of a JPEG, read and written by libjpeg-turbo.

What is written takes its tables, sampling and component ids from a picture with the same header. A progressive
picture becomes a sequential one and restart markers go; the coefficients, and so the pixels, do not change.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.imaging.jpeg.markers import (
    APP0,
    APP14,
    DHT,
    DQT,
    EOI,
    SOF,
    SOI,
    SOS,
    Component,
    JpegHeader,
    Segment,
    segments,
)

Coefficients = npt.NDArray[np.int16]
# By (component, row of blocks): from which column on, and (columns, 64) coefficients.
Rows = Mapping[tuple[int, int], Sequence[tuple[int, Coefficients]]]
BASELINE, _EXTENDED = 0xC0, 0xC1  # markers of the frame header
# These and progressive, and both with arithmetic coding: what this libjpeg knows. At another one jpeglib ends the process.
_KNOWN = frozenset({BASELINE, _EXTENDED, 0xC2, 0xC9, 0xCA})
# T.81, B.2.4.2: one code of one bit, for a DC difference of 0 and for the end of a block.
_ONE_CODE = bytes([1, *[0] * 15, 0])


class SpliceError(Exception):
    """This JPEG cannot be spliced; it is to be encoded as a whole."""


def finest(components: Sequence[Component]) -> tuple[int, int]:
    """The largest horizontal and the largest vertical sampling factor."""
    return max(c.horizontal for c in components), max(c.vertical for c in components)


def block_dims(header: JpegHeader, components: Sequence[Component]) -> list[tuple[int, int]]:
    """(rows, columns) of blocks of each component, T.81 A.2.4, without the ones that only fill up MCUs."""
    widest, highest = finest(components)
    return [
        (-(-header.height * c.vertical // (8 * highest)), -(-header.width * c.horizontal // (8 * widest)))
        for c in components
    ]


def read_blocks(data: bytes, header: JpegHeader, components: Sequence[Component]) -> list[Coefficients]:
    """(rows, columns, 64) coefficients of each component, in row order within a block.

    Args:
        data: a JPEG file.
        header: of it.
        components: its components, with the sampling to be used.

    Raises:
        SpliceError: libjpeg refuses the file.
    """
    if header.sof not in _KNOWN or header.precision != 8:
        raise SpliceError(f"a frame of kind FF{header.sof:02X}, {header.precision} bits")
    blocks = [np.zeros((*dims, 64), np.int16) for dims in block_dims(header, components)]
    with _file_of(data) as source:
        # The C function itself: jpeglib's wrapper around it prints to standard output when it fails.
        if not _libjpeg().get().read_jpeg_dct(source.name.encode(), *_pointers(blocks), None, None):
            raise SpliceError("libjpeg cannot read the coefficients")
    return blocks


def write_blocks(
    data: bytes, header: JpegHeader, components: Sequence[Component], blocks: Sequence[Coefficients]
) -> bytes:
    """A JPEG of `header`'s size with these coefficients.

    Args:
        data: a JPEG file with the same tables and components; its size and pixels count for nothing, but for a
            fourth component, which comes from there.
        header: what the file is to have.
        components: as for `read_blocks`.
        blocks: as from `read_blocks`.

    Raises:
        SpliceError: libjpeg refuses the coefficients.
    """
    size = (ctypes.c_int * 2)(header.height, header.width)
    # Standard Huffman tables cost 3 % of size and save a third of the time; what is not baseline may need its own.
    flags = [] if header.sof == BASELINE else ["OPTIMIZE_CODING"]
    # libjpeg decodes what it takes the tables from, so it gets a picture in which there is nothing to decode.
    like = data if len(components) == 4 else empty_picture(data, header, components)
    with _file_of(like) as source, _file_of(b"") as target:
        try:
            _libjpeg().write_jpeg_dct(
                source.name,
                target.name,
                *_pointers(blocks),
                size,
                None,
                _colour_space(header),
                len(components),
                None,
                None,
                -1,
                None,
                0,
                None,
                None,
                None,
                flags,
            )
        except OSError as exc:
            raise SpliceError(f"libjpeg cannot write the coefficients: {exc}") from exc
        return target.content()


def put_parts(row: Coefficients, parts: Sequence[tuple[int, Coefficients]]) -> None:
    """Overwrites parts of a row of blocks, (columns, 64).

    Raises:
        ValueError: a part reaches beyond the row.
    """
    for column, blocks in parts:
        row[column : column + len(blocks)] = blocks


def empty_picture(
    data: bytes, header: JpegHeader, components: Sequence[Component], found: Sequence[Segment] | None = None
) -> bytes:
    """A file with the same tables and components and `header`'s size, and one scan of one component, all zero;
    of a JPEG as for `write_blocks`, and its segments, where they are known.
    """
    parts = []
    for marker, start, end in segments(data) if found is None else found:
        if marker in SOF:
            size = struct.pack(">HH", header.height, header.width)
            parts.append(bytes([0xFF, _EXTENDED]) + data[start + 2 : start + 5] + size + data[start + 9 : end])
        elif marker in (SOI, APP0, APP14, DQT):
            parts.append(data[start:end])
    dims = zip(block_dims(header, components), components, strict=True)
    count, number = min((rows * columns, component.id) for (rows, columns), component in dims)
    parts.append(_segment(DHT, b"\x00" + _ONE_CODE + b"\x10" + _ONE_CODE))
    parts.append(_segment(SOS, bytes([1, number, 0, 0, 63, 0])))
    parts.append(bytes(-(-2 * count // 8)))  # two codes a block, each a bit 0
    return b"".join([*parts, bytes([0xFF, EOI])])


def _segment(marker: int, body: bytes) -> bytes:
    return struct.pack(">BBH", 0xFF, marker, len(body) + 2) + body


def _colour_space(header: JpegHeader) -> int:
    """The number that libjpeg gives the components' colour space."""
    if len(header.components) == 4:
        return 5 if header.adobe_transform == 2 else 4
    if len(header.components) == 1:
        return 1
    return 2 if header.is_rgb else 3


def _pointers(blocks: Sequence[Coefficients]) -> list[Any]:
    """The arguments Y, Cb, Cr, K of jpeglib, None for what is missing."""
    pointer = ctypes.POINTER(ctypes.c_short)
    return [*(b.ctypes.data_as(pointer) for b in blocks), *[None] * (4 - len(blocks))]


@functools.cache
def _libjpeg() -> Any:
    """The binding of jpeglib to libjpeg-turbo.

    The public functions of jpeglib decode the picture once more and keep its markers in global variables;
    these two calls below them share nothing between threads and let go of the interpreter's lock.
    """
    import jpeglib
    from jpeglib._bind import CJpegLib

    jpeglib.version.set("turbo210")
    return CJpegLib


class _File:
    """A file that C code can open by name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def content(self) -> bytes:
        with open(self.name, "rb") as file:
            return file.read()


@contextlib.contextmanager
def _file_of(data: bytes) -> Iterator[_File]:
    """On Linux in memory alone: it holds a picture that nobody may find after the process was killed."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("jpeg")
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            yield _File(f"/proc/self/fd/{descriptor}")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "picture.jpg")
        with open(path, "wb") as file:
            file.write(data)
        yield _File(path)
