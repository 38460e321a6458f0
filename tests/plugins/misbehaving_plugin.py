"""A detector plug-in whose process does what the top left pixel of an image says; otherwise it finds one face."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from typing import Any

import numpy as np

from anon_batch.records import Detections, Preview

CRASH, HANG, RAISE, SLOW, STARVE = (250, 0, 250), (0, 250, 250), (250, 250, 0), (0, 0, 250), (0, 250, 0)
HOLD = "MISBEHAVING_HOLD"  # variable: while the file that it names exists, slow images wait


class MisbehavingDetector:
    name = "misbehaving"
    models: tuple[str, ...] = ()
    labels: tuple[str, ...] = ("face",)

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        return [self._detect(image) for image in images]

    def _detect(self, image: Preview) -> Detections:
        command = tuple(int(v) for v in image.pixels[0, 0])
        if command == CRASH:
            os.kill(os.getpid(), signal.SIGSEGV)
        if command == HANG:
            time.sleep(3600)
        if command == RAISE:
            raise RuntimeError("the detector broke on this image")
        if command == STARVE:
            raise MemoryError
        if command == SLOW:
            time.sleep(0.05)
            while os.path.exists(os.environ.get(HOLD, "")):
                time.sleep(0.02)
        box = np.array([[8, 8, 24, 24]], np.float32)
        return Detections(box, np.ones(1, np.float32), np.full((1, 5, 2), np.nan, np.float32), ("misbehaving",))


def make(*_: Any) -> MisbehavingDetector:
    return MisbehavingDetector()
