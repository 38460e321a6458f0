"""Contact sheets: faces before and after, side by side, for review by eye. A sheet contains originals: keep it private."""

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
_MARGIN = 0.25  # of the mask's longer side, on each side, because artefacts show at the seam
_LEGIBLE_PX = 32  # smaller faces are shown only if there is room
_BACKGROUND = (255, 255, 255)
_WITHHELD = (160, 160, 160)


@dataclass(frozen=True, slots=True, eq=False)
class FaceComparison:
    """One face: equal crops of the original and of each method's output.

    Args:
        original: (h, w, 3) uint8 RGB, at most `CELL_PX` a side.
        outputs: method -> the same of its output; None if the image is withheld.
    """

    original: PixelArray
    outputs: Mapping[str, PixelArray | None]


class FaceSample:
    """A uniform random sample of at most `FACES` faces, legible ones first.

    Args:
        seed: of the sample.
    """

    def __init__(self, seed: int) -> None:
        self._random = np.random.default_rng(seed)
        self._heap: list[tuple[tuple[bool, float], int, FaceComparison]] = []
        self._count = 0

    def offer(self, original: PixelArray, outputs: Mapping[str, PixelArray | None], regions: Sequence[Region]) -> None:
        """Add the faces of an image to the population.

        Args:
            original: (H, W, 3) uint8 RGB.
            outputs: method -> the anonymized image, or None.
            regions: of the image.
        """
        for region in regions:
            x1, y1, x2, y2 = region.mask_extent
            priority = (max(x2 - x1, y2 - y1) >= _LEGIBLE_PX, float(self._random.random()))
            self._count += 1
            if len(self._heap) == FACES and priority <= self._heap[0][0]:
                continue
            face = FaceComparison(
                crop_face(original, region),
                {name: None if pixels is None else crop_face(pixels, region) for name, pixels in outputs.items()},
            )
            item = (priority, self._count, face)
            if len(self._heap) < FACES:
                heapq.heappush(self._heap, item)
            else:
                heapq.heapreplace(self._heap, item)

    def faces(self) -> list[FaceComparison]:
        """Return the sampled faces in the order in which they were offered."""
        return [face for _, _, face in sorted(self._heap, key=lambda item: item[1])]


def crop_face(pixels: PixelArray, region: Region) -> PixelArray:
    """Crop a face with its context, (h, w, 3) uint8, downscaled to at most `CELL_PX` a side."""
    x1, y1, x2, y2 = region.mask_extent
    margin = round(_MARGIN * max(x2 - x1, y2 - y1))
    crop = pixels[max(y1 - margin, 0) : y2 + margin, max(x1 - margin, 0) : x2 + margin]
    scale = CELL_PX / max(crop.shape[:2])
    if scale >= 1:
        return crop.copy()
    size = (max(1, round(crop.shape[1] * scale)), max(1, round(crop.shape[0] * scale)))
    return np.asarray(cv2.resize(crop, size, interpolation=cv2.INTER_AREA), np.uint8)


def draw_sheet(faces: Sequence[FaceComparison], method: str) -> bytes:
    """Draw a JPEG with each face's original and, to its right, its output; a grey cell if the image is withheld.

    Args:
        faces: at least one.
        method: whose outputs.
    """
    columns = min(_COLUMNS, len(faces))
    rows = -(-len(faces) // columns)
    width, height = 2 * CELL_PX + _GAP_PX, CELL_PX + _GAP_PX
    sheet = Image.new("RGB", (columns * (width + _GAP_PX), _HEADER_PX + rows * height), _BACKGROUND)
    title = f"{method}: original and output, {len(faces)} faces. Contains originals: keep it private."
    ImageDraw.Draw(sheet).text((_GAP_PX, 3), title, fill=(0, 0, 0))
    for index, face in enumerate(faces):
        left, top = index % columns * (width + _GAP_PX), _HEADER_PX + index // columns * height
        sheet.paste(Image.fromarray(face.original), (left, top))
        output = face.outputs[method]
        if output is None:
            output = np.full_like(face.original, _WITHHELD[0])
        sheet.paste(Image.fromarray(output), (left + CELL_PX, top))
    data = io.BytesIO()
    sheet.save(data, "JPEG", quality=90)
    return data.getvalue()
