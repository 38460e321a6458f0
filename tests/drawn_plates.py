"""A drawn car with a plate that the detector finds: blue with white text, because most plates that it was trained on are."""

from __future__ import annotations

import cv2
import numpy as np

PLATE = (186, 318, 326, 362)  # xyxy, px
TEXT = "B D 4 7 1"


def car_with_plate() -> np.ndarray:
    """Return a grey scene of 512 x 512 px with a dark red car and its plate at PLATE."""
    scene = np.full((512, 512, 3), (120, 125, 130), np.uint8)
    cv2.rectangle(scene, (60, 100), (450, 430), (60, 20, 20), -1)
    cv2.rectangle(scene, (60, 290), (450, 390), (30, 30, 35), -1)
    x1, y1, x2, y2 = PLATE
    cv2.rectangle(scene, (x1, y1), (x2, y2), (30, 60, 170), -1)
    cv2.rectangle(scene, (x1 + 3, y1 + 3), (x2 - 3, y2 - 3), (240, 240, 240), 1)
    (width, height), _ = cv2.getTextSize(TEXT, cv2.FONT_HERSHEY_SIMPLEX, 0.8, 3)
    at = ((x1 + x2 - width) // 2, (y1 + y2 + height) // 2)
    cv2.putText(scene, TEXT, at, cv2.FONT_HERSHEY_SIMPLEX, 0.8, (240, 240, 240), 3, cv2.LINE_AA)
    return scene
