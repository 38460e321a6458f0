"""Upright pixels to bytes, in the picture's own format and with nothing else in the file.

What stays as it was: a JPEG, PNG or WebP without a face is only stripped; a treated JPEG keeps every DCT
block that no treatment touched. A JPEG that is stripped or spliced stays in its stored orientation, with the
orientation as its only EXIF tag; whatever is encoded anew stands upright and has none.
"""

from __future__ import annotations

from anon_batch.config import WriteConfig
from anon_batch.errors import WithheldError
from anon_batch.imaging.alpha import hides_colours, without_hidden_colours
from anon_batch.imaging.decode import palette_in
from anon_batch.imaging.jpeg.coefficients import SpliceError
from anon_batch.imaging.jpeg.splice import splice
from anon_batch.imaging.merge_pixels import merge_native
from anon_batch.imaging.metadata.strip import inspect, strip
from anon_batch.imaging.modes import Samples, pixels_of
from anon_batch.imaging.writers import Picture, is_lossless_webp, write_picture
from anon_batch.records import AnonymizedImage, DecodedImage, EncodedImage

_STRIPPED = frozenset({"JPEG", "PNG", "WEBP"})
_WITH_QUALITY = frozenset({"JPEG", "WEBP"})


def encode_clean(decoded: DecodedImage, write: WriteConfig) -> EncodedImage:
    """A picture in which no face was found.

    Args:
        decoded: from `decode`, with its source.
        write: `format` and `quality`; a quality leaves lossless files alone.

    Raises:
        WithheldError: `encode`, or `metadata` when `inspect` finds something in the result.
    """
    if (kept := keep_clean(decoded, write)) is not None:
        return kept
    target = _target(decoded, write)
    native = decoded.pixels if decoded.native is None else decoded.native
    try:
        data = _write(decoded, native, target, write)
    except Exception as exc:
        raise WithheldError("encode", f"{target}: {type(exc).__name__}: {exc}") from exc
    return _checked(decoded, data, target)


def keep_clean(decoded: DecodedImage, write: WriteConfig) -> EncodedImage | None:
    """The source file, stripped, where that is all that `encode_clean` does; None where samples must be written anew. A
    reduced picture will do, if `decode` would give no `native` for it.

    Raises:
        WithheldError: `encode`.
    """
    target = _target(decoded, write)
    try:
        if not _may_strip(decoded, target, write):
            return None
        data = strip(decoded.source, target)
        return None if inspect(data) else EncodedImage(data, target, *decoded.whole_size)
    except Exception as exc:
        raise WithheldError("encode", f"{target}: {type(exc).__name__}: {exc}") from exc


def encode_anonymized(decoded: DecodedImage, anonymized: AnonymizedImage, write: WriteConfig) -> EncodedImage:
    """A picture with treated regions; a whole one.

    Args:
        decoded: from `decode`, with its source.
        anonymized: of the same size; only its `touched` pixels are used.
        write: `format` and `quality`.

    Raises:
        WithheldError: `encode`, or `metadata` when `inspect` finds something in the result.
    """
    target = _target(decoded, write)
    if anonymized.pixels.shape != decoded.pixels.shape:
        raise WithheldError("encode", f"treated {anonymized.pixels.shape}, decoded {decoded.pixels.shape}")
    try:
        keeps_blocks = target == decoded.format == "JPEG" and write.quality == "keep"
        data = _spliced(decoded, anonymized) if keeps_blocks else None
        if data is None:
            data = _write(decoded, merge_native(decoded, anonymized), target, write)
    except Exception as exc:
        raise WithheldError("encode", f"{target}: {type(exc).__name__}: {exc}") from exc
    return _checked(decoded, data, target)


def _target(decoded: DecodedImage, write: WriteConfig) -> str:
    return decoded.format if write.format == "keep" else write.format.upper()


def _may_strip(decoded: DecodedImage, target: str, write: WriteConfig) -> bool:
    if target != decoded.format or target not in _STRIPPED:
        return False
    lossy = target in _WITH_QUALITY and not is_lossless_webp(decoded.source)
    if lossy and write.quality != "keep":
        return False
    if decoded.native is None:
        return True
    palette = palette_in(decoded.source) if decoded.native_mode == "P" else None
    return not hides_colours(decoded.native, decoded.native_mode, palette)


def _check_whole(decoded: DecodedImage) -> None:
    if decoded.reduced_from is not None:
        raise ValueError(f"{decoded.width}x{decoded.height} px of {decoded.reduced_from} cannot be written")


def _spliced(decoded: DecodedImage, anonymized: AnonymizedImage) -> bytes | None:
    _check_whole(decoded)
    try:
        return splice(decoded, anonymized)
    except SpliceError:
        return None


def _write(decoded: DecodedImage, native: Samples, target: str, write: WriteConfig) -> bytes:
    _check_whole(decoded)
    palette = palette_in(decoded.source) if decoded.native_mode == "P" else None
    shown = without_hidden_colours(native, decoded.native_mode, palette)
    pixels = pixels_of(shown, decoded.native_mode, palette)
    return write_picture(Picture(shown, decoded.native_mode, pixels, palette, decoded), target, write.quality)


def _checked(decoded: DecodedImage, data: bytes, target: str) -> EncodedImage:
    if found := inspect(data):
        raise WithheldError("metadata", "; ".join(found))
    return EncodedImage(data, target, decoded.width, decoded.height)
