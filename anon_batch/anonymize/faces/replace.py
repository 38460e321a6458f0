"""Replace faces: what `swap` and `gan` have in common."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

import cv2
import numpy as np

from anon_batch.anonymize.compose import mask_on_extent
from anon_batch.anonymize.faces.align import Crop, Frame, extract, frame_of, paste
from anon_batch.anonymize.faces.blend import Composite, blend_donor
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.encoder import SurroundingsEncoder
from anon_batch.anonymize.faces.retrieve import Choice, Retrieval
from anon_batch.anonymize.faces.surroundings import Surroundings, describe
from anon_batch.anonymize.protocol import Patch, Refusal, Target
from anon_batch.geometry import longer_side_px
from anon_batch.models.runtime import Runtime
from anon_batch.records import BoolArray, FloatArray, PixelArray, Region

_MIN_KNOWN_SHARE = 0.01  # of a crop that must be known, because the surroundings decide what is rendered
_MAX_SPAN = 16.0  # crop's side in units of the image's longer side: a larger box is not that of a face
_BATCH = 64  # faces whose crops are in memory at a time
# Of the best donor: above it none fits, as for one face in a hundred of photographs, most of them full profiles.
MOST_COST = 30.0
# Opacity of a new face over what lies below it, by the score with which the old face was detected: such that the default
# detector, without refinement, finds the new one with about that score: `python -m tools.calibrate_opacity`.
_SCORES = (0.2, 0.4, 0.6, 0.7, 0.8)
_OPACITIES = (0.16, 0.28, 0.36, 0.45, 1.0)
# Longer side of the expanded box over which opacity rises to 1, because a large faint face looks like a ghost.
_SOLID_PX = (48.0, 96.0)
# Score from which a faint face lies over its own blur, and up to which over colours rebuilt from the surroundings.
_BLURRED_SCORES = (0.3, 0.6)
_FAINT_BLUR = 0.09  # of a faint face, as a share of the crop's side

# An image is dark where this share of its levels lies below that level; of so many samples.
_WHITE_SHARE, _DARK, _SAMPLES = 0.999, 176, 1 << 18


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
        traits: what its donor was labelled as.
    """

    region: Region
    frame: Frame
    crop: Crop
    choice: Choice
    composite: Composite
    seed: int
    traits: Mapping[str, str] = field(default_factory=dict)


class FaceReplacer:
    """Chooses donors for faces and blends them in.

    Args:
        bank: bytes of the donor bank.
        runtime: device and threads.
        min_side_px: longer side of the expanded box below which a face is refused.
        by_subject: whether the seed alone chooses the donor.
    """

    def __init__(self, bank: bytes, runtime: Runtime, min_side_px: float, by_subject: bool = False) -> None:
        self._bank = DonorBank(bank)
        self._retrieval = Retrieval(self._bank, SurroundingsEncoder(self._bank.tensors), runtime.device)
        self._min_side_px = min_side_px
        self._by_subject = by_subject

    def prepare(self, targets: Sequence[Target]) -> Iterator[Replacement | Refusal]:
        """Yield the replacement of each target, or why there is none, in the targets' order."""
        for at in range(0, len(targets), _BATCH):
            yield from self._prepare_batch(targets[at : at + _BATCH])

    def _prepare_batch(self, targets: Sequence[Target]) -> Iterator[Replacement | Refusal]:
        ranges = _Ranges()
        places = [self._place_of(target, ranges) for target in targets]
        found = [place for place in places if not isinstance(place, Refusal)]
        seeds = [target.seed for target, place in zip(targets, places, strict=True) if not isinstance(place, Refusal)]
        choose = self._retrieval.choose_by_seed if self._by_subject else self._retrieval.choose
        choices = iter(choose([(crop, around) for _, crop, around in found], seeds))
        for target, place in zip(targets, places, strict=True):
            if isinstance(place, Refusal):
                yield place
                continue
            frame, crop, _ = place
            choice = next(choices)
            if choice.best > MOST_COST:
                yield Refusal("no donor fits")
                continue
            reach = target.region.edge_px / frame.scale
            composite = blend_donor(crop, self._bank.donor(choice.donor), choice, target.seed, reach)
            traits = self._bank.traits_of(choice.donor)
            yield Replacement(target.region, frame, crop, choice, composite, target.seed, traits)

    def _place_of(self, target: Target, ranges: _Ranges) -> tuple[Frame, Crop, Surroundings] | Refusal:
        region = target.region
        if longer_side_px(region) < self._min_side_px:
            return Refusal(f"smaller than {self._min_side_px:g} px")
        frame = frame_of(region)
        if not np.isfinite(frame.to_crop).all() or frame.side_px > _MAX_SPAN * max(target.width, target.height):
            return Refusal("the box is far larger than the image")
        crop = extract(target.pixels, target.erased, frame, region, *ranges.of(target))
        if 1 - crop.unknown.mean() < _MIN_KNOWN_SHARE:
            return Refusal("too little of the image lies around it")
        return frame, crop, describe(crop)


