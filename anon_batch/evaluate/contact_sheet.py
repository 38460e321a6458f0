"""Faces before and after, side by side, for the eye that no measure replaces. A sheet holds originals: it is private."""

from __future__ import annotations

import heapq
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import cv2
import numpy as np
from PIL import Image, ImageDraw

from anon_batch.records import PixelArray, Region

FACES = 64
CELL_PX = 160
_COLUMNS = 8
_GAP_PX = 4
_HEADER_PX = 18
_MARGIN = 0.25  # of the extent's longer side, on each side: the seam is where fakes show
_LEGIBLE_PX = 32  # extents of smaller faces come on the sheet only when there is room
_PAPER = (255, 255, 255)
_WITHHELD = (160, 160, 160)


@dataclass(frozen=True, slots=True, eq=False)
class FaceStrip:
    """One face: the original and each method's output, cut out alike.

    Args:
        original: (h, w, 3) uint8 RGB, at most `CELL_PX` a side.
        outputs: method -> the same of its output; None where the picture was withheld.
    """

    original: PixelArray
    outputs: Mapping[str, PixelArray | None]


class StripSample:
    """At most `FACES` of the faces that pass by, each as likely as any other of a legible size.

    Args:
        seed: of the draw.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._heap: list[tuple[tuple[bool, float], int, FaceStrip]] = []
        self._count = 0

    def offer(self, original: PixelArray, outputs: Mapping[str, PixelArray | None], regions: Sequence[Region]) -> None:
        """Shows it the faces of a picture.

        Args:
            original: (H, W, 3) uint8 RGB.
            outputs: method -> the treated picture, or None.
            regions: of the picture.
        """
        for region in regions:
            x1, y1, x2, y2 = region.extent
            priority = (max(x2 - x1, y2 - y1) >= _LEGIBLE_PX, float(self._random.random()))
            self._count += 1
            if len(self._heap) == FACES and priority <= self._heap[0][0]:
                continue
            strip = FaceStrip(
                face_cell(original, region),
                {name: None if pixels is None else face_cell(pixels, region) for name, pixels in outputs.items()},
            )
            item = (priority, self._count, strip)
            if len(self._heap) < FACES:
                heapq.heappush(self._heap, item)
            else:
                heapq.heapreplace(self._heap, item)

    def strips(self) -> list[FaceStrip]:
        """The faces, in the order in which they passed."""
        return [strip for _, _, strip in sorted(self._heap, key=lambda item: item[1])]


def face_cell(pixels: PixelArray, region: Region) -> PixelArray:
    """A face with its surroundings, (h, w, 3) uint8, scaled down to at most `CELL_PX` a side."""
    x1, y1, x2, y2 = region.extent
    margin = round(_MARGIN * max(x2 - x1, y2 - y1))
    cut = pixels[max(y1 - margin, 0) : y2 + margin, max(x1 - margin, 0) : x2 + margin]
    scale = CELL_PX / max(cut.shape[:2])
    if scale >= 1:
        return cut.copy()
    size = (max(1, round(cut.shape[1] * scale)), max(1, round(cut.shape[0] * scale)))
    return np.asarray(cv2.resize(cut, size, interpolation=cv2.INTER_AREA), np.uint8)


def draw_sheet(strips: Sequence[FaceStrip], method: str) -> bytes:
    """A JPEG with each face's original and, to its right, its output; a grey cell where the picture was withheld.

    Args:
        strips: at least one.
        method: whose outputs.
    """
    columns = min(_COLUMNS, len(strips))
    rows = -(-len(strips) // columns)
    width, height = 2 * CELL_PX + _GAP_PX, CELL_PX + _GAP_PX
    sheet = Image.new("RGB", (columns * (width + _GAP_PX), _HEADER_PX + rows * height), _PAPER)
    title = f"{method}: original and output, {len(strips)} faces. Holds originals: keep it private."
    ImageDraw.Draw(sheet).text((_GAP_PX, 3), title, fill=(0, 0, 0))
    for index, strip in enumerate(strips):
        left, top = index % columns * (width + _GAP_PX), _HEADER_PX + index // columns * height
        sheet.paste(Image.fromarray(strip.original), (left, top))
        output = strip.outputs[method]
        if output is None:
            output = np.full_like(strip.original, _WITHHELD[0])
        sheet.paste(Image.fromarray(output), (left + CELL_PX, top))
    data = io.BytesIO()
    sheet.save(data, "JPEG", quality=90)
    return data.getvalue()
