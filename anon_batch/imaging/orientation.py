"""Write the EXIF orientation alone, and turn images and points by it.

Orientation o says how the stored rows and columns become the upright image (EXIF 2.32, tag 0x0112): 1 as it
is, 2 mirrored left-right, 3 half a turn, 4 mirrored top-bottom, 5 transposed, 6 a quarter turn clockwise, 7
transposed across the other diagonal, 8 a quarter turn counter-clockwise.
"""

from __future__ import annotations

import struct
from collections.abc import Callable
from functools import cache
from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.imaging.orientation_claims import SHORT, TAG


def orientation_exif(orientation: int) -> bytes:
    """Return a TIFF structure of 26 bytes whose only tag is the orientation: all that our EXIF blocks hold."""
    return b"MM\0*" + struct.pack(">IHHHIHHI", 8, 1, TAG, SHORT, 1, orientation, 0, 0)


def turn_upright(samples: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn samples (H, W) or (H, W, C) from their stored to their upright position.

    Returns:
        A contiguous copy; the same array for orientation 1.
    """
    if orientation == 1:
        return samples
    if samples.dtype not in (np.bool_, np.uint8, np.uint16):
        return np.ascontiguousarray(view_as_stored(samples, inverse_of(orientation)))
    # OpenCV takes a third of the time of a strided copy, but knows no booleans.
    turned = _COPIES[orientation](samples.view(np.uint8) if samples.dtype == np.bool_ else samples)
    return np.asarray(turned).view(samples.dtype).reshape(*turned.shape[:2], *samples.shape[2:])


def turn_as_stored(samples: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Turn upright samples back to their stored position: the inverse of `turn_upright`."""
    return turn_upright(samples, inverse_of(orientation))


def view_as_stored(samples: npt.NDArray[Any], orientation: int) -> npt.NDArray[Any]:
    """Do as `turn_as_stored` without a copy: return a view that is not contiguous."""
    rows, columns = _FLIPS.get(orientation, (False, False))
    array = samples[:: -1 if rows else 1, :: -1 if columns else 1]
    return array.swapaxes(0, 1) if orientation >= 5 else array


def turn_points(points: npt.NDArray[Any], width: float, height: float, orientation: int) -> npt.NDArray[Any]:
    """Turn points (..., 2), x and y in px of an image stored as width x height, as `turn_upright` turns the image."""
    rows, columns = _FLIPS_OF_STORED.get(orientation, (False, False))
    x, y = points[..., 0], points[..., 1]
    x, y = width - x if columns else x, height - y if rows else y
    return np.stack([y, x] if orientation >= 5 else [x, y], axis=-1)


def inverse_of(orientation: int) -> int:
    """Return the orientation that undoes another."""
    return _INVERSE.get(orientation, orientation)


@cache
def difference_of(taken: int, other: int) -> int:
    """Return the orientation that turns an image as a reader shows it by `other` into the one turned by `taken`."""
    stored = np.arange(6, dtype=np.uint8).reshape(2, 3)
    shown, wanted = turn_upright(stored, other), turn_upright(stored, taken)
    return next(o for o in range(1, 9) if np.array_equal(turn_upright(shown, o), wanted))


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
# The same of the stored image, before the transposition.
_FLIPS_OF_STORED = {
    2: (False, True),
    3: (True, True),
    4: (True, False),
    6: (True, False),
    7: (True, True),
    8: (False, True),
}
