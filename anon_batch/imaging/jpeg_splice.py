"""Replacing some blocks of a JPEG and leaving every other DCT coefficient of it alone.

The treated pixels of the MCUs (minimum coded units: the 8 to 32 px wide tiles that hold whole blocks of every
component) that were touched are transformed and quantised here with the file's own tables and sampling;
libjpeg-turbo reads the file's coefficients and writes them with those blocks exchanged. A progressive picture
becomes a sequential one and restart markers go; the coefficients, and so the pixels, do not change.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt
import simplejpeg

from anon_batch.imaging.jpeg_markers import Component, JpegHeader, read_header, strip_jpeg
from anon_batch.imaging.native import luma
from anon_batch.imaging.orientation import stored
from anon_batch.records import AnonymizedImage, BoolArray, DecodedImage, PixelArray

Coefficients = npt.NDArray[np.int16]
_BASELINE = 0xC0  # marker of the frame header
# RGB to YCbCr, rows Y, Cb, Cr (JFIF 1.02).
_YCBCR = np.asarray(
    [[0.299, 0.587, 0.114], [-0.168735892, -0.331264108, 0.5], [0.5, -0.418687589, -0.081312411]], np.float32
)


class SpliceError(Exception):
    """This JPEG cannot be spliced; it is to be encoded as a whole."""


def splice(decoded: DecodedImage, anonymized: AnonymizedImage) -> bytes:
    """The source JPEG with the blocks of the touched MCUs exchanged, in its stored orientation, without
    metadata.

    The result is decoded and compared: outside those MCUs (and the pixel next to them, which shares in their
    chroma) every pixel is the source's own, inside them luma is the treated one but for quantisation.

    Raises:
        SpliceError: CMYK or RGB components, samplings where a component is not a whole fraction of the
            finest, a file that libjpeg refuses, or a result that fails the comparison.
    """
    plain = strip_jpeg(decoded.source, orientation=1)
    header = read_header(plain)
    components = _spliceable(header)
    before = stored(decoded.pixels, decoded.orientation)
    touched = stored(anonymized.touched, decoded.orientation)
    mcus = _touched_mcus(touched, components)
    blocks = _read(plain, header, components)
    if not mcus.any():
        return strip_jpeg(_write(plain, header, components, blocks), orientation=decoded.orientation)
    rows, columns = np.nonzero(mcus)
    places = _places(rows, columns, before.shape, components)
    old = _taken(before, places)
    change = _taken(stored(anonymized.pixels, decoded.orientation), places) - old
    # The treated pixels where they count: bytes wrap around, so the sum is exact, and faster than a choice.
    tiles = _tiles(old + change * _taken(touched, places)[..., None], components)
    for index, component in enumerate(components):
        table = np.asarray(header.tables[component.table], np.float32)
        new = _quantised(tiles[..., index], component, _finest(components), table)
        _place(blocks[index], new, rows, columns, component)
    out = _write(plain, header, components, blocks)
    _compare(before, out, mcus, components)
    _compare_inside(out, places, tiles[..., 0], header.tables[components[0].table])
    return strip_jpeg(out, orientation=decoded.orientation)


def rewrite(data: bytes) -> bytes:
    """The same coefficients in newly coded scans, without anything between them.

    Raises:
        SpliceError: libjpeg refuses the file.
    """
    header = read_header(data)
    return _write(data, header, header.components, _read(data, header, header.components))


def _spliceable(header: JpegHeader) -> tuple[Component, ...]:
    components = header.components
    if len(components) not in (1, 3) or header.is_rgb:
        raise SpliceError("components other than Y or YCbCr")
    if any(0 in header.tables.get(c.table, (0,)) for c in components):
        raise SpliceError("a missing quantisation table, or one with a step of 0")
    if len(components) == 1:
        return (components[0]._replace(horizontal=1, vertical=1),)  # a lone component is never interleaved
    widest, highest = _finest(components)
    if any(c.horizontal == 0 or c.vertical == 0 for c in components):
        raise SpliceError("a sampling factor of 0")
    if any(widest % c.horizontal or highest % c.vertical for c in components):
        raise SpliceError("fractional sampling")
    return components


def _finest(components: Sequence[Component]) -> tuple[int, int]:
    return max(c.horizontal for c in components), max(c.vertical for c in components)


def _touched_mcus(touched: BoolArray, components: Sequence[Component]) -> BoolArray:
    """(MCU rows, MCU columns) bool."""
    across, down = (8 * side for side in _finest(components))
    height, width = touched.shape
    padded = np.zeros((-(-height // down) * down, -(-width // across) * across), np.bool_)
    padded[:height, :width] = touched
    eights = padded.view(np.uint64)  # eight pixels each: a block's row
    grid = eights.reshape(padded.shape[0] // down, down, padded.shape[1] // across, across // 8)
    return np.asarray(grid.any(axis=(1, 3)))


def _places(
    rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], shape: tuple[int, ...], components: Sequence[Component]
) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Index arrays, (N, height, 1) and (N, 1, width), of the pixels of N MCUs; beyond the picture the border pixel's."""
    across, down = (8 * side for side in _finest(components))
    y = np.minimum(rows[:, None] * down + np.arange(down), shape[0] - 1)
    x = np.minimum(columns[:, None] * across + np.arange(across), shape[1] - 1)
    return y[:, :, None], x[:, None, :]


