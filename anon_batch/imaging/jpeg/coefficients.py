"""Read and write the quantised DCT coefficients of a JPEG with libjpeg-turbo.

A written file takes its tables, sampling and component ids from a file with the same header. A progressive image
becomes sequential and loses its restart markers; the coefficients, and so the pixels, do not change.

jpeglib is the only library used. Exchanging rows during a lossless transform of the system's libturbojpeg was tried: over
200 photographs (0.3 megapixels, all with faces, method `solid`, one core) a whole job took 4 % less CPU time with it, and
over 12-megapixel photographs 5 %, which does not pay for a second implementation and a system library.
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
    iter_segments,
    read_jpeg_header,
)

Coefficients = npt.NDArray[np.int16]
# (component, row of blocks) -> (first column, (columns, 64) coefficients) of each part to overwrite.
Rows = Mapping[tuple[int, int], Sequence[tuple[int, Coefficients]]]
BASELINE, _EXTENDED = 0xC0, 0xC1  # markers of the frame header
_MAX_COEFFICIENT = 2047  # of a damaged file, larger ones would be cut to fewer bits
# Sequential and progressive, each also with arithmetic coding. At any other frame jpeglib ends the process.
_KNOWN = frozenset({BASELINE, _EXTENDED, 0xC2, 0xC9, 0xCA})
# A Huffman table (T.81, B.2.4.2) with one code of one bit, for a DC difference of 0 and for the end of a block.
_ONE_CODE = bytes([1, *[0] * 15, 0])


class SpliceError(Exception):
    """This JPEG cannot be spliced and must be encoded as a whole."""


def finest_sampling(components: Sequence[Component]) -> tuple[int, int]:
    """Return the largest horizontal and the largest vertical sampling factor."""
    return max(c.horizontal for c in components), max(c.vertical for c in components)


def block_dims(header: JpegHeader, components: Sequence[Component]) -> list[tuple[int, int]]:
    """Return (rows, columns) of blocks of each component (T.81, A.2.4), without those that only pad MCUs."""
    widest, highest = finest_sampling(components)
    return [
        (-(-header.height * c.vertical // (8 * highest)), -(-header.width * c.horizontal // (8 * widest)))
        for c in components
    ]


def read_blocks(data: bytes, header: JpegHeader, components: Sequence[Component]) -> list[Coefficients]:
    """Return (rows, columns, 64) coefficients of each component, in row order within a block.

    Args:
        data: a JPEG file.
        header: its header.
        components: its components, with the sampling to use.

    Raises:
        SpliceError: libjpeg cannot read the file.
    """
    if header.sof not in _KNOWN or header.precision != 8:
        raise SpliceError(f"a frame of kind FF{header.sof:02X}, {header.precision} bits")
    blocks = [np.zeros((*dims, 64), np.int16) for dims in block_dims(header, components)]
    with _open_named(data) as source:
        # Because jpeglib's wrapper prints to standard output when it fails, call the C function itself.
        if not _libjpeg().get().read_jpeg_dct(source.name.encode(), *_pointers(blocks), None, None):
            raise SpliceError("libjpeg cannot read the coefficients")
    return blocks


def write_blocks(
    data: bytes, header: JpegHeader, components: Sequence[Component], blocks: Sequence[Coefficients]
) -> bytes:
    """Return a JPEG of `header`'s size with these coefficients.

    Args:
        data: a JPEG file with the same tables and components. Its size does not matter, nor do its pixels, except for
            a fourth component, which is copied from it.
        header: header of the result.
        components: as for `read_blocks`.
        blocks: as from `read_blocks`.

    Raises:
        SpliceError: libjpeg cannot write the coefficients, or not as they are.
    """
    if any(b.size and (b.max() > _MAX_COEFFICIENT or b.min() < -_MAX_COEFFICIENT) for b in blocks):
        raise SpliceError("coefficients that 8-bit samples cannot have")
    size = (ctypes.c_int * 2)(header.height, header.width)
    # Standard Huffman tables cost 3 % of size and save a third of the time; only baseline files can always use them.
    flags = [] if header.sof == BASELINE else ["OPTIMIZE_CODING"]
    # Because libjpeg decodes the file that it takes the tables from, give it one with nothing to decode.
    template = data if len(components) == 4 else make_empty_jpeg(data, header, components)
    with _open_named(template) as source, _open_named(b"") as target:
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
        return target.read()


def recode(data: bytes) -> bytes:
    """Return a JPEG with the same coefficients in new scans, without extraneous bytes between the coded blocks.

    Raises:
        SpliceError: libjpeg cannot read or write the coefficients.
    """
    header = read_jpeg_header(data)
    return write_blocks(data, header, header.components, read_blocks(data, header, header.components))


def replace_rows(data: bytes, header: JpegHeader, components: Sequence[Component], rows: Rows) -> bytes:
    """Return the JPEG with these coefficients in the place of its own.

    Raises:
        SpliceError: libjpeg cannot read or write the coefficients.
        ValueError: a part reaches beyond its row.
    """
    blocks = read_blocks(data, header, components)
    for (index, row), parts in rows.items():
        for column, part in parts:
            blocks[index][row, column : column + len(part)] = part
    return write_blocks(data, header, components, blocks)


def make_empty_jpeg(data: bytes, header: JpegHeader, components: Sequence[Component]) -> bytes:
    """Return a JPEG with the tables and components of `data` and `header`'s size, whose one scan holds zeros alone."""
    parts = []
    for marker, start, end in iter_segments(data):
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
    """Return libjpeg's number of the components' colour space."""
    if len(header.components) == 4:
        return 5 if header.adobe_transform == 2 else 4
    if len(header.components) == 1:
        return 1
    return 2 if header.is_rgb else 3


def _pointers(blocks: Sequence[Coefficients]) -> list[Any]:
    """Return the arguments Y, Cb, Cr, K of jpeglib, None for a missing one."""
    pointer = ctypes.POINTER(ctypes.c_short)
    return [*(b.ctypes.data_as(pointer) for b in blocks), *[None] * (4 - len(blocks))]


@functools.cache
def _libjpeg() -> Any:
    """Return jpeglib's binding to libjpeg-turbo.

    Because jpeglib's public functions decode the image once more and keep its markers in global variables, use the two
    calls below them, which share nothing between threads and release the interpreter's lock.
    """
    import jpeglib
    from jpeglib._bind import CJpegLib

    jpeglib.version.set("turbo210")
    return CJpegLib


class _NamedFile:
    """A file that C code can open by name."""

    def __init__(self, name: str) -> None:
        self.name = name

    def read(self) -> bytes:
        with open(self.name, "rb") as file:
            return file.read()


@contextlib.contextmanager
def _open_named(data: bytes) -> Iterator[_NamedFile]:
    """Make a file with these bytes.

    It holds an image that must not be left behind when the process is killed, so on Linux it is in memory alone.
    """
    if sys.platform == "linux":
        descriptor = os.memfd_create("jpeg")
        with open(descriptor, "wb") as file:
            file.write(data)
            file.flush()
            yield _NamedFile(f"/proc/self/fd/{descriptor}")
        return
    with tempfile.TemporaryDirectory() as folder:
        path = os.path.join(folder, "image.jpg")
        with open(path, "wb") as file:
            file.write(data)
        yield _NamedFile(path)
