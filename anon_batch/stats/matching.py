"""Match detections with the regions of the ground truth: COCO's rules at one IoU.

A detection matches only regions of its own label. The rules are those of COCOeval (Lin et al. 2014, "Microsoft COCO: common
objects in context", and its pycocotools):

- detections choose in order of falling score; each takes the free region with which its IoU is largest, if that
  reaches the threshold, and an ignored region only when no other qualifies;
- an ignored region may be taken by any number of detections, its IoU is the share of the detection that lies in
  it (like a crowd in COCO), and neither counts;
- in a band of sizes the regions outside the band are ignored, but are taken once and with the usual IoU;
  detections outside the band that took no region do not count either.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from anon_batch.records import BoolArray, Detections, FloatArray, GroundTruth

IOU_THRESHOLD = 0.5

_Boxes = npt.NDArray[np.float64]
_Indices = npt.NDArray[np.intp]


def _area_between(low: float, high: float) -> Callable[[_Boxes], BoolArray]:
    def inside(boxes: _Boxes) -> BoolArray:
        areas = _areas(boxes)
        return np.asarray((areas >= low) & (areas <= high), np.bool_)

    return inside


def _longer_side_from(low: float) -> Callable[[_Boxes], BoolArray]:
    def inside(boxes: _Boxes) -> BoolArray:
        return np.asarray((boxes[:, 2:] - boxes[:, :2]).max(axis=1, initial=-np.inf) >= low, np.bool_)

    return inside


# Bands of sizes. COCO's borders belong to both neighbours: a region of 32 x 32 px is small and medium.
BANDS: Mapping[str, Callable[[_Boxes], BoolArray]] = MappingProxyType(
    {
        "all": lambda boxes: np.ones(len(boxes), np.bool_),
        "small": _area_between(0, 32**2),
        "medium": _area_between(32**2, 96**2),
        "large": _area_between(96**2, np.inf),
        "from_16_px": _longer_side_from(16),
    }
)


@dataclass(frozen=True, slots=True, eq=False)
class Matches:
    """Result of matching the N detections of an image with its M regions, both in the caller's order.

    Args:
        detection_region: (N,) index of the region that each detection took, or -1.
        detection_ignored: (N,) bool; an ignored detection is neither a true nor a false positive.
        region_detection: (M,) index of the detection that took each region (the last one, for ignored regions that
            several took), or -1.
        region_ignored: (M,) bool; an ignored region is neither found nor missed.
        iou: (N,) float32 overlap of each detection with the region it took, 0 where it took none.
    """

    detection_region: _Indices
    detection_ignored: BoolArray
    region_detection: _Indices
    region_ignored: BoolArray
    iou: FloatArray

    @property
    def true_positives(self) -> BoolArray:
        """Return which detections they are: (N,) bool."""
        return np.asarray((self.detection_region >= 0) & ~self.detection_ignored, np.bool_)

    @property
    def false_positives(self) -> BoolArray:
        """Return which detections they are: (N,) bool."""
        return np.asarray((self.detection_region < 0) & ~self.detection_ignored, np.bool_)

    @property
    def missed(self) -> BoolArray:
        """Return which regions count and were not taken: (M,) bool."""
        return np.asarray((self.region_detection < 0) & ~self.region_ignored, np.bool_)


def match(
    detections: Detections, ground_truth: GroundTruth, band: str = "all", iou_threshold: float = IOU_THRESHOLD
) -> Matches:
    """Match the detections of one image with its ground truth.

    Args:
        detections: of the image.
        ground_truth: of the image.
        band: a key of `BANDS`: which sizes count.
        iou_threshold: overlap from which a detection has found a region, above 0.

    Raises:
        KeyError: no such band.
    """
    return match_bands(detections, ground_truth, (band,), iou_threshold)[band]


def match_bands(
    detections: Detections,
    ground_truth: GroundTruth,
    bands: Iterable[str] = tuple(BANDS),
    iou_threshold: float = IOU_THRESHOLD,
) -> dict[str, Matches]:
    """Match as `match`, for several bands at once: band -> matches."""
    found = detections.boxes.astype(np.float64)
    regions = ground_truth.boxes.astype(np.float64)
    overlaps = _overlaps(found, regions, ground_truth.ignore)
    overlaps[~_same_label(detections.labels, ground_truth.labels)] = 0
    return {
        band: _assign(
            overlaps,
            detections.scores,
            crowd=ground_truth.ignore,
            found_inside=BANDS[band](found),
            regions_inside=BANDS[band](regions),
            threshold=min(iou_threshold, 1 - 1e-10),
        )
        for band in bands
    }


def _assign(
    overlaps: _Boxes,
    scores: FloatArray,
    *,
    crowd: BoolArray,
    found_inside: BoolArray,
    regions_inside: BoolArray,
    threshold: float,
) -> Matches:
    region_ignored = np.asarray(crowd | ~regions_inside, np.bool_)
    detection_region = np.full(overlaps.shape[0], -1, np.intp)
    region_detection = np.full(overlaps.shape[1], -1, np.intp)
    close = overlaps >= threshold
    candidates = np.flatnonzero(close.any(axis=1))
    for index in candidates[np.argsort(-scores[candidates], kind="stable")]:
        near = np.flatnonzero(close[index])
        free = near[(region_detection[near] < 0) | crowd[near]]
        best = _last_best(overlaps[index], free[~region_ignored[free]])
        if best < 0:
            best = _last_best(overlaps[index], free[region_ignored[free]])
        if best >= 0:
            detection_region[index] = best
            region_detection[best] = index
    taken = detection_region >= 0
    detection_ignored = np.where(taken, _at(region_ignored, detection_region), ~found_inside)
    iou = np.zeros(len(taken), np.float32)
    iou[taken] = overlaps[np.flatnonzero(taken), detection_region[taken]]
    return Matches(detection_region, np.asarray(detection_ignored, np.bool_), region_detection, region_ignored, iou)


def _overlaps(found: _Boxes, regions: _Boxes, crowd: BoolArray) -> _Boxes:
    """Return (N, M) IoU; for ignored regions the share of the detection that lies inside."""
    left_top = np.maximum(found[:, None, :2], regions[None, :, :2])
    right_bottom = np.minimum(found[:, None, 2:], regions[None, :, 2:])
    common = np.prod(np.clip(right_bottom - left_top, 0, None), axis=2)
    union = np.where(crowd[None, :], 0, _areas(regions)[None, :] - common) + _areas(found)[:, None]
    return np.asarray(np.divide(common, union, out=np.zeros_like(common), where=union > 0), np.float64)


def _same_label(found: tuple[str, ...], regions: tuple[str, ...]) -> BoolArray:
    return np.asarray(np.array(found, object)[:, None] == np.array(regions, object)[None, :], np.bool_)


def _areas(boxes: _Boxes) -> _Boxes:
    sides = np.clip(boxes[:, 2:] - boxes[:, :2], 0, None)
    return np.asarray(sides[:, 0] * sides[:, 1], np.float64)


def _last_best(overlaps: _Boxes, among: _Indices) -> int:
    """Return the index of the largest overlap among some, the last of equal ones as in COCOeval; -1 for none."""
    if not among.size:
        return -1
    return int(among[::-1][np.argmax(overlaps[among[::-1]])])


def _at(values: BoolArray, indices: _Indices) -> BoolArray:
    """Return the values at indices; False at -1."""
    out = np.zeros(len(indices), np.bool_)
    out[indices >= 0] = values[indices[indices >= 0]]
    return out
