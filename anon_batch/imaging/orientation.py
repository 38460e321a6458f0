"""Read the EXIF orientation, write it alone, and turn images by it.

Orientation o says how the stored rows and columns become the upright image (EXIF 2.32, tag 0x0112): 1 as it
is, 2 mirrored left-right, 3 half a turn, 4 mirrored top-bottom, 5 transposed, 6 a quarter turn clockwise, 7
transposed across the other diagonal, 8 a quarter turn counter-clockwise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

_TAG = 0x0112
_SHORT = 3


def read_orientation(exif: bytes) -> int:
    """Return the orientation 1..8 of an EXIF block, with or without its `Exif` prefix; 1 if it is missing or illegal."""
    tiff = exif[6:] if exif.startswith(b"Exif\0") else exif
    order = {b"II": "<", b"MM": ">"}.get(tiff[:2])
    if order is None or len(tiff) < 10:
        return 1
    (start,) = struct.unpack_from(f"{order}I", tiff, 4)
    if start + 2 > len(tiff):
        return 1
    (count,) = struct.unpack_from(f"{order}H", tiff, start)
    for at in range(start + 2, min(start + 2 + 12 * count, len(tiff) - 11), 12):
        tag, kind = struct.unpack_from(f"{order}HH", tiff, at)
        if tag == _TAG and kind == _SHORT:
            (value,) = struct.unpack_from(f"{order}H", tiff, at + 8)
            return value if 1 <= value <= 8 else 1
    return 1


def orientation_exif(orientation: int) -> bytes:
    """Return a TIFF structure of 26 bytes whose only tag is the orientation: all that our EXIF blocks hold."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, _TAG, _SHORT, 1, orientation, 0, 0)


def turn_upright(samples: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn samples (H, W) or (H, W, C) from their stored to their upright position.

    Returns:
        A contiguous copy; the same array for orientation 1.
    """
    if orientation == 1:
        return samples
    if samples.dtype not in (np.bool_, np.uint8, np.uint16):
        return np.ascontiguousarray(view_as_stored(samples, _INVERSE.get(orientation, orientation)))
    # OpenCV takes a third of the time of a strided copy, but knows no booleans.
    turned = _COPIES[orientation](samples.view(np.uint8) if samples.dtype == np.bool_ else samples)
    return np.asarray(turned).view(samples.dtype).reshape(*turned.shape[:2], *samples.shape[2:])


def turn_as_stored(samples: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn upright samples back to their stored position: the inverse of `turn_upright`."""
    return turn_upright(samples, _INVERSE.get(orientation, orientation))


def view_as_stored(samples: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Do as `turn_as_stored` without a copy: return a view that is not contiguous."""
    rows, columns = _FLIPS.get(orientation, (False, False))
    array = samples[:: -1 if rows else 1, :: -1 if columns else 1]
    return array.swapaxes(0, 1) if orientation >= 5 else array


_INVERSE = {6: 8, 8: 6}
_COPIES: dict[int, Callable[[npt.NDArray[Any]], npt.NDArray[Any]]] = {
    2: lambda array: cv2.flip(array, 1),
    3: lambda array: cv2.rotate(array, cv2.ROTATE_180),
    4: lambda array: cv2.flip(array, 0),
    5: cv2.transpose,
    6: lambda array: cv2.rotate(array, cv2.ROTATE_90_CLOCKWISE),
    7: lambda array: cv2.flip(cv2.transpose(array), -1),
    8: lambda array: cv2.rotate(array, cv2.ROTATE_90_COUNTERCLOCKWISE),
}
# Flips (rows, columns) of the upright image before the transposition of 5..8.
_FLIPS = {
    2: (False, True),
    3: (True, True),
    4: (True, False),
    6: (False, True),
    7: (True, True),
    8: (True, False),
}
