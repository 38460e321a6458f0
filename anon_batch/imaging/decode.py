"""Bytes to upright pixels.

JPEG, PNG and WebP lose their metadata before any decoder sees them, so that a broken or hostile EXIF, profile
or text chunk reaches no parser. AVIF of more than 8 bits is read as 8.
"""

from __future__ import annotations

import io
from collections.abc import Callable
from dataclasses import dataclass
from typing import cast

import cv2
import numpy as np
import simplejpeg
from PIL import Image, ImageFile, TiffImagePlugin, UnidentifiedImageError

from anon_batch.config import LimitsConfig
from anon_batch.errors import FailedError
from anon_batch.imaging.jpeg.markers import JpegHeader, read_header, segments, strip_jpeg, stripped
from anon_batch.imaging.metadata.orientation import read_orientation, upright
from anon_batch.imaging.metadata.strip import png_chunks, strip, webp_chunks, webp_size
from anon_batch.imaging.modes import Samples, palette_of, pixels_of, samples_of
from anon_batch.imaging.sniff import check_bytes, check_pixels, sniff
from anon_batch.records import DecodedImage, GroundTruth, PixelArray

_TRUNCATED = ("truncated", "premature", "unexpected end", "not enough image data")
_UNKNOWN_MODE = (
    "unknown pixel mode",
    "unsupported bmp",
    "unknown data organization",
    "cannot handle this bit depth",
)
_TIFF_ORIENTATION, _TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANES = 274, 258, 262, 284


@dataclass(slots=True, eq=False)
class _Picture:
    pixels: PixelArray
    native: Samples | None = None
    mode: str = "RGB"
    orientation: int = 1
    source: bytes | None = None
    turned: bool = False


def decode(image_id: str, data: bytes, limits: LimitsConfig, given: GroundTruth | None = None) -> DecodedImage:
    """Decodes one file, whatever its name says it is. Threads may share it.

    Args:
        image_id: the manifest's id.
        data: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.
        limits: checked on the file's size and on its header, before any pixel is decoded.
        given: passed on.

    Returns:
        Upright pixels, transparency composited over mid-grey, and the samples in the file's own mode.

    Raises:
        FailedError: `empty`, `too_many_bytes`, `too_many_pixels`, `unsupported_format`, `unsupported_mode`,
            `multi_frame`, `truncated`, or `decode` for all that is broken otherwise. Nothing else, whatever
            the bytes are.
    """
    # Pillow's own limit is lower than what `limits` may allow and warns; checked here instead, before each
    # decoding.
    Image.MAX_IMAGE_PIXELS = None
    check_bytes(data, limits)
    kind = sniff(data)
    try:
        picture = _DECODERS[kind](data, limits)
    except FailedError:
        raise
    except Exception as exc:  # decoders raise whatever they like on broken files
        raise _classified(kind, exc) from exc
    turn = 1 if picture.turned else picture.orientation
    native = None if picture.native is None else upright(picture.native, turn)
    return DecodedImage(
        image_id=image_id,
        pixels=upright(picture.pixels, turn),
        format=kind,
        orientation=picture.orientation,
        native=native,
        native_mode=picture.mode,
        source=picture.source or data,
        given=given,
    )


def palette_in(data: bytes) -> PixelArray:
    """(N, 4) uint8 RGBA of a file whose samples are palette indices (DecodedImage.native_mode P)."""
    kind = sniff(data)
    return palette_of(_open(kind, strip(data, kind) if kind == "PNG" else data))


def _classified(kind: str, exc: Exception) -> FailedError:
    text = f"{kind}: {type(exc).__name__}: {exc}"
    lower = text.lower()
    if any(word in lower for word in _UNKNOWN_MODE):
        return FailedError("unsupported_mode", text)
    if isinstance(exc, EOFError) or any(word in lower for word in _TRUNCATED):
        return FailedError("truncated", text)
    return FailedError("decode", text)


def _open(kind: str, data: bytes) -> ImageFile.ImageFile:
    """A lazily loaded picture, by the plug-in of one format alone: Image.open would try others, and warn of
    the size.
    """
    Image.init()
    factory, _ = Image.OPEN[kind]
    try:
        return factory(io.BytesIO(data), "")
    except (SyntaxError, UnidentifiedImageError) as exc:
        raise _classified(kind, exc) from exc


def _load(image: ImageFile.ImageFile, limits: LimitsConfig) -> tuple[PixelArray, Samples | None, str]:
    check_pixels(*image.size, limits)
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise FailedError("multi_frame", f"{image.format} with {frames} frames")
    image.load()
    return samples_of(image)


def _decode_jpeg(data: bytes, limits: LimitsConfig) -> _Picture:
    found = tuple(segments(data))
    header = read_header(data, found)
    check_pixels(header.width, header.height, limits)
    if header.precision != 8:
        raise FailedError("unsupported_mode", f"JPEG with {header.precision} bits a sample")
    plain, _ = stripped(data, found, orientation=1)
    picture = _Picture(np.zeros((0, 0, 3), np.uint8), orientation=header.orientation)
    samples, clean = _jpeg_samples(plain, header)
    if samples is None:
        picture.pixels, picture.native, picture.mode = _load(_open("JPEG", plain), limits)
    elif samples.shape[2] == 3:
        picture.pixels = samples
    else:
        picture.mode = "L" if samples.shape[2] == 1 else "CMYK"
        picture.native = samples[..., 0] if picture.mode == "L" else samples
        if picture.mode == "CMYK" and header.adobe_transform is not None:
            picture.native = 255 - samples  # Adobe stores ink the other way round
        picture.pixels = pixels_of(picture.native, picture.mode)
    if not clean:
        picture.source = _without_strays(plain, header)
    return picture