class _Ranges:
    """Gain and brightest level of the images of targets, each found once for targets next to each other.

    New faces are made for well-lit images: in a dark one they were up to 12 times brighter than anything else. So a dark image is
    rendered as if its brightest levels were white, and the new face is made as dark again.
    """

    def __init__(self) -> None:
        self._last: tuple[PixelArray, tuple[float, float]] | None = None

    def of(self, target: Target) -> tuple[float, float]:
        """Return `gain` and `top` of a target's crop; a gain of 1 unless nearly all of the image is dark."""
        pixels = target.pixels
        if self._last is None or self._last[0] is not pixels:
            self._last = pixels, _range_of(pixels, target.erased)
        return self._last[1]


def _range_of(pixels: PixelArray, erased: BoolArray) -> tuple[float, float]:
    step = max(1, math.isqrt(erased.size // _SAMPLES))
    known = pixels[::step, ::step][~erased[::step, ::step]]
    white = max(float(np.quantile(known, _WHITE_SHARE)), 1.0) if known.size else 255.0
    gain = 255.0 / white if white < _DARK else 1.0
    return gain, float(pixels.max()) * gain


def render_patch(face: Replacement, pixels: FloatArray, opacity: float | None = None) -> Patch:
    """Return the patch of a new face.

    Args:
        face: what is replaced.
        pixels: of its crop, (side, side, 3) float32 0 .. 255.
        opacity: 0 .. 1; None for that of `opacity_of`.
    """
    region, alpha = face.region, face.composite.alpha
    shown = np.float32(opacity_of(region) if opacity is None else opacity)
    if shown < 1:
        # A face that is not there would leave a blot in the colour of skin, so the less sure a face is, the less of it shows.
        placed = face.crop.pixels + (pixels - face.crop.pixels) * alpha[:, :, None]
        blurred = cv2.GaussianBlur(placed, (0, 0), _FAINT_BLUR * face.crop.side)
        likely = np.float32(np.interp(region.score, _BLURRED_SCORES, (0, 1)))
        ground = face.crop.pixels + (blurred - face.crop.pixels) * likely
        pixels = ground + (pixels - ground) * shown
    values = paste(np.dstack([pixels, alpha * np.float32(255)]), face.frame, region.extent)
    crop = face.crop
    colours = values[:, :, :3].clip(0, min(crop.top, 255.0))
    levels = np.rint(colours if crop.gain == 1 else colours / np.float32(crop.gain)).astype(np.uint8)
    if region.edge_px == 0:
        return Patch(levels, traits=face.traits)
    share = (values[:, :, 3] * np.float32(1 / 255)).clip(0, 1)
    return Patch(levels, np.where(mask_on_extent(region), np.float32(1), share), face.traits)


def opacity_of(region: Region) -> float:
    """Return the share of the new face, 0 .. 1, over its own blur or rebuilt colours.

    Small detections with a low score are blended with reduced opacity, so that a false positive does not become a visible face,
    and a detector that is trained or measured on the release does not find faces that its labels lack.
    """
    by_score = float(np.interp(region.score, _SCORES, _OPACITIES))
    large = float(np.interp(longer_side_px(region), _SOLID_PX, (0.0, 1.0)))
    return by_score + (1 - by_score) * large
