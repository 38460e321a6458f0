"""Decode the samples of a JPEG, whole or at a fraction of its sides."""

from __future__ import annotations

import numpy as np
import simplejpeg

from anon_batch.errors import FailedError
from anon_batch.imaging.jpeg.coefficients import recode
from anon_batch.imaging.jpeg.markers import SOS, JpegHeader, Segment
from anon_batch.imaging.jpeg.scans import PROGRESSIVE, number_restarts
from anon_batch.imaging.jpeg.strip import strip_jpeg, strip_segments
from anon_batch.imaging.modes import Raster, Samples, load_raster, to_rgb
from anon_batch.imaging.pillow import open_with_pillow
from anon_batch.records import PixelArray

_SPACES = {1: "GRAY", 3: "RGB", 4: "CMYK"}
_DIVISORS = (8, 4, 2)  # libjpeg knows more, but has no fast kernels for them


def decode_jpeg(data: bytes, header: JpegHeader, segments: tuple[Segment, ...]) -> tuple[Raster, bytes]:
    """Decode all samples as they are stored, not turned.

    Args:
        data: the file.
        header: its header, with 8 bits a sample and 1, 3 or 4 components.
        segments: its segments.

    Returns:
        The samples, and the bytes that may be published after stripping. These are `data`, unless libjpeg found a flaw or
        a scan hides another: bytes that decoders skip could carry hidden data, so the coefficients are recoded, unchanged.

    Raises:
        FailedError: `truncated` or `decode`.
    """
    plain, parts = strip_segments(data, segments, orientation=1)
    try:
        samples, is_flawed = _decode_samples(plain, header)
    except _RestartError:
        plain, data = _number_restarts(plain, parts, header)
        samples, is_flawed = _decode_samples(plain, header)
        if is_flawed:  # because the restarts are not only numbered oddly
            raise
    if samples is None:
        if segments[-1].start == segments[-1].end:  # because Pillow does not say that a scan is incomplete
            raise FailedError("truncated", "JPEG: no end marker, and a sampling whose scans cannot be checked")
        image = open_with_pillow("JPEG", plain)
        if image.size != (header.width, header.height):
            raise FailedError("decode", f"JPEG: {image.size} px, the header says {header.width} x {header.height}")
        return load_raster(image), data
    is_flawed = is_flawed or _hides_scans(plain, header, parts)
    source = strip_jpeg(recode(plain), orientation=header.orientation) if is_flawed else data
    return _to_raster(samples, header), source


def _hides_scans(plain: bytes, header: JpegHeader, parts: tuple[Segment, ...]) -> bool:
    """Return whether a component of a sequential JPEG is coded twice, so that decoders show the second coding alone."""
    if header.sof in PROGRESSIVE:  # of which libjpeg itself says when a scan repeats another
        return False
    coded = [
        number
        for marker, start, _ in parts
        if marker == SOS
        for number in plain[start + 5 : start + 5 + 2 * plain[start + 4] : 2]
    ]
    return len(set(coded)) < len(coded)


class _RestartError(FailedError):
    """A restart marker does not have the number that its place asks for."""


def _number_restarts(plain: bytes, parts: tuple[Segment, ...], header: JpegHeader) -> tuple[bytes, bytes]:
    """Return the file with restarts in their order, stripped, without and with its orientation."""
    scans = [
        (s.start + 2 + int.from_bytes(plain[s.start + 2 : s.start + 4], "big"), s.end) for s in parts if s.marker == SOS
    ]
    numbered = number_restarts(plain, scans)
    return numbered, strip_jpeg(numbered, header.orientation)


def _to_raster(samples: Samples, header: JpegHeader) -> Raster:
    count = samples.shape[2]
    if count == 3:
        return Raster(samples)
    if count == 1:
        return Raster(to_rgb(samples[..., 0], "L"), samples[..., 0], "L")
    ink = 255 - samples  # as Adobe stores it, and as Pillow and OpenCV read it without Adobe's segment too
    return Raster(to_rgb(ink, "CMYK"), ink, "CMYK")


def _decode_samples(plain: bytes, header: JpegHeader) -> tuple[Samples | None, bool]:
    """Return (H, W, 1, 3 or 4) samples, and whether libjpeg found a flaw.

    The samples are None where the sampling is one that libjpeg's simple interface has no name for.
    """
    space = _SPACES[len(header.components)]
    try:
        return simplejpeg.decode_jpeg(plain, space), False
    except ValueError as exc:
        text = str(exc)
    if "sampling" in text:
        return None, False
    if "remature end" in text or "found marker 0xd9" in text:  # the end marker, before the data of all restarts
        raise FailedError("truncated", f"JPEG: {text}")
    if "found marker 0xd" in text:
        raise _RestartError("decode", f"JPEG: {text}")
    if "Corrupt JPEG data" in text and "extraneous" not in text:
        raise FailedError("decode", f"JPEG: {text}")
    return _decode_flawed(plain, header, space, text), True


def _decode_flawed(plain: bytes, header: JpegHeader, space: str, flaw: str) -> Samples:
    """Decode a file in which libjpeg found a flaw.

    libjpeg takes an error after a warning for a warning, and stops. The rest of the buffer would then hold whatever was in
    memory, and detectors would search that instead of the image. So decode into two buffers with different contents.

    Raises:
        FailedError: `decode` when some samples were not written.
    """
    size = header.width * header.height * len(header.components)
    first, second = (
        simplejpeg.decode_jpeg(plain, space, strict=False, buffer=np.full(size, fill, np.uint8)) for fill in (0, 255)
    )
    if not np.array_equal(first, second):
        raise FailedError("decode", f"JPEG: not all pixels can be decoded: {flaw}")
    return np.asarray(first)


def choose_divisor(header: JpegHeader, max_side_px: int) -> int | None:
    """Return by which of 8, 4 or 2 the sides can be divided and stay at least `max_side_px` long; None if by none."""
    return next((d for d in _DIVISORS if max(header.width, header.height) >= d * max_side_px), None)


def decode_jpeg_fraction(
    data: bytes, header: JpegHeader, segments: tuple[Segment, ...], divisor: int
) -> PixelArray | None:
    """Decode at 1/2, 1/4 or 1/8 of the sides, not turned.

    All entropy-coded data is read and judged as in a whole decoding; only the inverse transform is shorter.

    Returns:
        (ceil(H / divisor), ceil(W / divisor), 3) uint8 RGB; None for grey or CMYK, and for a file with the slightest
        flaw, which a whole decoding must judge.
    """
    if len(header.components) != 3:
        return None
    plain, parts = strip_segments(data, segments, orientation=1)
    if _hides_scans(plain, header, parts):
        return None
    try:
        pixels = simplejpeg.decode_jpeg(
            plain, "RGB", min_width=-(-header.width // divisor), min_height=-(-header.height // divisor)
        )
    except ValueError:
        return None
    return np.asarray(pixels, np.uint8)
