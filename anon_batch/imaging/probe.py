"""How large a picture is, from its header."""

from __future__ import annotations

import io

from PIL import Image

from anon_batch.imaging.jpeg.markers import SOF, segments
from anon_batch.imaging.sniff import sniff


def pixel_count(data: bytes) -> int:
    """Width times height as the header says; 0 for anything that decoding will refuse, with a reason, later.

    For sizing queues only: it checks no limit.
    """
    Image.init()
    try:
        kind = sniff(data)
        if kind == "JPEG":
            return _jpeg_pixel_count(data)
        factory, _ = Image.OPEN[kind]
        width, height = factory(io.BytesIO(data), "").size
    except Exception:  # a broken header raises whatever it likes
        return 0
    return int(width * height)


def _jpeg_pixel_count(data: bytes) -> int:
    """Of the first frame header: a fifth of what Pillow takes, which reads all segments before the scan."""
    start = next(start for marker, start, _ in segments(data) if marker in SOF)
    return int.from_bytes(data[start + 5 : start + 7], "big") * int.from_bytes(data[start + 7 : start + 9], "big")
