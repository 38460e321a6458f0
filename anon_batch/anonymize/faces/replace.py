"""What `swap` and `gan` share: from a region to a donor in its surroundings, and back into the picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from anon_batch import keys
from anon_batch.anonymize.compose import Extent, longer_side_px, paint, union_of_masks
from anon_batch.anonymize.faces.align import CROP_SIDE, Crop, Frame, extract, frame_of, paste
from anon_batch.anonymize.faces.blend import Composite, compose
from anon_batch.anonymize.faces.donors import Choice, DonorBank
from anon_batch.records import AnonymizedImage, DecodedImage, FloatArray, PixelArray, Region

LARGE_SIDE = 2 * CROP_SIDE  # of a crop whose face is large in its picture
_LARGE_FROM = 1.25 * CROP_SIDE  # px of the picture that a crop spans
_MIN_KNOWN_SHARE = 0.01  # of a crop, else nothing tells what belongs there
# How much of a new face there is over its surroundings' rebuilt colours, by the score with which the old one was found: such
# that the default detector, looking once, finds the new one with about that score: `python -m tools.calibrate_opacity`.
_SCORES = (0.2, 0.4, 0.6, 0.7, 0.8)
_OPACITIES = (0.16, 0.28, 0.36, 0.45, 1.0)
_SOLID_PX = (
    48.0,
    96.0,
)  # longer side of the expanded box over which opacity rises to 1: a large faint face looks like a ghost
_MAX_SPAN = 16.0  # crop's side in units of the picture's longer side: beyond, the box is none of a face


@dataclass(frozen=True, slots=True)
class Limits:
    """Which faces are replaced; the next method gets the others.

    Args:
        side_px: least longer side of the expanded box.
        score: least score of the detection.
    """

    side_px: float = 0.0
    score: float = 0.0

    def refusal(self, region: Region) -> str:
        """Why a region is not replaced; empty where it is."""
        if longer_side_px(region) < self.side_px:
            return f"smaller than {self.side_px:g} px"
        if region.score < self.score:
            return f"found with a score below {self.score:g}"
        return ""


@dataclass(frozen=True, slots=True, eq=False)
class Replacement:
    """A face that is to be replaced.

    Args:
        region: which.
        frame: of its crop.
        crop: its surroundings.
        choice: its donor.
        composite: the donor in the surroundings.
        seed: of the face.
    """

    region: Region
    frame: Frame
    crop: Crop
    choice: Choice
    composite: Composite
    seed: int


def replacements(
    image: DecodedImage, regions: Sequence[Region], bank: DonorBank, run_key: bytes, limits: Limits
) -> tuple[list[Replacement], dict[int, str]]:
    """Replacements of the picture's regions, and of the others face index -> why there is none.

    The pixels under all masks are erased before anything else looks at the picture.

    Args:
        image: the picture.
        regions: all that are to be treated.
        bank: donors.
        run_key: the run's secret.
        limits: which regions are replaced.
    """
    unknown = union_of_masks(regions, image.width, image.height)
    erased = np.where(unknown[:, :, None], np.uint8(0), image.pixels)
    made: list[Replacement] = []
    refused: dict[int, str] = {}
    for region in regions:
        frame = frame_of(region)
        if refusal := limits.refusal(region):
            refused[region.index] = refusal
            continue
        if not np.isfinite(frame.to_crop).all() or frame.side_px > _MAX_SPAN * max(image.width, image.height):
            refused[region.index] = "the box is far larger than the picture"
            continue
        crop = extract(erased, unknown, frame, LARGE_SIDE if frame.side_px > _LARGE_FROM else CROP_SIDE)
        if 1 - crop.unknown.mean() < _MIN_KNOWN_SHARE:
            refused[region.index] = "too little of the picture lies around it"
            continue
        seed = keys.face_seed(run_key, image.image_id, region.index)
        choice = bank.choose(crop, seed)
        made.append(Replacement(region, frame, crop, choice, compose(crop, choice), seed))
    return made, refused


def painted(
    image: DecodedImage,
    faces: Sequence[tuple[Replacement, FloatArray]],
    refused: Mapping[int, str],
    soft_edge: float,
    name: str,
) -> AnonymizedImage:
    """The picture with new faces, each as plain as the old one was found: see `opacity_of`.

    Where masks overlap the higher score wins: a doubtful detection does not hide a certain one, and no order brings
    anything of the original back.

    Args:
        image: left as it is.
        faces: with the pixels of each crop, (side, side, 3) float32 0 .. 255.
        refused: faces that are left, and why.
        soft_edge: width of the blend outside the masks, as a share of a region's longer side.
        name: of the method.
    """
    by_index = {face.region.index: (face.frame, _faint(face, pixels)) for face, pixels in faces}

    def treat(region: Region, extent: Extent) -> PixelArray:
        frame, pixels = by_index[region.index]
        return paste(pixels, frame, extent)

    regions = [face.region for face, _ in faces]
    return paint(image, regions, soft_edge, name, treat, refused=refused, rank=lambda region: region.score)


def opacity_of(region: Region) -> float:
    """Share of the new face, 0 .. 1, over the colours rebuilt from its surroundings.

    A face that was hardly to be seen, or none at all, does not become a plain one: that would put a person where nobody was, and
    a detector trained or measured on the release would find faces that its labels do not have. Large ones are painted whole.
    """
    by_score = float(np.interp(region.score, _SCORES, _OPACITIES))
    large = float(np.interp(longer_side_px(region), _SOLID_PX, (0.0, 1.0)))
    return by_score + (1 - by_score) * large


def _faint(face: Replacement, pixels: FloatArray) -> FloatArray:
    opacity = np.float32(opacity_of(face.region))
    return pixels if opacity == 1 else face.crop.pixels + (pixels - face.crop.pixels) * opacity
