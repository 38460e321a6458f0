"""Encode upright pixels in the image's own format, with nothing else in the file.

A JPEG, PNG or WebP without a detection is only stripped of its metadata. An anonymized JPEG keeps every DCT block that
no method touched. A JPEG that is stripped or spliced keeps its stored orientation, with the orientation as its only EXIF
tag; every other output stands upright and has no EXIF block. So does a JPEG whose orientation readers take differently.
An image with generated content may get one mark that says so.
"""

from __future__ import annotations

from anon_batch.errors import WithheldError
from anon_batch.imaging.alpha import erase_hidden_colours, has_hidden_colours
from anon_batch.imaging.jpeg.coefficients import SpliceError
from anon_batch.imaging.jpeg.splice import splice
from anon_batch.imaging.merge_pixels import merge_native
from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.metadata.mark import add_mark
from anon_batch.imaging.metadata.spare_bytes import has_spare_bytes
from anon_batch.imaging.metadata.strip import strip
from anon_batch.imaging.modes import Raster, Samples, to_rgb
from anon_batch.imaging.source import SourceImage
from anon_batch.imaging.writers import Quality, is_lossless_webp, write_image
from anon_batch.records import AnonymizedImage, DecodedImage, EncodedImage

_STRIPPED = frozenset({"JPEG", "PNG", "WEBP"})
_WITH_QUALITY = frozenset({"JPEG", "WEBP"})


def encode_clean(source: SourceImage, format: str = "keep", quality: Quality = "keep") -> EncodedImage:  # noqa: A002  Pillow's word
    """Encode an image in which nothing was found.

    Its pixels are decoded first if nobody has done so, because a damaged file must not be published.

    Args:
        source: the image.
        format: `keep`, or `jpeg`, `png`, `webp`.
        quality: `keep`, or 1 to 100. A quality does not change lossless files.

    Raises:
        FailedError: the file cannot be decoded.
        WithheldError: `encode`, or `metadata` when `inspect` finds something in the result.
    """
    target = _choose_format(source.format, format)
    if (stripped := _try_strip(source, target, quality)) is not None:
        return EncodedImage(stripped, target, source.width, source.height)
    decoded = source.decode()
    try:
        data = _write(decoded, decoded.pixels if decoded.native is None else decoded.native, target, quality)
    except Exception as exc:
        raise WithheldError("encode", f"{target}: {type(exc).__name__}: {exc}") from exc
    return _check(decoded, data, target)


def encode_anonymized(
    decoded: DecodedImage,
    anonymized: AnonymizedImage,
    format: str = "keep",  # noqa: A002  Pillow's word
    quality: Quality = "keep",
    *,
    marked: bool = False,
) -> EncodedImage:
    """Encode an image with anonymized regions.

    Args:
        decoded: the source.
        anonymized: of the same size; only its `touched` pixels are used.
        format: as for `encode_clean`.
        quality: as for `encode_clean`.
        marked: whether the file gets the mark of generated content, where its format can hold one.

    Raises:
        WithheldError: `encode`, or `metadata` when `inspect` finds something in the result.
    """
    target = _choose_format(decoded.format, format)
    if anonymized.pixels.shape != decoded.pixels.shape:
        raise WithheldError("encode", f"anonymized {anonymized.pixels.shape}, decoded {decoded.pixels.shape}")
    try:
        keeps_blocks = target == decoded.format == "JPEG" and quality == "keep" and not _is_ambiguous(decoded)
        data = _try_splice(decoded, anonymized) if keeps_blocks else None
        if data is None:
            data = _write(decoded, merge_native(decoded, anonymized), target, quality, marked=marked)
        elif marked:
            data = add_mark(data, target)
    except Exception as exc:
        raise WithheldError("encode", f"{target}: {type(exc).__name__}: {exc}") from exc
    return _check(decoded, data, target, marked=marked)


def _choose_format(own: str, wanted: str) -> str:
    return own if wanted == "keep" else wanted.upper()


def _try_strip(source: SourceImage, target: str, quality: Quality) -> bytes | None:
    """Return the file without metadata; None where its samples must be encoded again."""
    data = source.publishable_data()
    if not data or target != source.format or target not in _STRIPPED:
        return None
    if source.orientation != 1 and (target != "JPEG" or source.others):  # written upright instead
        return None
    decoded = None if target == "JPEG" else source.decode()  # because only PNG and WebP can hide colours
    try:
        if not _may_strip(data, target, quality, decoded):
            return None
        stripped = strip(data, target)
        is_spare = target == "WEBP" and has_spare_bytes(stripped)
        return None if is_spare or inspect(stripped) else stripped
    except Exception as exc:
        raise WithheldError("encode", f"{target}: {type(exc).__name__}: {exc}") from exc


def _may_strip(data: bytes, kind: str, quality: Quality, decoded: DecodedImage | None) -> bool:
    is_lossy = kind in _WITH_QUALITY and not is_lossless_webp(data)
    if is_lossy and quality != "keep":
        return False
    if decoded is None or decoded.native is None:
        return True
    return not has_hidden_colours(decoded.native, decoded.native_mode, decoded.palette)


def _is_ambiguous(decoded: DecodedImage) -> bool:
    return decoded.orientation != 1 and bool(decoded.others)


def _try_splice(decoded: DecodedImage, anonymized: AnonymizedImage) -> bytes | None:
    """Return the spliced JPEG; None for one that must be encoded as a whole."""
    try:
        return splice(decoded, anonymized)
    except SpliceError:
        return None


def _write(decoded: DecodedImage, native: Samples, target: str, quality: Quality, *, marked: bool = False) -> bytes:
    visible = erase_hidden_colours(native, decoded.native_mode, decoded.palette)
    pixels = to_rgb(visible, decoded.native_mode, decoded.palette)
    raster = Raster(pixels, visible, decoded.native_mode, decoded.palette)
    return write_image(raster, decoded, target, quality, marked=marked)


def _check(decoded: DecodedImage, data: bytes, target: str, *, marked: bool = False) -> EncodedImage:
    if found := inspect(data, marked=marked):
        raise WithheldError("metadata", "; ".join(found))
    return EncodedImage(data, target, decoded.width, decoded.height)
