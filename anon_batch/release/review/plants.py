"""Plant synthetic faces in outputs, so that a review measures how many missed faces its reviewer sees."""

from __future__ import annotations

import hashlib
import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from anon_batch.anonymize.faces.donors import MODEL_NAME, DonorBank
from anon_batch.anonymize.faces.plant import MIN_SIZE_PX, Box, plant_face
from anon_batch.formats.release import Release
from anon_batch.models.store import ModelStore
from anon_batch.records import PixelArray
from anon_batch.release.review.draw import Sample
from anon_batch.release.review.outputs import decode_output, read_outputs
from anon_batch.release.review.sample import Output

SMALLEST_PX = 16.0
_LARGEST_PX = (32.0, 160.0)
_SMALLER = 0.7  # of the size, for the next try where no place is free


@dataclass(frozen=True, slots=True, eq=False)
class PlantedOutput:
    """An output with a planted face.

    Args:
        output: what it was made of.
        pixels: (H, W, 3) uint8 RGB.
        box: xyxy of the face, px.
    """

    output: Output
    pixels: PixelArray
    box: Box


def load_bank(store: ModelStore) -> DonorBank:
    """Return the donors.

    Raises:
        ModelError: they are missing or damaged.
    """
    return DonorBank(store.load(MODEL_NAME))


def plant_faces(release: Release, sample: Sample, bank: DonorBank) -> list[PlantedOutput]:
    """Return as many outputs with a planted face as the sample's plan asks for, fewer where too few have a free place.

    They are outputs that the sample does not hold, as far as there are enough; then those of the sample again.

    Raises:
        IntegrityError: an output is missing or damaged.
    """
    wanted, largest = sample.plan.planted, largest_px(sample.outputs)
    planted: list[PlantedOutput] = []
    numbers = itertools.count()
    for outputs in itertools.chain([sample.spare], itertools.repeat([*sample.outputs, *sample.spare])):
        before, at = len(planted), 0
        while len(planted) < wanted and at < len(outputs):
            # Because outputs of one shard file are read together, take as many as are needed at once.
            batch = outputs[at : at + wanted - len(planted)]
            at += len(batch)
            for output, data in read_outputs(release, batch):
                made = _plant(output, decode_output(output, data), _seed(sample, output, next(numbers)), largest, bank)
                planted += [] if made is None else [made]
        if len(planted) >= wanted or (outputs is not sample.spare and len(planted) == before):
            return planted
    return planted


def largest_px(outputs: Sequence[Output]) -> float:
    """Return the largest size of a planted face: the regions' median, because what is missed is mostly smaller."""
    sides = [max(x2 - x1, y2 - y1) for own in outputs for (x1, y1, x2, y2), *_ in own.regions]
    low, high = _LARGEST_PX
    return float(np.clip(np.median(sides), low, high)) if sides else high


def _plant(output: Output, pixels: PixelArray, seed: int, largest: float, bank: DonorBank) -> PlantedOutput | None:
    share = np.random.default_rng(seed).random()
    size_px = math.exp(math.log(SMALLEST_PX) + share * (math.log(largest) - math.log(SMALLEST_PX)))
    taken: list[Box] = [(float(x1), float(y1), float(x2), float(y2)) for (x1, y1, x2, y2), *_ in output.regions]
    while size_px >= MIN_SIZE_PX:
        if (made := plant_face(pixels, seed, size_px, taken, bank=bank)) is not None:
            return PlantedOutput(output, made.pixels, made.box)
        size_px *= _SMALLER
    return None


def _seed(sample: Sample, output: Output, number: int) -> int:
    text = f"{sample.settings.seed}\0{number}\0{output.image_id}".encode("utf-8", "surrogatepass")
    return int.from_bytes(hashlib.blake2b(text, digest_size=8, person=b"plant").digest(), "big")
