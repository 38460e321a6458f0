"""The detector of a job: all configured ones, merged for recall."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np

from anon_batch.config import DetectConfig
from anon_batch.detect.protocol import FAILURE, FaceDetector
from anon_batch.detect.registry import detector_factory
from anon_batch.errors import WithheldError
from anon_batch.geometry import pairwise_iou
from anon_batch.imaging.downscaled import reduce
from anon_batch.models.store import ModelStore
from anon_batch.records import BoolArray, DecodedImage, Detections, FloatArray

_GIVEN = "manifest"


class Ensemble:
    """Several detectors as one: what any of them finds is found.

    Args:
        parts: the detectors.
        merge_iou: boxes of different detectors that overlap at least this much are one face.
        min_face_px: boxes whose longer side is smaller are left out.
        model_digests: model name -> sha256, for the provenance.
        max_side_px: longest side of a picture as the parts see it; None shows it as it is.
    """

    def __init__(
        self,
        parts: Sequence[FaceDetector],
        merge_iou: float,
        min_face_px: float,
        model_digests: Mapping[str, str],
        max_side_px: int | None = None,
    ) -> None:
        self._parts = tuple(parts)
        self._merge_iou = merge_iou
        self._min_face_px = min_face_px
        self._max_side_px = max_side_px
        self.name = "+".join(part.name for part in self._parts)
        self.model_names = tuple(dict.fromkeys(name for part in self._parts for name in part.model_names))
        self.model_digests: Mapping[str, str] = MappingProxyType(dict(model_digests))

    def detect(self, images: Sequence[DecodedImage]) -> list[Detections]:
        """See FaceDetector.detect. An error of any part is one of the call: half an ensemble is not what was
        asked. Boxes are in px of the whole picture where one is a reduced rendition.

        Raises:
            WithheldError: also for a part that returns too few results or scores that are not finite.
        """
        if not images:
            return []
        shown = images if self._max_side_px is None else [reduce(image, self._max_side_px) for image in images]
        per_part = [self._found_by(part, shown) for part in self._parts]
        merged = [merge_across(list(own), self._merge_iou) for own in zip(*per_part, strict=True)]
        return [self._large_enough(found) for found in merged]

    def _found_by(self, part: FaceDetector, shown: Sequence[DecodedImage]) -> list[Detections]:
        found = self._checked(part, part.detect(shown), len(shown))
        if part.name == _GIVEN:  # these were never scaled
            return found
        return [in_whole(own, image) for own, image in zip(found, shown, strict=True)]

    def _checked(self, part: FaceDetector, found: list[Detections], count: int) -> list[Detections]:
        if len(found) != count:
            raise WithheldError(FAILURE, f"{part.name} gave {len(found)} results for {count} pictures")
        if not all(np.isfinite(own.scores).all() for own in found):
            raise WithheldError(FAILURE, f"{part.name} gave scores that are not finite")
        return found

    def _large_enough(self, found: Detections) -> Detections:
        if not self._min_face_px:
            return found
        longer = (found.boxes[:, 2:] - found.boxes[:, :2]).max(axis=1, initial=-np.inf)
        return found.take(np.asarray(longer >= self._min_face_px, np.bool_))


def in_whole(found: Detections, image: DecodedImage) -> Detections:
    """Detections in `image.pixels` as detections in the whole picture."""
    if image.reduced_from is None:
        return found
    factor = np.asarray(image.reduced_from, np.float64) / (image.width, image.height)
    boxes, landmarks = found.boxes * np.tile(factor, 2), found.landmarks * factor
    return replace(found, boxes=boxes.astype(np.float32), landmarks=landmarks.astype(np.float32))


def merge_across(parts: list[Detections], iou_threshold: float) -> Detections:
    """Union of several detectors' findings, in the detectors' order.

    A box falls only where it overlaps one of an earlier detector by `iou_threshold`: adding a detector never
    takes a box away. (Scores of different networks do not compare: choosing by them, CenterFace with YuNet-n
    had a recall of .876 where CenterFace alone had .910.) Nor does a detector's box fall to another of its
    own: it has already decided which are one face, and boxes that a person drew are all faces. A kept box
    without landmarks takes those of the best-scored box that fell to it.
    """
    merged = parts[0]
    for part in parts[1:]:
        same = pairwise_iou(merged.boxes, part.boxes) >= iou_threshold
        landmarks = _with_landmarks_of(merged, part, same)
        merged = Detections.merge(
            [replace(merged, landmarks=landmarks), part.take(np.asarray(~same.any(axis=0), np.bool_))]
        )
    return merged


def _with_landmarks_of(kept: Detections, part: Detections, same: BoolArray) -> FloatArray:
    landmarks = kept.landmarks.copy()
    has_marks = np.isfinite(part.landmarks).all(axis=(1, 2))
    for row in np.flatnonzero(np.isnan(landmarks).any(axis=(1, 2))):
        usable = np.flatnonzero(same[row] & has_marks)
        if usable.size:
            landmarks[row] = part.landmarks[usable[np.argmax(part.scores[usable])]]
    return landmarks


def build_detector(config: DetectConfig, store: ModelStore, threads: int = 1, device: str = "cpu") -> Ensemble:
    """The detector that a job asks for.

    Detectors keep the job's order, the most trusted first; the manifest's own boxes go before all.

    Args:
        config: the job's section `detect`.
        store: gives weights; fetches those that are not here.
        threads: CPU threads of a call.
        device: `cpu`, `cuda` or `cuda:N`.

    Raises:
        UnknownNameError: no such detector.
        ModelError: weights that are missing or not the pinned ones.
        ConfigError: a backend or device that is not there.
    """
    ordered = sorted(config.detectors, key=lambda detector: detector.name != _GIVEN)
    parts = [detector_factory(detector.name)(detector, config, store, threads, device) for detector in ordered]
    names = dict.fromkeys(name for part in parts for name in part.model_names)
    digests = {name: store.digest(name) for name in names}
    return Ensemble(parts, config.merge_iou, config.min_face_px, digests, config.max_side_px)