def _taken(
    samples: npt.NDArray[Any], places: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]
) -> npt.NDArray[Any]:
    """`samples[places]`, (N, height, width) or with channels, at a quarter of the time."""
    flat = places[0] * samples.shape[1] + places[1]
    return np.asarray(np.take(samples.reshape(-1, *samples.shape[2:]), flat, axis=0))


def _tiles(rgb: PixelArray, components: Sequence[Component]) -> npt.NDArray[np.float32]:
    """(N, height, width, components) samples of N MCUs, (N, height, width, 3), luma around 0."""
    if len(components) == 1:
        return luma(rgb)[..., None].astype(np.float32) - 128
    # Chroma is stored around 128 and shifted by 128 for the transform, so only luma keeps a shift.
    # OpenCV multiplies in this thread; numpy would call up BLAS threads in every worker.
    ycbcr = cv2.transform(rgb.reshape(-1, rgb.shape[2], 3).astype(np.float32), _YCBCR).reshape(rgb.shape)
    ycbcr[..., 0] -= 128
    return np.asarray(ycbcr, np.float32)


def _quantised(
    plane: npt.NDArray[np.float32], component: Component, finest: tuple[int, int],
    table: npt.NDArray[np.float32],
) -> Coefficients:  # fmt: skip
    """(N, vertical, horizontal, 64) coefficients of one component of N MCUs, (N, height, width) samples."""
    count = len(plane)
    down, across = finest[1] // component.vertical, finest[0] // component.horizontal
    parts = [plane[:, y::down, x::across] for y in range(down) for x in range(across)]
    small = np.add.reduce(parts) / len(parts) if len(parts) > 1 else parts[0]
    blocks = small.reshape(count, component.vertical, 8, component.horizontal, 8).swapaxes(2, 3)
    product = cv2.gemm(blocks.reshape(-1, 64), _dct(), 1.0, None, 0.0, flags=cv2.GEMM_2_T)
    coefficients = product.reshape(*blocks.shape[:3], 64)
    rounded = np.rint(coefficients / table)
    rounded[..., 1:] = rounded[..., 1:].clip(-1023, 1023)  # what baseline coding can say
    return np.asarray(rounded, np.int16)


@functools.cache
def _dct() -> npt.NDArray[np.float32]:
    """(64, 64): the transform of T.81, A.3.3, of 64 samples in row order; the orthonormal 8-point DCT-II on both sides."""
    k, n = np.mgrid[:8, :8]
    basis = np.cos((2 * n + 1) * k * np.pi / 16) / 2
    basis[0] /= np.sqrt(2)
    return np.asarray(np.kron(basis, basis), np.float32)


def _place(
    blocks: Coefficients, new: Coefficients, rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp],
    component: Component,
) -> None:  # fmt: skip
    height, width = blocks.shape[:2]
    for down in range(component.vertical):
        for across in range(component.horizontal):
            y, x = rows * component.vertical + down, columns * component.horizontal + across
            inside = (y < height) & (x < width)  # the last MCUs may reach beyond the component's blocks
            blocks[y[inside], x[inside]] = new[inside, down, across]


