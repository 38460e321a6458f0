"""Small images, a fake detector and an Anonymizer that uses it."""

from __future__ import annotations

import io
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from PIL import Image

from anon_batch import Anonymizer
from anon_batch.anonymize.protocol import CheckedImage, ImageCheck
from anon_batch.records import Detections, PixelArray, Region, read_only

BOXES = np.array([[4, 4, 12, 12], [14, 6, 20, 14]], np.float32)
KEY = b"k" * 32


def noise(seed: int = 0, height: int = 20, width: int = 24) -> PixelArray:
    return np.random.default_rng(seed).integers(0, 200, (height, width, 3), dtype=np.uint8)


def file_of(pixels: PixelArray, kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind)
    return buffer.getvalue()


def pixels_of(data: bytes) -> PixelArray:
    return np.asarray(Image.open(io.BytesIO(data)).convert("RGB"))


class Detector:
    """Finds two faces in every image. `change` alters the answers; images called `bad` raise."""

    name = "fake"
    models: tuple[str, ...] = ()
    labels: tuple[str, ...] = ("face",)

    def __init__(self, change: Callable[[list[Any]], Any] = lambda answers: answers, boxes: Any = BOXES) -> None:
        self.change = change
        self.boxes = boxes

    def detect(self, images: Sequence[Any], ground_truth: Any = None) -> Any:
        if any(image.image_id == "bad" for image in images):
            raise RuntimeError("broke \udcff on it")
        n = len(self.boxes)
        marks = np.full((n, 5, 2), np.nan, np.float32)
        return self.change([Detections(self.boxes, np.ones(n, np.float32), marks, ("fake",) * n) for _ in images])


def checked_image(pixels: PixelArray, regions: Sequence[Region] = (), **more: Any) -> CheckedImage:
    """Return an image as an ImageCheck sees it."""
    height, width = pixels.shape[:2]
    fields = {"ground_truth": None, "seed": 1, "look": 0, "is_last": False, **more}
    return CheckedImage("0", width, height, regions, view=lambda: read_only(pixels), **fields)


def anonymizer(detector: Any = None, policy: Any = "solid", checks: Sequence[ImageCheck] = ()) -> Anonymizer:
    made = Anonymizer("manifest", policy, key=KEY)
    made.detector = detector or Detector()
    made.image_checks = tuple(checks)
    return made
