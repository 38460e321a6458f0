"""The images of a review as its page shows them: outputs and outputs with planted faces, in random order."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import simplejpeg

from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.formats.release import Release
from anon_batch.imaging.downscale import fit_size, resize
from anon_batch.records import PixelArray
from anon_batch.release.review.draw import Sample
from anon_batch.release.review.outputs import decode_output, read_outputs
from anon_batch.release.review.plants import plant_faces
from anon_batch.release.review.sample import Output
from anon_batch.release.review.seal import Box

MAX_SIDE_PX = 1600
_QUALITY = 92


@dataclass(frozen=True, slots=True)
class Item:
    """One image of the page.

    Args:
        output: what it shows.
        planted: box of the planted face, px of the upright output; None without one.
        jpeg: the pixels as the page shows them, encoded again and without metadata, as base64.
        shown: width and height of these pixels.
    """

    output: Output
    planted: Box | None
    jpeg: str
    shown: tuple[int, int]


def make_items(
    release: Release,
    sample: Sample,
    bank: DonorBank,
    max_side_px: int = MAX_SIDE_PX,
    progress: Callable[[int, int], None] = lambda _done, _all: None,
) -> list[Item]:
    """Read the sampled outputs, plant faces in others, and return all in the order in which they are shown.

    Args:
        release: on storage.
        sample: of the release.
        bank: donors of planted faces.
        max_side_px: longer side above which an image is scaled down.
        progress: receives the number of images made and of all that are planned.

    Raises:
        IntegrityError: an output is missing or damaged.
    """
    whole = len(sample.outputs) + sample.plan.planted
    items = []
    for output, data in read_outputs(release, sample.outputs):
        items.append(_item(output, decode_output(output, data), None, max_side_px))
        progress(len(items), whole)
    for own in plant_faces(release, sample, bank):
        items.append(_item(own.output, own.pixels, own.box, max_side_px))
        progress(len(items), whole)
    items.sort(key=lambda item: (item.output.image_id, item.planted or ()))  # because layouts are read in other orders
    order = np.random.default_rng([sample.settings.seed, 1]).permutation(len(items))
    return [items[index] for index in order]


def _item(output: Output, pixels: PixelArray, planted: Box | None, max_side_px: int) -> Item:
    size = fit_size(output.width, output.height, max_side_px)
    small = np.ascontiguousarray(resize(pixels, size))
    jpeg = simplejpeg.encode_jpeg(small, _QUALITY, colorspace="RGB", colorsubsampling="444")
    return Item(output, planted, base64.b64encode(jpeg).decode(), size)
