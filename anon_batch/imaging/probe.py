"""How large a picture is, from its header."""

from __future__ import annotations

import io

from PIL import Image

from anon_batch.imaging.sniff import sniff


def pixel_count(data: bytes) -> int:
    """Width times height as the header says; 0 for anything that decoding will refuse, with a reason, later.

    For sizing queues only: it checks no limit.
    """
    Image.init()
    try:
        factory, _ = Image.OPEN[sniff(data)]
        width, height = factory(io.BytesIO(data), "").size
    except Exception:  # a broken header raises whatever it likes
        return 0
    return int(width * height)
