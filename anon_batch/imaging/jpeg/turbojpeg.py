"""Exchanging blocks of a JPEG in one pass, where the system has the TurboJPEG library.

Its lossless transformation shows a caller each row of coefficients between decoding and coding, which takes a third
of the time of reading and writing them all. Without the library nothing is lost but time: the bytes are the same.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import sys
from collections.abc import Iterator
from typing import Any

import numpy as np

from anon_batch.imaging.jpeg.coefficients import Rows, put_parts

_NAME = "libturbojpeg.0.dylib" if sys.platform == "darwin" else "libturbojpeg.so.0"
_COPY_NO_MARKERS = 64  # TJXOPT_COPYNONE


class _Region(ctypes.Structure):
    _fields_ = [(name, ctypes.c_int) for name in ("x", "y", "width", "height")]


_Filter = ctypes.CFUNCTYPE(ctypes.c_int, ctypes.c_void_p, _Region, _Region, ctypes.c_int, ctypes.c_int, ctypes.c_void_p)


class _Transform(ctypes.Structure):
    _fields_ = [
        ("crop", _Region),
        ("operation", ctypes.c_int),
        ("options", ctypes.c_int),
        ("data", ctypes.c_void_p),
        ("filter", _Filter),
    ]


def exchange_rows(data: bytes, rows: Rows) -> bytes | None:
    """The JPEG with these coefficients in the place of its own, with standard Huffman tables and no markers of
    others; None where there is no library, or it refuses the file, or does not come across each of the rows.

    Args:
        data: a JPEG file.
        rows: what is to be put where.
    """
    library = _library()
    if library is None:
        return None
    left = set(rows)

    def put(coefficients: int, region: _Region, _plane: _Region, component: int, _index: int, _transform: int) -> int:
        """0, or -1 to have the transformation end: an exception must not reach C."""
        key = component, region.y // 8
        if key not in rows:
            return 0
        try:
            values = (ctypes.c_short * (8 * region.width)).from_address(coefficients)
            put_parts(np.frombuffer(values, np.int16).reshape(-1, 64), rows[key])
            left.remove(key)
        except Exception:  # the caller sees None and takes the other way
            return -1
        return 0

    transform = _Transform(_Region(), 0, _COPY_NO_MARKERS, None, _Filter(put))
    with _handle(library) as handle, _buffer(library) as (target, length):
        refused = library.tjTransform(
            handle, data, len(data), 1, ctypes.byref(target), ctypes.byref(length), ctypes.byref(transform), 0
        )
        return None if refused or left else ctypes.string_at(target.value or 0, length.value)


@functools.cache
def _library() -> Any:
    """The system's TurboJPEG, version 2 or 3; None where there is none."""
    try:
        library = ctypes.CDLL(_NAME)
        library.tjInitTransform.restype = ctypes.c_void_p
        library.tjTransform.argtypes = [
            ctypes.c_void_p,
            ctypes.c_char_p,
            ctypes.c_ulong,
            ctypes.c_int,
            ctypes.POINTER(ctypes.c_void_p),
            ctypes.POINTER(ctypes.c_ulong),
            ctypes.POINTER(_Transform),
            ctypes.c_int,
        ]
        library.tjFree.argtypes = library.tjDestroy.argtypes = [ctypes.c_void_p]
    except (OSError, AttributeError):
        return None
    return library


@contextlib.contextmanager
def _handle(library: Any) -> Iterator[int | None]:
    handle = library.tjInitTransform()
    try:
        yield handle
    finally:
        if handle:
            library.tjDestroy(handle)


@contextlib.contextmanager
def _buffer(library: Any) -> Iterator[tuple[ctypes.c_void_p, ctypes.c_ulong]]:
    """A pointer and a length, which the library sets."""
    target, length = ctypes.c_void_p(None), ctypes.c_ulong(0)
    try:
        yield target, length
    finally:
        library.tjFree(target)
