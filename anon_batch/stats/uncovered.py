"""Which labelled regions of an image no mask covers: the faces that a published image still shows.

A region is uncovered if the pixel at its centre, or more than MAX_OUTSIDE of its box, lies outside all masks. The masks are
those of the regions that were rendered, those that a check added included; what the owner keeps has none. Of a mask that follows
an outline the whole box counts for regions of its own label, because their labelled boxes hold surroundings too.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anon_batch.geometry import crop, region_mask
from anon_batch.records import BoolArray, Detections, FloatArray, GroundTruth, Preview, Region
from anon_batch.stats.matching import match

MAX_OUTSIDE = 0.3
UNKNOWN = "unknown"
_LUMA = np.array([0.299, 0.587, 0.114])
_MAX_SAMPLES = 64  # on each side of a box, enough for the mean
_Extent = tuple[int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class LabelledRegions:
    """The labelled regions of one image that count: neither ignored nor kept on the owner's word.

    Args:
        uncovered: (N,) bool; with no masks, for an image that is not published, all True.
        longer_px: (N,) float64, longer side of the box.
        brightness: (N,) float64 mean luma of the original inside the box, 0 to 255; NaN outside the image.
        poses: N of `frontal`, `three_quarter`, `profile`, `turned` and `unknown`; see `pose_of`.
        labels: N labels.
    """

    uncovered: BoolArray
    longer_px: npt.NDArray[np.float64]
    brightness: npt.NDArray[np.float64]
    poses: tuple[str, ...]
    labels: tuple[str, ...]

    def __len__(self) -> int:
        return len(self.labels)


def judge_regions(
    truth: GroundTruth, regions: Sequence[Region], detections: Detections, preview: Preview
) -> LabelledRegions:
    """Return what became of the labelled regions of an image.

    Args:
        truth: labelled regions, px of the upright image.
        regions: that were anonymized.
        detections: what was found; the pose comes from the landmarks of the detection that matches a region.
        preview: of the original.
    """
    truth = truth.take(np.asarray(~(truth.ignore | truth.keep), np.bool_))
    size = preview.whole_size
    extents = [_pixels(box, *size) for box in truth.boxes.astype(np.float64)]
    masks = _Masks(regions)
    matched = match(detections, truth).region_detection.tolist() if len(truth) else []
    sides = (truth.boxes[:, 2:] - truth.boxes[:, :2]).astype(np.float64)
    return LabelledRegions(
        np.array(
            [
                own is None or masks.leave_uncovered(own, label)
                for own, label in zip(extents, truth.labels, strict=True)
            ],
            np.bool_,
        ),
        sides.max(axis=1, initial=0.0),
        np.array([math.nan if own is None else _brightness(own, preview) for own in extents], np.float64),
        tuple(UNKNOWN if at < 0 else pose_of(detections.landmarks[at]) for at in matched),
        truth.labels,
    )


class _Masks:
    """The masks of an image's regions, each computed once, when a labelled region lies near it."""

    def __init__(self, regions: Sequence[Region]) -> None:
        self._regions = regions
        self._known: dict[int, BoolArray] = {}

    def leave_uncovered(self, extent: _Extent, label: str) -> bool:
        left, top, right, bottom = extent
        covered = np.zeros((bottom - top, right - left), np.bool_)
        for at, region in enumerate(self._regions):
            if region.shape == "outline" and region.label == label:
                _fill(covered, region.box, left, top)
            x1, y1, x2, y2 = region.mask_extent
            a, b, c, d = max(x1, left), max(y1, top), min(x2, right), min(y2, bottom)
            if a < c and b < d:
                inside = crop(self._mask(at), (a - x1, b - y1, c - x1, d - y1))
                crop(covered, (a - left, b - top, c - left, d - top))[...] |= inside
        centre = covered[(bottom - top) // 2, (right - left) // 2]
        return not centre or float(covered.mean()) < 1 - MAX_OUTSIDE

    def _mask(self, at: int) -> BoolArray:
        if at not in self._known:
            self._known[at] = region_mask(self._regions[at])
        return self._known[at]


def _fill(covered: BoolArray, box: tuple[float, float, float, float], left: int, top: int) -> None:
    """Set the pixels of a box, px of the image, in a part of it that starts at (left, top)."""
    x1, y1 = max(math.floor(box[0]) - left, 0), max(math.floor(box[1]) - top, 0)
    covered[y1 : max(math.ceil(box[3]) - top, 0), x1 : max(math.ceil(box[2]) - left, 0)] = True


def pose_of(landmarks: FloatArray) -> str:
    """Return how a face is turned, by five landmarks.

    `turned` is a face rolled by more than 45 degrees in the image. For the others the nose tip's distance from the middle line,
    in halves of the distance between the eyes, tells the yaw: a nose that stands out by 0.75 of that half moves by 0.3 at 22
    degrees, up to which a face is `frontal`, and by 0.75 at 45 degrees, up to which it is `three_quarter`; beyond is
    `profile`. `unknown` without landmarks.

    Args:
        landmarks: (5, 2) px: right eye, left eye, nose tip, right and left mouth corner; NaN where there are none.
    """
    points = np.asarray(landmarks, np.float64)
    if not np.isfinite(points).all():
        return UNKNOWN
    eyes, mouth = points[:2].mean(axis=0), points[3:].mean(axis=0)
    across = (points[1] - points[0] + points[4] - points[3]) / 2
    down = mouth - eyes
    height = float(np.hypot(*down))
    if height == 0:
        return UNKNOWN
    if math.atan2(abs(down[0]), down[1]) > math.pi / 4:
        return "turned"
    down /= height
    right = np.array([down[1], -down[0]])  # across the middle line
    half = abs(float(across @ right)) / 2
    offset = abs(float((points[2] - (eyes + mouth) / 2) @ right))
    ratio = offset / half if half > 0 else math.inf
    return "frontal" if ratio < 0.3 else "three_quarter" if ratio < 0.75 else "profile"


def _pixels(box: npt.NDArray[np.float64], width: int, height: int) -> _Extent | None:
    """Return the pixels inside the image whose centres lie in a box, or the one in its middle; None outside the image."""
    if not np.isfinite(box).all() or box[0] >= width or box[1] >= height or box[2] <= 0 or box[3] <= 0:
        return None
    x1, x2 = _span(max(box[0], 0.0), min(box[2], float(width)))
    y1, y2 = _span(max(box[1], 0.0), min(box[3], float(height)))
    return x1, y1, x2, y2


def _span(low: float, high: float) -> tuple[int, int]:
    first, stop = math.ceil(low - 0.5), math.ceil(high - 0.5)
    return (first, stop) if stop > first else (math.floor((low + high) / 2), math.floor((low + high) / 2) + 1)


def _brightness(extent: _Extent, preview: Preview) -> float:
    x1, x2 = (min(int(x / preview.scale_x), preview.width - 1) for x in (extent[0], extent[2] - 1))
    y1, y2 = (min(int(y / preview.scale_y), preview.height - 1) for y in (extent[1], extent[3] - 1))
    across, down = max(1, (x2 + 1 - x1) // _MAX_SAMPLES), max(1, (y2 + 1 - y1) // _MAX_SAMPLES)
    return float(preview.pixels[y1 : y2 + 1 : down, x1 : x2 + 1 : across].mean(axis=(0, 1)) @ _LUMA)