def _jpeg_samples(plain: bytes, header: JpegHeader) -> tuple[Samples | None, bool]:
    """(H, W, 1, 3 or 4) samples, None where the sampling is one that libjpeg's simple interface has no name
    for; and whether the entropy-coded data held nothing else.
    """
    space = {1: "GRAY", 3: "RGB", 4: "CMYK"}.get(len(header.components))
    if space is None:
        raise FailedError("unsupported_mode", f"JPEG with {len(header.components)} components")
    try:
        return simplejpeg.decode_jpeg(plain, space), True
    except ValueError as exc:
        text = str(exc)
    if "sampling" in text:
        return None, True
    if "remature end" in text:
        raise FailedError("truncated", f"JPEG: {text}")
    if "Corrupt JPEG data" in text and "extraneous" not in text:
        raise FailedError("decode", f"JPEG: {text}")
    return simplejpeg.decode_jpeg(plain, space, strict=False), "extraneous" not in text


def _without_strays(plain: bytes, header: JpegHeader) -> bytes:
    """Bytes between the coded blocks are data behind the picture's back: the blocks are coded anew,
    unchanged.
    """
    from anon_batch.imaging.jpeg.splice import rewrite

    return strip_jpeg(rewrite(plain), orientation=header.orientation)


def _decode_png(data: bytes, limits: LimitsConfig) -> _Picture:
    depth = colour = orientation = 0
    names: set[bytes] = set()
    for name, body in png_chunks(data):
        if name == b"IHDR" and not names:
            check_pixels(int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big"), limits)
            depth, colour = body[8], body[9]
        elif name == b"eXIf":
            orientation = read_orientation(body)
        elif name == b"acTL":
            raise FailedError("multi_frame", "PNG with an animation")
        names.add(name)
    plain = strip(data, "PNG")
    if depth == 16:
        if b"tRNS" in names:
            raise FailedError("unsupported_mode", "PNG with 16 bits a sample and one transparent colour")
        if colour != 0:  # Pillow would cut the samples to 8 bits
            native = _wide_samples(plain)
            mode = "RGB;16" if native.shape[2] == 3 else "RGBA;16"
            return _Picture(pixels_of(native, mode), native, mode, orientation or 1)
    return _Picture(*_load(_open("PNG", plain), limits), orientation or 1)


def _wide_samples(data: bytes) -> Samples:
    """(H, W, 3 or 4) uint16 RGB or RGBA of a 16-bit PNG or TIFF."""
    array = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_UNCHANGED)
    if array is None or array.dtype != np.uint16 or array.ndim != 3:
        raise FailedError("decode", "the 16-bit samples cannot be read")
    order = cv2.COLOR_BGR2RGB if array.shape[2] == 3 else cv2.COLOR_BGRA2RGBA
    return cast(Samples, cv2.cvtColor(array, order))


def _decode_webp(data: bytes, limits: LimitsConfig) -> _Picture:
    orientation, sizes, extended = 1, 0, False
    for chunk in webp_chunks(data):
        if chunk.name in (b"ANIM", b"ANMF"):
            raise FailedError("multi_frame", "WebP with an animation")
        if size := webp_size(chunk):
            check_pixels(*size, limits)
            sizes += 1
        extended = extended or chunk.name == b"VP8X"
        if chunk.name == b"EXIF" and extended:
            orientation = read_orientation(chunk.body)
    if not sizes:
        raise FailedError("decode", "WebP: no picture")
    return _Picture(*_load(_open("WEBP", strip(data, "WEBP")), limits), orientation)


def _decode_tiff(data: bytes, limits: LimitsConfig) -> _Picture:
    # Both decoders of TIFF turn the picture themselves.
    image = cast(TiffImagePlugin.TiffImageFile, _open("TIFF", data))
    orientation = image.tag_v2.get(_TIFF_ORIENTATION, 1)
    orientation = orientation if orientation in range(1, 9) else 1
    bits = image.tag_v2.get(_TIFF_BITS, (1,))
    if len(bits) == 1 or max(bits) <= 8:
        return _Picture(*_load(image, limits), orientation, turned=True)
    check_pixels(*image.size, limits)
    if image.n_frames > 1:
        raise FailedError("multi_frame", f"TIFF with {image.n_frames} frames")
    layout = (tuple(bits), image.tag_v2.get(_TIFF_PHOTOMETRIC), image.tag_v2.get(_TIFF_PLANES, 1))
    if layout != ((16, 16, 16), 2, 1):
        raise FailedError("unsupported_mode", f"TIFF with {tuple(bits)} bits a sample, and not plain RGB")
    native = _wide_samples(data)
    return _Picture(pixels_of(native, "RGB;16"), native, "RGB;16", orientation, turned=True)


def _decode_plainly(kind: str) -> Callable[[bytes, LimitsConfig], _Picture]:
    def decode_plainly(data: bytes, limits: LimitsConfig) -> _Picture:
        image = _open(kind, data)
        orientation = read_orientation(image.info.get("exif", b"")) if kind == "AVIF" else 1
        return _Picture(*_load(image, limits), orientation)

    return decode_plainly


_DECODERS: dict[str, Callable[[bytes, LimitsConfig], _Picture]] = {
    "JPEG": _decode_jpeg,
    "PNG": _decode_png,
    "WEBP": _decode_webp,
    "TIFF": _decode_tiff,
    "GIF": _decode_plainly("GIF"),
    "BMP": _decode_plainly("BMP"),
    "AVIF": _decode_plainly("AVIF"),
}
