"""Read the header of an image file: format, size, orientation, and whether this package can decode it.

No pixel is decoded here. JPEG, PNG and WebP are parsed by this package; the other formats by Pillow.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, replace
from itertools import islice
from typing import cast

from PIL import ImageFile, TiffImagePlugin

from anon_batch.errors import FailedError
from anon_batch.imaging.jpeg.markers import JpegHeader, Segment, iter_segments, read_jpeg_header
from anon_batch.imaging.metadata.strip import png_chunks, webp_chunks, webp_size
from anon_batch.imaging.orientation_claims import (
    XMP_TAG,
    Orientation,
    first_directory,
    neutralise_tiff,
    read_exif,
    read_tiff,
    read_xmp,
    settle,
)
from anon_batch.imaging.pillow import classify_error, open_with_pillow
from anon_batch.imaging.png_text import read_profile
from anon_batch.imaging.sniff import check_bytes, check_pixels, sniff

_TIFF_BITS, _TIFF_PHOTOMETRIC, _TIFF_PLANES = 258, 262, 284


@dataclass(frozen=True, slots=True)
class ImageHeader:
    """What the header of a file says.

    Args:
        format: Pillow's name of the format: JPEG, PNG, WEBP, GIF, BMP, TIFF or AVIF.
        width, height: of the upright image, px.
        orientation: 1..8, what the stored image is turned by to stand upright.
        others: orientations that other readers may take.
        has_wide_colours: whether samples are RGB or RGBA of 16 bits.
        jpeg, segments: of a JPEG, its header and its segments.
    """

    format: str
    width: int
    height: int
    orientation: int = 1
    others: frozenset[int] = frozenset()
    has_wide_colours: bool = False
    jpeg: JpegHeader | None = None
    segments: tuple[Segment, ...] = ()


def read_image_header(data: bytes, max_pixels: int | None = None, max_bytes: int | None = None) -> ImageHeader:
    """Read the header of a file, whatever the file's name says.

    Args:
        data: JPEG, PNG, WebP, GIF, BMP, TIFF or AVIF.
        max_pixels: upper bound of width times height; None sets no bound.
        max_bytes: upper bound of the file's length; None sets no bound.

    Raises:
        FailedError: `empty`, `too_many_bytes`, `too_many_pixels`, `unsupported_format`, `unsupported_mode`,
            `multi_frame`, `truncated`, or `decode` for all other damage.
    """
    check_bytes(data, max_bytes)
    kind = sniff(data)
    try:
        return _READERS[kind](data, max_pixels)
    except FailedError:
        raise
    except Exception as exc:  # because parsers raise anything on damaged files
        raise classify_error(kind, exc) from exc


def _orient(
    kind: str, size: tuple[int, int], orientation: Orientation, *, has_wide_colours: bool = False
) -> ImageHeader:
    """Return the header of an image stored as `size`."""
    width, height = size if orientation.value < 5 else size[::-1]
    return ImageHeader(kind, width, height, *orientation, has_wide_colours=has_wide_colours)


def _read_jpeg(data: bytes, max_pixels: int | None) -> ImageHeader:
    segments = tuple(iter_segments(data))
    jpeg = read_jpeg_header(data, segments)
    check_pixels(jpeg.width, jpeg.height, max_pixels)
    if jpeg.precision != 8:
        raise FailedError("unsupported_mode", f"JPEG with {jpeg.precision} bits a sample")
    if len(jpeg.components) not in (1, 3, 4):
        raise FailedError("unsupported_mode", f"JPEG with {len(jpeg.components)} components")
    stated = Orientation(jpeg.orientation, jpeg.others)
    return replace(_orient("JPEG", (jpeg.width, jpeg.height), stated), jpeg=jpeg, segments=segments)


def _read_png(data: bytes, max_pixels: int | None) -> ImageHeader:
    width = height = depth = colour = 0
    profiles: list[tuple[bytes, bytes]] = []
    names: set[bytes] = set()
    for name, body in png_chunks(data):
        if not names:
            if name != b"IHDR":
                raise FailedError("decode", f"PNG: the first chunk is {name!r}, not IHDR")
            width, height = int.from_bytes(body[:4], "big"), int.from_bytes(body[4:8], "big")
            check_pixels(width, height, max_pixels)
            depth, colour = body[8], body[9]
        elif name == b"eXIf":
            profiles.append((name, body))
        elif name == b"acTL":
            raise FailedError("multi_frame", "PNG with an animation")
        elif (profile := read_profile(name, body)) is not None:
            profiles.append(profile)
        if len(profiles) > _MOST_PROFILES:  # because each may be compressed a thousandfold
            raise FailedError("decode", f"PNG: more than {_MOST_PROFILES} chunks of EXIF and XMP")
        names.add(name)
    if depth == 16 and b"tRNS" in names:
        raise FailedError("unsupported_mode", "PNG with 16 bits a sample and one transparent colour")
    return _orient("PNG", (width, height), _settle_png(profiles), has_wide_colours=depth == 16 and colour != 0)


def _settle_png(profiles: list[tuple[bytes, bytes]]) -> Orientation:
    """Return what (keyword, content) of chunks say: EXIF before its text forms before XMP, the last of each first."""
    last_first = profiles[::-1]
    chunks = [
        own if keyword == b"eXIf" and body[:2] in (b"II", b"MM") else own.doubted()
        for keyword, body in last_first
        if keyword.lower() == b"exif" and (own := read_exif(body)) is not None
    ]
    texts = [
        own.doubted() for keyword, body in last_first if b"raw" in keyword and (own := read_exif(body)) is not None
    ]
    return settle([*chunks, *texts, *(read_xmp(body) for keyword, body in last_first if keyword.lower() != b"exif")])


def _read_webp(data: bytes, max_pixels: int | None) -> ImageHeader:
    sizes: list[tuple[int, int]] = []
    bodies: dict[bytes, list[bytes]] = {b"EXIF": [], b"XMP ": [], b"VP8X": []}
    for chunk in webp_chunks(data):
        if chunk.name in (b"ANIM", b"ANMF"):
            raise FailedError("multi_frame", "WebP with an animation")
        if size := webp_size(chunk):
            check_pixels(*size, max_pixels)
            sizes.append(size)
        bodies.setdefault(chunk.name, []).append(chunk.body)
    if not sizes:
        raise FailedError("decode", "WebP: no image data")
    stated = settle([*map(read_exif, bodies[b"EXIF"]), *map(read_xmp, bodies[b"XMP "])])
    if not any(body[:1] and body[0] & _WEBP_METADATA for body in bodies[b"VP8X"]):
        stated = settle([], [stated])  # because most readers look for neither then
    return _orient("WEBP", sizes[0], stated)


def _read_tiff(data: bytes, max_pixels: int | None) -> ImageHeader:
    image = cast(TiffImagePlugin.TiffImageFile, open_with_pillow("TIFF", neutralise_tiff(data)))
    bits = tuple(image.tag_v2.get(_TIFF_BITS, (1,)))
    is_wide = len(bits) > 1 and max(bits) > 8
    _check_frames(image, max_pixels)
    layout = (bits, image.tag_v2.get(_TIFF_PHOTOMETRIC), image.tag_v2.get(_TIFF_PLANES, 1))
    if is_wide and layout != ((16, 16, 16), 2, 1):
        raise FailedError("unsupported_mode", f"TIFF with {bits} bits a sample that is not plain RGB")
    packets = [entry.read(data, entry.number) for entry in first_directory(data) if entry.tag == XMP_TAG]
    stated = settle([read_tiff(data), *map(read_xmp, packets)])
    return _orient("TIFF", image.size, stated, has_wide_colours=is_wide)


def _reader_for(kind: str) -> Callable[[bytes, int | None], ImageHeader]:
    def read(data: bytes, max_pixels: int | None) -> ImageHeader:
        image = open_with_pillow(kind, data)
        _check_frames(image, max_pixels)
        return _orient(kind, image.size, _READ_ORIENTATION.get(kind, _read_nothing)(data, image))

    return read


def _read_avif(data: bytes, image: ImageFile.ImageFile) -> Orientation:
    """Return what the properties irot and imir say, which Pillow gives as EXIF; the file's own EXIF is doubtful."""
    turned = read_exif(image.info.get("exif", b""))
    starts = [at.start() for at in islice(re.finditer(rb"II\*\0|MM\0\*", data), _MOST_PROFILES)]
    own = [read_exif(data[start : start + _EXIF_BYTES]) for start in starts]
    return settle([turned and Orientation(turned.value), read_xmp(image.info.get("xmp", b""))], own)


def _read_gif(data: bytes, image: ImageFile.ImageFile) -> Orientation:
    """Return what XMP says, which few readers look for in a GIF."""
    start = data.find(b"XMP DataXMP")
    return settle([], [read_xmp(data[start:])] if start >= 0 else [])


def _read_nothing(data: bytes, image: ImageFile.ImageFile) -> Orientation:
    return Orientation()


def _check_frames(image: ImageFile.ImageFile, max_pixels: int | None) -> None:
    check_pixels(*image.size, max_pixels)
    frames = getattr(image, "n_frames", 1)
    if frames > 1:
        raise FailedError("multi_frame", f"{image.format} with {frames} frames")


_MOST_PROFILES = 16
_EXIF_BYTES = 1 << 16
_WEBP_METADATA = 0x08 | 0x04  # EXIF, XMP
_READ_ORIENTATION = {"AVIF": _read_avif, "GIF": _read_gif}
_READERS: dict[str, Callable[[bytes, int | None], ImageHeader]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "WEBP": _read_webp,
    "TIFF": _read_tiff,
    "GIF": _reader_for("GIF"),
    "BMP": _reader_for("BMP"),
    "AVIF": _reader_for("AVIF"),
}
