"""A cheaper rendition of a picture for those who only look at it.

A JPEG is decoded at a half, a quarter or an eighth of its sides: its whole entropy-coded data is read all the same and
judged by the same rules, only the inverse transform is shorter. Whatever such a decoding objects to is decoded as a whole,
so that damaged files end as they do there.
"""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np
import simplejpeg

from anon_batch.config import LimitsConfig
from anon_batch.errors import FailedError
from anon_batch.imaging.decode import decode
from anon_batch.imaging.jpeg.markers import JpegHeader, read_header, segments, stripped
from anon_batch.imaging.metadata.orientation import upright
from anon_batch.imaging.sniff import check_bytes, check_pixels, sniff
from anon_batch.records import DecodedImage, GroundTruth, PixelArray

_DIVISORS = (8, 4, 2)  # libjpeg has more, without fast kernels
_AREA_BELOW = 0.5  # bilinear sampling skips source pixels below this factor


def reduced_size(width: int, height: int, max_side_px: int) -> tuple[int, int]:
    """Width and height of a picture whose longer side is brought down to `max_side_px`; at least 1 px each."""
    longest = max(width, height)
    if longest <= max_side_px:
        return width, height
    return max(1, round(width * max_side_px / longest)), max(1, round(height * max_side_px / longest))


def reduce(image: DecodedImage, max_side_px: int) -> DecodedImage:
    """The picture itself when it is small enough or reduced already; else one with smaller pixels and without samples in
    the file's own mode.
    """
    size = reduced_size(image.width, image.height, max_side_px)
    if image.reduced_from is not None or size == (image.width, image.height):
        return image
    pixels = _resized(image.pixels, size)
    return replace(image, pixels=pixels, native=None, native_mode="RGB", reduced_from=(image.width, image.height))


def decode_reduced(
    image_id: str,
    data: bytes,
    limits: LimitsConfig,
    given: GroundTruth | None,
    max_side_px: int | None,
) -> DecodedImage:
    """Decodes one file for looking at it: reduced where that saves work, else as a whole.

    Args:
        image_id: the manifest's id.
        data: the file.
        limits: as for `decode`.
        given: passed on, in px of the whole picture.
        max_side_px: the longer side of a reduced picture; None reduces none.

    Returns:
        A picture with `reduced_from` set for a flawless JPEG in YCbCr or RGB that is at least twice as long as
        `max_side_px`; else what `decode` gives.

    Raises:
        FailedError: as `decode`.
    """
    check_bytes(data, limits)
    if sniff(data) == "JPEG" and (image := _seen_jpeg(image_id, data, limits, given, max_side_px)) is not None:
        return image
    return decode(image_id, data, limits, given)


def _seen_jpeg(
    image_id: str,
    data: bytes,
    limits: LimitsConfig,
    given: GroundTruth | None,
    max_side_px: int | None,
) -> DecodedImage | None:
    try:
        found = tuple(segments(data))
        header = read_header(data, found)
        check_pixels(header.width, header.height, limits)
        divisor = _divisor(header, max_side_px)
        if header.precision != 8 or len(header.components) != 3 or divisor is None:
            return None
        plain, _ = stripped(data, found, orientation=1)
        pixels = _at_fraction(plain, header, divisor)
    except (FailedError, ValueError):  # `decode` says what is wrong
        return None
    if max_side_px is not None:
        pixels = _resized(pixels, reduced_size(header.width, header.height, max_side_px))
    whole = (header.width, header.height) if header.orientation < 5 else (header.height, header.width)
    return DecodedImage(
        image_id,
        upright(pixels, header.orientation),
        "JPEG",
        header.orientation,
        source=data,
        given=given,
        reduced_from=whole,
    )


def _divisor(header: JpegHeader, max_side_px: int | None) -> int | None:
    if max_side_px is None:
        return None
    return next((d for d in _DIVISORS if max(header.width, header.height) >= d * max_side_px), None)


def _at_fraction(plain: bytes, header: JpegHeader, divisor: int) -> PixelArray:
    """(ceil(H / divisor), ceil(W / divisor), 3); a ValueError for the slightest flaw."""
    pixels = simplejpeg.decode_jpeg(
        plain, "RGB", min_width=-(-header.width // divisor), min_height=-(-header.height // divisor)
    )
    return np.asarray(pixels, np.uint8)


def _resized(pixels: PixelArray, size: tuple[int, int]) -> PixelArray:
    height, width = pixels.shape[:2]
    if (width, height) == size:
        return pixels
    method = cv2.INTER_AREA if max(size) < _AREA_BELOW * max(width, height) else cv2.INTER_LINEAR
    return np.asarray(cv2.resize(pixels, size, interpolation=method), np.uint8)