def _compare(old: PixelArray, after: bytes, mcus: BoolArray, components: Sequence[Component]) -> None:
    """Stored pixels outside the touched MCUs, and the pixel next to them, against those that the new file gives."""
    across, down = (8 * side for side in _finest(components))
    new = _decoded(after, "RGB")
    near = _with_neighbours(np.repeat(np.repeat(mcus, down, axis=0), across, axis=1))
    if old.shape != new.shape:
        raise SpliceError("the size changed")
    changed = cv2.inRange(cv2.absdiff(old, new), (0, 0, 0), (0, 0, 0)) == 0  # any(axis=2), many times faster
    if bool((changed & ~near[: old.shape[0], : old.shape[1]]).any()):
        raise SpliceError("pixels outside the touched blocks changed")


def _compare_inside(
    after: bytes, places: tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]], meant: npt.NDArray[np.float32],
    table: tuple[int, ...],
) -> None:  # fmt: skip
    """Luma of the touched MCUs against what was meant, (N, height, width) around 0; `table` is luma's."""
    coded = _decoded(after, "GRAY")[..., 0]  # luma as it is coded: RGB would be clipped
    error = _taken(coded, places).astype(np.float32) - np.float32(128) - meant
    # Rounding moves a coefficient by half its step at most, and the transform keeps sums of squares
    # (Parseval).
    bound = float(np.sqrt(np.mean(np.square(table, dtype=np.float64)) / 4)) + 2.0
    if bool((np.square(error).mean(axis=(1, 2)) > bound**2).any()):
        raise SpliceError("treated pixels are not what was meant")


def _decoded(data: bytes, space: str) -> PixelArray:
    try:
        return np.asarray(simplejpeg.decode_jpeg(data, space, strict=False))
    except ValueError as exc:
        raise SpliceError(f"the result cannot be compared: {exc}") from exc


def _with_neighbours(inside: BoolArray) -> BoolArray:
    """Grown by one pixel to all sides."""
    near = inside.copy()
    near[1:] |= inside[:-1]
    near[:-1] |= inside[1:]
    rows = near.copy()
    near[:, 1:] |= rows[:, :-1]
    near[:, :-1] |= rows[:, 1:]
    return near


def _block_dims(header: JpegHeader, components: Sequence[Component]) -> list[tuple[int, int]]:
    """(rows, columns) of blocks of each component, T.81 A.2.4, without the ones that only fill up MCUs."""
    widest, highest = _finest(components)
    return [
        (-(-header.height * c.vertical // (8 * highest)), -(-header.width * c.horizontal // (8 * widest)))
        for c in components
    ]


def _read(data: bytes, header: JpegHeader, components: Sequence[Component]) -> list[Coefficients]:
    blocks = [np.zeros((*dims, 64), np.int16) for dims in _block_dims(header, components)]
    with _file_of(data) as source:
        # The C function itself: jpeglib's wrapper around it prints to standard output when it fails.
        if not _libjpeg().get().read_jpeg_dct(source.name.encode(), *_pointers(blocks), None, None):
            raise SpliceError("libjpeg cannot read the coefficients")
    return blocks


def _write(
    data: bytes, header: JpegHeader, components: Sequence[Component], blocks: Sequence[Coefficients]
) -> bytes:
    size = (ctypes.c_int * 2)(header.height, header.width)
    # Standard Huffman tables cost 3 % of size and save a third of the time; what is not baseline may need its own.
    flags = [] if header.sof == _BASELINE else ["OPTIMIZE_CODING"]
    with _file_of(data) as source, _file_of(b"") as target:
        try:
            # Tables, sampling and component ids come from the source file; so does a fourth component's data.
            _libjpeg().write_jpeg_dct(
                source.name, target.name, *_pointers(blocks), size, None, _colour_space(header),
                len(components), None, None, -1, None, 0, None, None, None, flags,
            )  # fmt: skip
        except OSError as exc:
            raise SpliceError(f"libjpeg cannot write the coefficients: {exc}") from exc
        return target.content()


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
