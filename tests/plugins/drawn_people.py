"""People who are drawn: a detector plug-in finds them by their frames, a drawn recogniser tells apart their patterns."""

from __future__ import annotations

import io
import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from anon_batch.recognition.embedder import CROP_PX, TEMPLATE
from anon_batch.records import Detections, Preview

FRAME = (255, 0, 255)
PAUSE_S = "DRAWN_PEOPLE_PAUSE_S"  # variable: seconds that an image takes
CRASH = (250, 0, 250)  # colour of the first pixel of an image that ends its process
Scene = Sequence[tuple[int, int]]  # number of the person and side of the face, px


class DrawnPeople:
    name = "drawn_people"
    models: tuple[str, ...] = ()
    labels: tuple[str, ...] = ("face",)

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        return [self._detect(image) for image in images]

    def _detect(self, image: Preview) -> Detections:
        time.sleep(float(os.environ.get(PAUSE_S, "0")))
        if tuple(image.pixels[0, 0].tolist()) == CRASH:
            os.kill(os.getpid(), signal.SIGSEGV)
        frames = (image.pixels == np.array(FRAME, np.uint8)).all(axis=2).astype(np.uint8)
        _, _, stats, _ = cv2.connectedComponentsWithStats(frames)
        corners = [(x + 1, y + 1, x + w - 1, y + h - 1) for x, y, w, h, _ in sorted(stats[1:].tolist())]
        boxes = np.array(corners, np.float32).reshape(-1, 4)
        sides = boxes[:, 2:] - boxes[:, :2]
        places = boxes[:, None, :2] + np.asarray(TEMPLATE / CROP_PX, np.float32) * sides[:, None]
        n = len(boxes)
        return Detections(boxes, np.full(n, 0.9, np.float32), np.asarray(places, np.float32), (self.name,) * n)


def make(*_: Any) -> DrawnPeople:
    return DrawnPeople()


def draw(scene: Scene, number: int, crash: bool = False) -> bytes:
    """Return a PNG with people side by side; `number` of the image is the seed of its noise."""
    width = 4 + sum(side + 6 for _, side in scene)
    noise = np.random.default_rng(number)
    pixels = np.full((max((side for _, side in scene), default=20) + 8, width, 3), 90, np.uint8)
    at = 4
    for person, side in scene:
        pattern = np.random.default_rng(1000 + person).integers(0, 200, (8, 8, 3)).astype(np.uint8)
        face = cv2.resize(pattern, (side, side), interpolation=cv2.INTER_LINEAR).astype(np.int64)
        face += noise.integers(-12, 13, face.shape)
        pixels[3 : side + 5, at - 1 : at + side + 1] = FRAME
        pixels[4 : side + 4, at : at + side] = np.clip(face, 0, 254)
        at += side + 6
    if crash:
        pixels[0, 0] = CRASH
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def write_people(folder: Path, scenes: Sequence[Scene], crashes: Sequence[int] = (), **columns: pa.Array) -> Path:
    """Write a manifest m.parquet with an image for each scene; return the folder."""
    (folder / "src").mkdir(parents=True)
    ids = [f"{number:03d}.png" for number in range(len(scenes))]
    for number, scene in enumerate(scenes):
        (folder / "src" / ids[number]).write_bytes(draw(scene, number, number in crashes))
    uris = [str(folder / "src" / image_id) for image_id in ids]
    pq.write_table(pa.table({"image_id": ids, "uri": uris, **columns}), folder / "m.parquet")
    return folder


def crowd(images: int, faces: int = 4, first: int = 500) -> list[Scene]:
    """Return scenes of people who are in one image each: how alike different people look is measured on them."""
    return [[(first + number * faces + at, 40) for at in range(faces)] for number in range(images)]
