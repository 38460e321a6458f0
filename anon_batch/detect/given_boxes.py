"""The manifest's boxes that decide what is published: which they are, and whether they can be right.

A box in another scale, for another image or in another order of its numbers covers something else than its owner meant, so
that what it should cover would be published. Only what the image's size proves is called a fault.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from anon_batch.config import DetectConfig
from anon_batch.detect.from_manifest import NAME
from anon_batch.records import MAX_SHARE, BoolArray, GroundTruth

MIN_AREA_PX = 4.0  # inside the image
MIN_INSIDE = 0.5  # share of a box's area: a face that the border cuts may reach beyond it

_Boxes = npt.NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class GivenBoxes:
    """The boxes of a manifest that decide what is published: those to anonymize, and those to keep.

    Args:
        anonymized: labels of the boxes that the detector `manifest` gives; None is every label, empty none.
    """

    anonymized: frozenset[str] | None = frozenset()

    @classmethod
    def of_job(cls, detect: DetectConfig) -> GivenBoxes:
        """Return the boxes that a job's section `detect` uses."""
        for detector in detect.detectors:
            if detector.name == NAME:
                return cls(None if detector.labels is None else frozenset(detector.labels))
        return cls()

    def mask(self, truth: GroundTruth) -> BoolArray:
        """Return which boxes of an image decide what is published, (N,) bool."""
        if self.anonymized is None:
            return np.ones(len(truth), np.bool_)
        return np.array([label in self.anonymized for label in truth.labels], np.bool_) | truth.keep

    def fault(self, truth: GroundTruth, size: tuple[int, int] | None) -> str | None:
        """Return what is wrong with the boxes of an image, for the private audit; None if nothing is provably wrong.

        Args:
            truth: the manifest's regions.
            size: width and height of the upright image, px; None leaves out what only the size proves.
        """
        boxes = truth.boxes.astype(np.float64)
        at = _first(_damaged(boxes))  # also of boxes that are only compared with, because nothing can be
        if at is not None:
            return _say(truth, at, "is not finite, or x2 < x1 or y2 < y1")
        own = np.flatnonzero(self.mask(truth))
        if not len(own):
            return None
        if truth.is_normalised:
            if (at := _first(_is_beyond_shares(boxes[own]))) is not None:
                return _say(
                    truth, int(own[at]), "is said to be in shares of the image's sides, but reaches far beyond them"
                )
            if size is None:
                return None
            truth = truth.in_pixels(*size)
            boxes = truth.boxes.astype(np.float64)
        if size is not None and truth.size not in (None, size):
            return _other_size(truth.size or size, size)
        for is_fault, says in _CHECKS_OF_SHARES if truth.is_scaled else _CHECKS:
            if (at := _first(is_fault(boxes[own], size))) is not None:
                found = _say(truth, int(own[at]), says)
                return found if size is None else f"{found}; the image has {size[0]} x {size[1]} px{_hint(boxes, size)}"
        return None


def _damaged(boxes: _Boxes) -> BoolArray:
    with np.errstate(invalid="ignore"):
        turned = (boxes[:, 2] < boxes[:, 0]) | (boxes[:, 3] < boxes[:, 1])
    return np.asarray(~np.isfinite(boxes).all(axis=1) | turned, np.bool_)


def _is_normalised(boxes: _Boxes, size: tuple[int, int] | None) -> BoolArray:
    larger = size is None or max(size) > MAX_SHARE
    return np.asarray((np.abs(boxes) <= MAX_SHARE).all(axis=1) & larger, np.bool_)


def _is_beyond_shares(boxes: _Boxes) -> BoolArray:
    return np.asarray((np.abs(boxes) > MAX_SHARE).any(axis=1), np.bool_)


def _is_outside(boxes: _Boxes, size: tuple[int, int] | None) -> BoolArray:
    with np.errstate(invalid="ignore", divide="ignore"):
        return np.asarray(_areas(_inside(boxes, size)) < MIN_INSIDE * _areas(boxes), np.bool_)


def _is_tiny(boxes: _Boxes, size: tuple[int, int] | None) -> BoolArray:
    return np.asarray(_areas(_inside(boxes, size)) < MIN_AREA_PX, np.bool_)


def _is_empty(boxes: _Boxes, size: tuple[int, int] | None) -> BoolArray:
    return np.asarray(_areas(_inside(boxes, size)) <= 0, np.bool_)


_Checks = tuple[tuple[Callable[[_Boxes, tuple[int, int] | None], BoolArray], str], ...]
_CHECKS: _Checks = (
    (_is_normalised, f"has no coordinate above {MAX_SHARE:g}, as if it were in shares of the image's size"),
    (_is_outside, "lies for more than half of its area outside the image"),
    (_is_tiny, f"has less than {MIN_AREA_PX:g} square px in the image"),
)
# Because the scale of shares is known, a face of a pixel is one: of an image that was made smaller after it was labelled.
_CHECKS_OF_SHARES: _Checks = (
    (_is_outside, "lies for more than half of its area outside the image"),
    (_is_empty, "has no area in the image"),
)


def _inside(boxes: _Boxes, size: tuple[int, int] | None) -> _Boxes:
    far = np.array([np.inf, np.inf] if size is None else size, np.float64)
    return np.clip(boxes, 0, np.tile(far, 2))


def _areas(boxes: _Boxes) -> npt.NDArray[np.float64]:
    areas: npt.NDArray[np.float64] = (boxes[:, 2] - boxes[:, 0]) * (boxes[:, 3] - boxes[:, 1])
    return areas


def _first(mask: BoolArray) -> int | None:
    return int(np.argmax(mask)) if mask.any() else None


def _say(truth: GroundTruth, at: int, fault: str) -> str:
    x1, y1, x2, y2 = (f"{value:g}" for value in truth.boxes[at].tolist())
    return f"box {at + 1} of {len(truth)}, [{x1}, {y1}, {x2}, {y2}] ({truth.labels[at]}), {fault}"


def _other_size(said: tuple[int, int], real: tuple[int, int]) -> str:
    turned = ", as before its EXIF orientation" if said == real[::-1] else ""
    return (
        f"the boxes are for an image of {said[0]} x {said[1]} px{turned}; the upright image has {real[0]} x {real[1]}"
    )


def _hint(boxes: _Boxes, size: tuple[int, int]) -> str:
    """Return what would explain a fault: the sides of the image exchanged."""
    if size[0] == size[1] or _is_outside(boxes, size[::-1]).any() or not _is_outside(boxes, size).any():
        return ""
    return ", and all boxes would fit if its sides were exchanged, as before its EXIF orientation"
