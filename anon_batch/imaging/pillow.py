"""Open an image file with the Pillow plug-in of one format, and classify what decoders raise."""

from __future__ import annotations

import io

from PIL import Image, ImageFile, UnidentifiedImageError

from anon_batch.errors import FailedError, RowError, WithheldError
from anon_batch.memory import is_out_of_memory

_TRUNCATED = ("truncated", "premature", "unexpected end", "not enough image data")
_UNKNOWN_MODE = (
    "unknown pixel mode",
    "unsupported bmp",
    "unknown data organization",
    "cannot handle this bit depth",
)


def open_with_pillow(kind: str, data: bytes) -> ImageFile.ImageFile:
    """Return an image whose header is read and whose pixels are not loaded yet.

    Only the plug-in of the format runs, because `Image.open` would try the others and warn of large sizes.

    Args:
        kind: Pillow's name of the format.
        data: the file.

    Raises:
        FailedError: the plug-in rejects the file.
        WithheldError: `out_of_memory`.
    """
    # Pillow's own limit may be lower than the caller's, so only the caller's counts (`check_pixels`).
    Image.MAX_IMAGE_PIXELS = None
    Image.init()
    factory, _ = Image.OPEN[kind]
    try:
        return factory(io.BytesIO(data), "")
    except (SyntaxError, UnidentifiedImageError) as exc:
        raise classify_error(kind, exc) from exc


def classify_error(kind: str, exc: Exception) -> RowError:
    """Return the error for what a decoder raised: `unsupported_mode`, `truncated`, `decode`, or `out_of_memory`."""
    text = f"{kind}: {type(exc).__name__}: {exc}"
    if is_out_of_memory(exc):  # which says nothing of the file
        return WithheldError("out_of_memory", text)
    lower = text.lower()
    if any(word in lower for word in _UNKNOWN_MODE):
        return FailedError("unsupported_mode", text)
    if isinstance(exc, EOFError) or any(word in lower for word in _TRUNCATED):
        return FailedError("truncated", text)
    return FailedError("decode", text)
