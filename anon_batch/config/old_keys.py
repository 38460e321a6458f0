"""Keys of earlier versions, and what the error about each of them says."""

from __future__ import annotations

from collections.abc import Mapping

OLD_KEYS: Mapping[str, str] = {
    "detect.second_look": "is now `detect.refine_small`",
    "detect.min_face_px": "is now `detect.min_side_px`",
    "detect.jpeg_decoder": "was removed, because JPEGs are always decoded on the CPU; delete the key",
}
