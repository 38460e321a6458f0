"""Keys of earlier versions, and what the error about each of them says."""

from __future__ import annotations

from collections.abc import Mapping

OLD_KEYS: Mapping[str, str] = {
    "anonymize.method": "is now `anonymize.face.method`",
    "anonymize.fallback": "is now `anonymize.face.fallback`",
    "anonymize.expansion": "is now `anonymize.face.expansion`",
    "anonymize.shape": "is now `anonymize.face.shape`",
    "anonymize.soft_edge": "is now `anonymize.face.soft_edge`",
    "anonymize.min_replaced_score": "is now `anonymize.face.min_score`",
    "anonymize.min_generated_px": "is now `anonymize.options.gan.min_side_px`",
    "anonymize.color": "is now `anonymize.options.solid.color`",
    "anonymize.cells": "is now `anonymize.options.pixelate.cells`",
    "anonymize.blur_sigma": "is now `anonymize.options.blur.sigma`",
    "detect.second_look": "is now `detect.refine_small`",  # words: allow
    "detect.min_face_px": "is now `detect.min_side_px`",
    "detect.jpeg_decoder": "was removed, because JPEGs are always decoded on the CPU; delete the key",
}
