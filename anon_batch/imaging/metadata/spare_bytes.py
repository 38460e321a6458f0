"""Find bytes inside a WebP's coded image that no pixel needs: rows below a lowered height, or anything behind the data."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from anon_batch.errors import RowError
from anon_batch.imaging.metadata.strip import join_webp, webp_chunks
from anon_batch.imaging.pillow import classify_error, open_with_pillow

# Bytes that are cut off to see whether a pixel changes. Encoders leave 2 at most.
_CUT = 16
_LOSSY_HEADER = 10  # bytes of a VP8 chunk before its first partition: frame tag, start code, size
_MOST_FIRST = 1 << 19  # bytes of a first partition


def has_spare_bytes(data: bytes) -> bool:
    """Return whether the pixels of a WebP stay the same when a chunk of its image, or a lossy one's first partition, is cut.

    Bytes behind one of several inner partitions of coefficients are not noticed.

    Args:
        data: a WebP of one image.

    Raises:
        RowError: the file itself does not decode.
    """
    parts = dict(webp_chunks(data))
    whole = _pixels(join_webp(parts))
    for name in parts.keys() & {b"VP8 ", b"VP8L", b"ALPH"}:
        for shorter in _shortened(name, parts[name]):
            try:
                cut = _pixels(join_webp({**parts, name: shorter}))
            except RowError:
                continue  # the bytes are needed
            if np.array_equal(cut, whole):
                return True
    return False


def _shortened(name: bytes, body: bytes) -> list[bytes]:
    """Return an image's chunk without the last bytes of its data, and of the first partition of a lossy one."""
    shorter = [body[:-_CUT]] if len(body) > 2 * _CUT else []
    if name == b"VP8 ":
        tag = int.from_bytes(body[:3], "little")
        size, stop = tag >> 5, _LOSSY_HEADER + (tag >> 5)
        if _CUT < size < _MOST_FIRST and stop <= len(body):
            less = (tag & 0x1F) | (size - _CUT) << 5
            shorter.append(less.to_bytes(3, "little") + body[3 : stop - _CUT] + body[stop:])
    return shorter


def _pixels(data: bytes) -> npt.NDArray[np.uint8]:
    try:
        return np.asarray(open_with_pillow("WEBP", data))
    except RowError:
        raise
    except Exception as exc:
        raise classify_error("WEBP", exc) from exc
