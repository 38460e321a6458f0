"""A drawn name tag that the detector of text finds."""

from __future__ import annotations

import cv2
import numpy as np

TEXT = (160, 316, 337, 346)  # xyxy, px


def name_tag(words: str = "Jane Sample") -> np.ndarray:
    """Return a light scene of 512 x 512 px with dark words at TEXT."""
    scene = np.full((512, 512, 3), 200, np.uint8)
    cv2.putText(scene, words, (160, 340), cv2.FONT_HERSHEY_SIMPLEX, 1.0, (20, 20, 20), 2, cv2.LINE_AA)
    return scene
