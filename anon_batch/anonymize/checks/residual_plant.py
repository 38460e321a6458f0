"""Measure how much a search finds, with planted faces on copies that nobody publishes.

Only a count leaves this module: the copy is searched and dropped.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence

import numpy as np

from anon_batch import keys
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.plant import Box, plant_face
from anon_batch.geometry import pairwise_iou
from anon_batch.records import Detections, PixelArray, Region

BANDS = ((12, 24), (24, 48), (48, 96))  # px of the planted face's longer side
_FOUND_IOU = 0.3
_STREAM = 1 << 66  # added to the seed, so that the draws here share no random numbers with the face's


def is_chosen(seed: int, share: float) -> bool:
    """Return whether a face is planted on a copy of this image."""
    return bool(keys.generator(seed + _STREAM).random() < share)


def measure_recall(
    pixels: PixelArray,
    seed: int,
    bank: DonorBank,
    regions: Sequence[Region],
    others: Iterable[Box],
    look: Callable[[PixelArray], Detections],
) -> Mapping[str, int]:
    """Plant one face on a copy of the image and search it; return `planted_<band>` and `planted_found_<band>`.

    Nothing is counted where no place is free.

    Args:
        pixels: (H, W, 3) uint8, the output; not changed.
        seed: of the image and check.
        bank: donors of the planted faces.
        regions: what was anonymized; nothing is planted there.
        others: further boxes, px, that must stay free: what else was found, and what the manifest names.
        look: searches pixels.
    """
    rng = keys.generator(seed + 2 * _STREAM)
    low, high = BANDS[int(rng.integers(len(BANDS)))]
    size_px = float(low * (high / low) ** rng.random())
    taken = [tuple(map(float, region.extent)) for region in regions]
    planted = plant_face(pixels, seed, size_px, [*taken, *others], bank=bank)  # type: ignore[list-item]
    if planted is None:
        return {}
    found = look(planted.pixels)
    overlaps = pairwise_iou(found.boxes, np.array([planted.box], np.float32))
    band = f"{low}_{high}"
    return {f"planted_{band}": 1, f"planted_found_{band}": int((overlaps >= _FOUND_IOU).any())}
