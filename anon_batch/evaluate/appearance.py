"""How replaced faces look: seams, probes, and the sample of the blind test, over all faces that other measures anonymize."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anon_batch.evaluate.blind_sample import MIN_SCORE, BlindSample
from anon_batch.evaluate.probe import ProbeMeasure, ProbeSamples, probe
from anon_batch.evaluate.probe_features import FaceFeatures, crop_around
from anon_batch.evaluate.seam import SeamEnergies, SeamMeasure
from anon_batch.evaluate.subjects import Output
from anon_batch.geometry import union_of_masks
from anon_batch.outcomes import Anonymized
from anon_batch.records import Detections, FloatArray, PixelArray

MIN_SIDE_PX = 28  # longer side of the smallest face that the probe sees
LARGE_PX = 48
MAX_FACES = 1000  # of the probe, because features take milliseconds


class Appearance:
    """Collects what the measures of appearance need.

    Args:
        methods: names of the evaluated methods.
        features: feature sets of the probe; none skips it.
        blind: sample of the blind test, or None.
        seed: of the probe.
    """

    def __init__(
        self, methods: Sequence[str], features: Sequence[FaceFeatures], blind: BlindSample | None, seed: int
    ) -> None:
        self.blind = blind
        self._features, self._seed, self._faces = tuple(features), seed, 0
        self._seams = {name: SeamEnergies() for name in methods}
        self._samples = {name: {kind.name: ProbeSamples() for kind in features} for name in methods}

    def add(
        self,
        source: str,
        group: str,
        original: PixelArray,
        detections: Detections,
        outputs: Mapping[str, Output | None],
    ) -> None:
        """Add the faces of an image.

        Args:
            source: `images`, `pairs` or `faces`, a slice of the probe.
            group: image or person, which the probe does not split.
            original: (H, W, 3) uint8 RGB.
            detections: faces that were anonymized.
            outputs: method -> output, None where the image is withheld.
        """
        sure = detections.take(np.asarray(detections.scores >= MIN_SCORE, np.bool_))
        done = {name: output for name, output in outputs.items() if isinstance(output, Anonymized)}
        if not len(sure) or not done:
            return
        height, width = original.shape[:2]
        masks = {name: union_of_masks(output.regions, width, height) for name, output in done.items()}
        if self.blind is not None:
            self.blind.offer(original, done, detections)
        for box in sure.boxes:
            for name, output in done.items():
                self._seams[name].add(original, output.pixels, masks[name], box)
            self._add_to_probe(source, f"{source} {group}", original, box, done)

    def _add_to_probe(
        self, source: str, group: str, original: PixelArray, box: FloatArray, done: Mapping[str, Anonymized]
    ) -> None:
        side = float((box[2:] - box[:2]).max())
        if side < MIN_SIDE_PX or self._faces >= MAX_FACES or not self._features:
            return
        self._faces += 1
        size = f"from {LARGE_PX} px" if side >= LARGE_PX else f"{MIN_SIDE_PX} to {LARGE_PX} px"
        crop = crop_around(original, box)
        untouched = {kind.name: kind.of(crop) for kind in self._features}
        for name, output in done.items():
            replaced = crop_around(output.pixels, box)
            for kind in self._features:
                self._samples[name][kind.name].add(group, (source, size), untouched[kind.name], kind.of(replaced))

    @property
    def too_few(self) -> str | None:
        """Why there is no probe, or None."""
        if all(own.enough for samples in self._samples.values() for own in samples.values()):
            return None
        return f"{self._faces} faces of {MIN_SIDE_PX} px and more; it needs more of them, in more images"

    def seam(self, method: str) -> SeamMeasure:
        """Return the seam of a method."""
        return self._seams[method].measure()

    def probe(self, method: str) -> dict[str, dict[str, ProbeMeasure]]:
        """Return feature set -> slice -> how well a method's outputs are recognised as such."""
        found = {kind: probe(own, self._seed) for kind, own in self._samples[method].items()}
        return {kind: own for kind, own in found.items() if own}
