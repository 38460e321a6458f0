"""Read the header of an image file: format, size, orientation, and whether this package can decode it.

No pixel is decoded here. JPEG, PNG and WebP are parsed by this package; the other formats by Pillow, a TIFF
after it is reduced to what describes its samples.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import cast

from PIL import ImageFile, TiffImagePlugin

from anon_batch.errors import FailedError
from anon_batch.imaging.containers import settle_avif, settle_gif, settle_png, settle_tiff, settle_webp
from anon_batch.imaging.jpeg.markers import JpegHeader, Segment, iter_segments, read_jpeg_header
from anon_batch.imaging.metadata.strip import png_chunks, webp_chunks, webp_size
from anon_batch.imaging.orientation_claims import Orientation
from anon_batch.imaging.pillow import classify_error, open_with_pillow
from anon_batch.imaging.png_text import read_profile
from anon_batch.imaging.sniff import check_bytes, check_pixels, sniff
from anon_batch.imaging.tiff import has_more_directories, plain_tiff

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
    return _orient("PNG", (width, height), settle_png(profiles), has_wide_colours=depth == 16 and colour != 0)


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
    return _orient("WEBP", sizes[0], settle_webp(bodies))


def _read_tiff(data: bytes, max_pixels: int | None) -> ImageHeader:
    image = cast(TiffImagePlugin.TiffImageFile, open_with_pillow("TIFF", plain_tiff(data, max_pixels)))
    if has_more_directories(data):
        raise FailedError("multi_frame", "TIFF with several pages")
    bits = tuple(image.tag_v2.get(_TIFF_BITS, (1,)))
    is_wide = len(bits) > 1 and max(bits) > 8
    layout = (bits, image.tag_v2.get(_TIFF_PHOTOMETRIC), image.tag_v2.get(_TIFF_PLANES, 1))
    if is_wide and layout != ((16, 16, 16), 2, 1):
        raise FailedError("unsupported_mode", f"TIFF with {bits} bits a sample that is not plain RGB")
    return _orient("TIFF", image.size, settle_tiff(data), has_wide_colours=is_wide)


def _reader_for(kind: str) -> Callable[[bytes, int | None], ImageHeader]:
    def read(data: bytes, max_pixels: int | None) -> ImageHeader:
        image = open_with_pillow(kind, data)
        _check_frames(image, max_pixels)
        stated = Orientation()
        if kind == "AVIF":
            stated = settle_avif(data, image.info)
        elif kind == "GIF":
            stated = settle_gif(data)
        return _orient(kind, image.size, stated)

    return read


def _check_frames(image: ImageFile.ImageFile, max_pixels: int | None) -> None:
    check_pixels(*image.size, max_pixels)
    if getattr(image, "is_animated", False):
        raise FailedError("multi_frame", f"{image.format} with several frames")


_MOST_PROFILES = 16
_READERS: dict[str, Callable[[bytes, int | None], ImageHeader]] = {
    "JPEG": _read_jpeg,
    "PNG": _read_png,
    "WEBP": _read_webp,
    "TIFF": _read_tiff,
    "GIF": _reader_for("GIF"),
    "BMP": _reader_for("BMP"),
    "AVIF": _reader_for("AVIF"),
}
