"""How much of a second detector's average precision remains after anonymization.

The second detector stands for users who train on the release or measure it: a face that it no longer finds is lost as a
face. It must differ from the detectors that choose the regions. Only detections and ground truth with the label `face` count.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import reduce

import numpy as np

from anon_batch.evaluate.kept_interval import kept_interval
from anon_batch.evaluate.subjects import DetectedImage, Output, labelled_faces
from anon_batch.evaluate.wider.lists import WiderFaces
from anon_batch.evaluate.wider.precision import WiderPrecision, WiderScores
from anon_batch.outcomes import Anonymized
from anon_batch.records import Detections, GroundTruth
from anon_batch.stats.detection import BandStats, DetectionStats
from anon_batch.stats.matching import BANDS, IOU_THRESHOLD, match
from anon_batch.stats.missed import MissedStats
from anon_batch.stats.uncovered import judge_regions


@dataclass(frozen=True, slots=True)
class BandPrecision:
    """Average precision in one band of face sizes.

    Args:
        faces: that count.
        average_precision: None without faces.
        before: average precision on the originals; None for the originals themselves.
        kept: `average_precision` as a share of `before`; None if there was nothing to keep.
        interval: 95 % interval of `kept`, by bootstrap over images.
    """

    faces: int
    average_precision: float | None
    before: float | None = None
    kept: float | None = None
    interval: tuple[float, float] | None = None


@dataclass(frozen=True, slots=True)
class PrecisionMeasures:
    """Average precision of the second detector, by band of face sizes.

    Args:
        labelled_faces: against all faces of the ground truth: what remains of the dataset.
        anonymized_faces: against labelled faces that were anonymized, see `anonymized_truth`: what the method does to faces.
        iou_threshold: of a match.
    """

    labelled_faces: Mapping[str, BandPrecision]
    anonymized_faces: Mapping[str, BandPrecision]
    iou_threshold: float = IOU_THRESHOLD


@dataclass(frozen=True, slots=True)
class OutcomeMeasures:
    """What happened to the faces of the images.

    Args:
        faces: anonymized.
        by_method: method of the ladder -> faces that it anonymized.
        shares: the same as shares of `faces`.
        own_share: share of the evaluated method itself, without its fallbacks; None without faces.
        withheld_images: images without an output; their faces count as lost.
    """

    faces: int
    by_method: Mapping[str, int]
    shares: Mapping[str, float]
    own_share: float | None
    withheld_images: int


@dataclass(slots=True)
class ScorerStats:
    """Detections of the second detector on many images, one entry an image, in the images' order.

    Args:
        labelled: against all labelled faces.
        anonymized: against those that were anonymized.
        wider: by the rules of WIDER FACE, of images that are in its lists.
    """

    labelled: list[DetectionStats] = field(default_factory=list)
    anonymized: list[DetectionStats] = field(default_factory=list)
    wider: WiderScores = field(default_factory=WiderScores)

    def add(
        self, found: Detections, truth: GroundTruth, anonymized: GroundTruth, wider: WiderFaces | None = None
    ) -> None:
        """Add one image.

        Args:
            found: by the second detector, clipped to the image.
            truth: labelled faces.
            anonymized: see `anonymized_truth`.
            wider: the image in the lists of WIDER FACE.
        """
        for kind, faces in ((self.labelled, truth), (self.anonymized, anonymized)):
            kind.append(own := DetectionStats())
            own.add(found, faces)
        if wider is not None:
            self.wider.add(wider, found)

    def measures(self, before: ScorerStats | None = None, seed: int = 0) -> PrecisionMeasures:
        """Return average precision by band, and what is kept of that `before`; `seed` is of the bootstrap."""
        return PrecisionMeasures(
            precision_by_band(self.labelled, None if before is None else before.labelled, seed),
            precision_by_band(self.anonymized, None if before is None else before.anonymized, seed),
        )

    def wider_measures(self, before: ScorerStats | None = None, seed: int = 0) -> dict[str, WiderPrecision]:
        """Return the same by difficulty; empty without images of WIDER FACE."""
        return self.wider.measures(None if before is None else before.wider, seed) if self.wider.faces else {}


def anonymized_truth(chosen: Detections, truth: GroundTruth) -> GroundTruth:
    """Return the ground truth of faces that are both labelled and anonymized.

    Labelled faces without a `chosen` detection are ignored, and so are chosen detections without a label, because
    nobody knows whether they are faces.

    Args:
        chosen: detections that were anonymized, clipped to the image.
        truth: labelled faces.
    """
    found = match(chosen, truth)
    unlabelled = chosen.take(np.asarray(found.detection_region < 0, np.bool_))
    boxes = np.concatenate([truth.boxes, unlabelled.boxes])
    ignored = np.concatenate([truth.ignore | (found.region_detection < 0), np.ones(len(unlabelled), np.bool_)])
    return GroundTruth(boxes, ignored, truth.labels + unlabelled.labels)


def precision_by_band(
    images: Sequence[DetectionStats], before: Sequence[DetectionStats] | None = None, seed: int = 0
) -> dict[str, BandPrecision]:
    """Return band of face sizes -> average precision, and what is kept of that `before`.

    Args:
        images: of each image.
        before: of each image's original.
        seed: of the bootstrap.
    """
    own = {band: [image.bands[band] for image in images] for band in BANDS}
    first = None if before is None else {band: [image.bands[band] for image in before] for band in BANDS}
    return {band: _kept(own[band], None if first is None else first[band], seed) for band in BANDS}


def _kept(images: Sequence[BandStats], before: Sequence[BandStats] | None, seed: int) -> BandPrecision:
    total = reduce(BandStats.merge, images, BandStats())
    after = total.average_precision()
    if before is None:
        return BandPrecision(total.regions, after)
    first = reduce(BandStats.merge, before, BandStats()).average_precision()
    kept = after / first if first and after is not None else None
    return BandPrecision(
        total.regions, after, first, kept, None if kept is None else kept_interval(images, before, seed)
    )


@dataclass(slots=True)
class MethodCounts:
    """Results of one method and its fallbacks over many images.

    Args:
        scores: of the second detector on the outputs.
        by_method: method of the ladder -> faces that it anonymized.
        withheld: images without an output.
        missed: labelled faces that the outputs still show.
    """

    scores: ScorerStats = field(default_factory=ScorerStats)
    by_method: Counter[str] = field(default_factory=Counter)
    withheld: int = 0
    missed: MissedStats = field(default_factory=MissedStats)

    def add(self, output: Output | None, image: DetectedImage) -> None:
        """Add the output of one image; None if it is withheld."""
        if output is None:
            self.withheld += 1
        elif isinstance(output, Anonymized):
            self.by_method.update(output.methods.values())
        self._add_missed(output, image)

    def _add_missed(self, output: Output | None, image: DetectedImage) -> None:
        truth = labelled_faces(image.row)
        if truth is None:
            return
        regions = output.regions if isinstance(output, Anonymized) else ()
        faces = judge_regions(truth, regions, image.detections, image.image.preview(None))
        if output is None:
            self.missed.add_unpublished(len(faces))
        else:
            self.missed.add(faces, {})

    def outcomes(self, method: str) -> OutcomeMeasures:
        """Return the counts and shares; `method` is the evaluated method."""
        total = self.by_method.total()
        counts = dict(sorted(self.by_method.items()))
        shares = {name: number / total for name, number in counts.items()}
        return OutcomeMeasures(total, counts, shares, shares.get(method, 0.0) if total else None, self.withheld)
