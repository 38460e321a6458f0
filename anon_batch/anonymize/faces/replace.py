"""What `swap` and `gan` share: from a target to a donor in its surroundings, and from a crop to a patch.

Both see targets whose masks are erased already.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anon_batch.anonymize.faces.align import CROP_SIDE, Crop, Frame, extract, frame_of, paste
from anon_batch.anonymize.faces.blend import Composite, blend_donor
from anon_batch.anonymize.faces.donors import DonorBank, DonorChoice
from anon_batch.anonymize.protocol import Patch, Refusal, Target
from anon_batch.geometry import longer_side_px
from anon_batch.records import FloatArray, Region

LARGE_SIDE = 2 * CROP_SIDE  # of a crop whose face is large in its image
_LARGE_FROM = 1.25 * CROP_SIDE  # px of the image that a crop spans
_MIN_KNOWN_SHARE = 0.01  # of a crop that must be known, because the surroundings decide what is rendered
# Opacity of a new face over the colours rebuilt from its surroundings, by the score with which the old face was detected: such
# that the default detector, without refinement, finds the new one with about that score: `python -m tools.calibrate_opacity`.
_SCORES = (0.2, 0.4, 0.6, 0.7, 0.8)
_OPACITIES = (0.16, 0.28, 0.36, 0.45, 1.0)
# Longer side of the expanded box over which opacity rises to 1, because a large faint face looks like a ghost.
_SOLID_PX = (48.0, 96.0)
_MAX_SPAN = 16.0  # crop's side in units of the image's longer side: a larger box is not that of a face


@dataclass(frozen=True, slots=True, eq=False)
class Replacement:
    """A face that is to be replaced.

    Args:
        region: what is replaced.
        frame: of its crop.
        crop: its surroundings.
        choice: its donor.
        composite: the donor in the surroundings.
        seed: of the face.
    """

    region: Region
    frame: Frame
    crop: Crop
    choice: DonorChoice
    composite: Composite
    seed: int


def prepare(target: Target, bank: DonorBank, min_side_px: float) -> Replacement | Refusal:
    """Choose a donor for a target and blend it into the surroundings, or refuse.

    Args:
        target: a region with erased masks.
        bank: donors.
        min_side_px: longer side of the expanded box below which the face is refused.
    """
    region = target.region
    if longer_side_px(region) < min_side_px:
        return Refusal(f"smaller than {min_side_px:g} px")
    frame = frame_of(region)
    if not np.isfinite(frame.to_crop).all() or frame.side_px > _MAX_SPAN * max(target.width, target.height):
        return Refusal("the box is far larger than the image")
    crop = extract(target.pixels, target.erased, frame, LARGE_SIDE if frame.side_px > _LARGE_FROM else CROP_SIDE)
    if 1 - crop.unknown.mean() < _MIN_KNOWN_SHARE:
        return Refusal("too little of the image lies around it")
    choice = bank.choose(crop, target.seed)
    return Replacement(region, frame, crop, choice, blend_donor(crop, choice), target.seed)


def render_patch(face: Replacement, pixels: FloatArray) -> Patch:
    """Return the patch of a new face, with the opacity of `opacity_of`.

    Args:
        face: what is replaced.
        pixels: of its crop, (side, side, 3) float32 0 .. 255.
    """
    opacity = np.float32(opacity_of(face.region))
    mixed = pixels if opacity == 1 else face.crop.pixels + (pixels - face.crop.pixels) * opacity
    return Patch(paste(mixed, face.frame, face.region.extent))


def opacity_of(region: Region) -> float:
    """Return the share of the new face, 0 .. 1, over the colours rebuilt from its surroundings.

    Small detections with a low score are blended with reduced opacity, so that a false positive does not become a visible face,
    and a detector that is trained or measured on the release does not find faces that its labels lack.
    """
    by_score = float(np.interp(region.score, _SCORES, _OPACITIES))
    large = float(np.interp(longer_side_px(region), _SOLID_PX, (0.0, 1.0)))
    return by_score + (1 - by_score) * large
