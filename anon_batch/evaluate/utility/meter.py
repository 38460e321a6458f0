"""Measure images and their outputs into a `UtilityState`."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anon_batch.anonymize.faces.donors import TRAITS
from anon_batch.evaluate.blind_sample import MIN_SCORE
from anon_batch.evaluate.probe_features import FaceFeatures, crop_around
from anon_batch.evaluate.seam import seam_energies
from anon_batch.evaluate.utility.state import CHANGED, FOUND, IMAGE, LABEL, SEAM, SIDE, UtilityState, after, before
from anon_batch.geometry import pairwise_iou, union_of_masks
from anon_batch.manifest.sampling import sample_hashes
from anon_batch.recognition.network_file import FeatureNetwork
from anon_batch.records import DEFAULT_LABEL, Detections, FloatArray, GroundTruth, PixelArray, Region
from anon_batch.stats.matching import IOU_THRESHOLD

MIN_SIDE_PX = 28  # longer side of the smallest face that is looked at alone

Detect = Callable[[Sequence[PixelArray]], Sequence[Detections]]


@dataclass(frozen=True, slots=True, eq=False)
class SeenImage:
    """An original and what became of it.

    Args:
        image_id: of the image.
        original: (H, W, 3) uint8 RGB, upright.
        output: likewise; None if the image is withheld.
        regions: that were anonymized, of all labels.
        traits: region index -> traits of its generated face, where they are known.
        truth: labelled faces; None without ground truth.
        label: class of the image; None without one.
        found: what the second detector found in original and output, clipped; None to ask it here.
    """

    image_id: str
    original: PixelArray
    output: PixelArray | None
    regions: Sequence[Region] = ()
    traits: Mapping[int, Mapping[str, str]] = field(default_factory=dict)
    truth: GroundTruth | None = None
    label: str | None = None
    found: tuple[Detections, Detections] | None = None


class UtilityMeter:
    """Adds images to states.

    Args:
        networks: whose features of whole images and of faces are compared, with different names.
        face_features: of the naturalness probe.
        detect: the second detector: faces in images, clipped; None skips what needs one.
        seed: of the samples. States that are merged must have one seed.
    """

    def __init__(
        self,
        networks: Sequence[FeatureNetwork] = (),
        face_features: Sequence[FaceFeatures] = (),
        detect: Detect | None = None,
        seed: int = 0,
    ) -> None:
        self._networks, self._face_features = tuple(networks), tuple(face_features)
        self._detect, self._seed = detect, seed
        self._originals: tuple[str, dict[Any, Any]] = "", {}

    def add(self, state: UtilityState, image: SeenImage) -> None:
        """Measure one image into a state; no two images have the same id."""
        key, *face_keys = (
            int(own)
            for own in sample_hashes(
                [image.image_id, *(f"{image.image_id}#{region.index}" for region in image.regions)], self._seed
            )
        )
        found = self._find(image)
        if found is not None and image.truth is not None:
            state.detection.add(key, *found, image.truth)
        if image.output is None:
            state.withheld += 1
            return
        state.seen += 1
        if self._originals[0] != image.image_id:
            self._originals = image.image_id, {}
        self._add_image(state, key, image, image.output)
        faces = [
            (own, region)
            for own, region in zip(face_keys, image.regions, strict=True)
            if _is_sure_face(region) and state.faces.wants(own)
        ]
        if faces:
            mask = union_of_masks(image.regions, image.original.shape[1], image.original.shape[0])
            for own, region in faces:
                values = self._measure_face(image, image.output, region, mask, found)
                state.faces.add(own, {IMAGE: np.uint64(key), **values})

    def _find(self, image: SeenImage) -> tuple[Detections, Detections] | None:
        if image.found is not None or self._detect is None:
            return image.found
        if image.truth is None and not image.regions:
            return None  # nothing to find again
        pixels = [image.original] if image.output is None else [image.original, image.output]
        first, *second = self._detect(pixels)
        return first, second[0] if second else Detections.empty()

    def _add_image(self, state: UtilityState, key: int, image: SeenImage, output: PixelArray) -> None:
        if not self._networks or not state.images.wants(key):
            return
        values: dict[str, Any] = {LABEL: image.label or "", CHANGED: bool(image.regions)}
        same = np.array_equal(image.original, output)
        for network in self._networks:
            values[before(network.name)] = own = self._once(network.name, network.of, [image.original])[0]
            values[after(network.name)] = own if same else network.of([output])[0]
        state.images.add(key, values)

    def _measure_face(
        self,
        image: SeenImage,
        output: PixelArray,
        region: Region,
        mask: Any,
        found: tuple[Detections, Detections] | None,
    ) -> dict[str, Any]:
        box = np.asarray(region.box, np.float32)
        energies = seam_energies(image.original, output, mask, box)
        traits = image.traits.get(region.index, {})
        values: dict[str, Any] = {
            SIDE: np.float32((box[2:] - box[:2]).max()),
            SEAM: np.full((2, 2), np.nan) if energies is None else energies / energies[0].sum(),
            FOUND: np.array([-1, -1] if found is None else [_finds(own, box) for own in found], np.int8),
            **{trait: str(traits.get(trait, "")) for trait in TRAITS},
        }
        crops = crop_around(image.original, box), crop_around(output, box)
        for kind in self._face_features:
            own = self._once((region.index, kind.name), kind.of, crops[0])
            values[before(kind.name)], values[after(kind.name)] = (np.float32(row) for row in (own, kind.of(crops[1])))
        for network in self._networks:
            values[before(network.name)] = self._once((region.index, network.name), network.of, crops[:1])[0]
            values[after(network.name)] = network.of(crops[1:])[0]
        return values

    def _once(self, name: Any, compute: Callable[[Any], Any], pixels: Any) -> Any:
        """Return features of the original; computed once for images that follow each other, as outputs of several methods do."""
        found = self._originals[1]
        if name not in found:
            found[name] = compute(pixels)
        return found[name]


def _is_sure_face(region: Region) -> bool:
    side = max(region.box[2] - region.box[0], region.box[3] - region.box[1])
    return region.label == DEFAULT_LABEL and region.score >= MIN_SCORE and side >= MIN_SIDE_PX


def _finds(found: Detections, box: FloatArray) -> bool:
    return bool(len(found)) and bool((pairwise_iou(box[None], found.boxes) >= IOU_THRESHOLD).any())
