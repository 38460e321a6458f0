"""Decode a whole image file to upright pixels.

JPEG, PNG, WebP and TIFF lose their metadata before a decoder sees them, so that a damaged or hostile EXIF block, profile
or text chunk reaches no parser. AVIF of more than 8 bits is read as 8.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import cast

import cv2
import numpy as np

from anon_batch.errors import FailedError
from anon_batch.imaging.header import ImageHeader, read_image_header
from anon_batch.imaging.jpeg.decode import decode_jpeg
from anon_batch.imaging.metadata.strip import strip
from anon_batch.imaging.modes import Raster, Samples, load_raster, wide_raster
from anon_batch.imaging.orientation import turn_upright
from anon_batch.imaging.pillow import classify_error, open_with_pillow
from anon_batch.imaging.tiff import plain_tiff
from anon_batch.records import DecodedImage


def decode(image_id: str, data: bytes, max_pixels: int | None = None, max_bytes: int | None = None) -> DecodedImage:
    """Decode a file, whatever its name says. Threads may call this at the same time.

    Args:
        image_id: passed on.
        data: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.
        max_pixels: upper bound of width times height; None sets no bound.
        max_bytes: upper bound of the file's length; None sets no bound.

    Returns:
        Upright pixels, transparency composited over mid-grey, and the samples in the file's own mode.

    Raises:
        FailedError: see `read_image_header`.
        WithheldError: `out_of_memory`. Nothing else is raised, whatever the bytes are.
    """
    return decode_after_header(image_id, data, read_image_header(data, max_pixels, max_bytes))


def decode_after_header(image_id: str, data: bytes, header: ImageHeader) -> DecodedImage:
    """Decode a file whose header has been read.

    Raises:
        FailedError: as `decode`.
    """
    try:
        raster, source = _decode(data, header)
    except FailedError:
        raise
    except Exception as exc:  # because decoders raise anything on damaged files
        raise classify_error(header.format, exc) from exc
    turn = header.orientation
    pixels = turn_upright(raster.pixels, turn)
    if pixels.shape[:2] != (header.height, header.width):
        size = f"{pixels.shape[1]} x {pixels.shape[0]}"
        raise FailedError("decode", f"{header.format}: {size} px, the header says {header.width} x {header.height}")
    return DecodedImage(
        image_id=image_id,
        pixels=pixels,
        format=header.format,
        orientation=header.orientation,
        others=header.others,
        native=None if raster.native is None else turn_upright(raster.native, turn),
        native_mode=raster.mode,
        white=raster.white,
        palette=raster.palette,
        source=source,
    )


def _decode(data: bytes, header: ImageHeader) -> tuple[Raster, bytes]:
    """Return the samples as stored, and the bytes that may be published after stripping."""
    if header.format == "JPEG" and header.jpeg is not None:
        return decode_jpeg(data, header.jpeg, header.segments)
    return _DECODERS[header.format](data, header), data


def _decode_png(data: bytes, header: ImageHeader) -> Raster:
    plain = strip(data, "PNG")
    if header.has_wide_colours:  # because Pillow would cut the samples to 8 bits
        native = _decode_wide(plain)
        mode = "RGB;16" if native.shape[2] == 3 else "RGBA;16"
        return wide_raster(native, mode)
    return _load("PNG", plain, header)


def _decode_webp(data: bytes, header: ImageHeader) -> Raster:
    return _load("WEBP", strip(data, "WEBP"), header)


def _decode_tiff(data: bytes, header: ImageHeader) -> Raster:
    plain = plain_tiff(data)
    return wide_raster(_decode_wide(plain), "RGB;16") if header.has_wide_colours else _load("TIFF", plain, header)


def _decode_wide(data: bytes) -> Samples:
    """Return (H, W, 3 or 4) uint16 RGB or RGBA of a 16-bit PNG or TIFF."""
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3:
        raise FailedError("decode", "the 16-bit samples cannot be read")
    order = cv2.COLOR_BGR2RGB if array.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cast(Samples, cv2.cvtColor(array, order))


def _load(kind: str, data: bytes, header: ImageHeader) -> Raster:
    image = open_with_pillow(kind, data)
    size = (header.width, header.height)
    # Because the limits were checked on the header, refuse a file that Pillow reads as another size.
    if image.size not in (size, size[::-1]):
        raise FailedError("decode", f"{kind}: {image.size} px, the header says {size}")
    return load_raster(image)


def _decoder_for(kind: str) -> Callable[[bytes, ImageHeader], Raster]:
    def decode_format(data: bytes, header: ImageHeader) -> Raster:
        return _load(kind, data, header)

    return decode_format


_DECODERS: dict[str, Callable[[bytes, ImageHeader], Raster]] = {
    "PNG": _decode_png,
    "WEBP": _decode_webp,
    "TIFF": _decode_tiff,
    "GIF": _decoder_for("GIF"),
    "BMP": _decoder_for("BMP"),
    "AVIF": _decoder_for("AVIF"),
}
