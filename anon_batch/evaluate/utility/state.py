"""What the measures of utility are computed from: samples of images and faces, and counts of detections. It merges exactly.

A worker fills a state with its shards, states merge in any order and grouping, and the figures of the merged state are those of
one worker that saw everything. A state holds features of originals, which are personal data: keep it in memory or in the ledger.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from anon_batch.evaluate.utility.detection_kept import DetectionKept
from anon_batch.evaluate.utility.sampled_rows import SampledRows

MOST_IMAGES = 5_000  # 1,280 features of 5,000 originals and outputs are 50 MB
MOST_FACES = 2_000

# Columns of the samples, besides features: FEATURES of a network NAME are `NAME before` and `NAME after`.
LABEL, CHANGED = "label", "changed"
IMAGE, SIDE, SEAM, FOUND = "image", "side", "seam", "found"


def before(name: str) -> str:
    """Return the name of the column of features of originals."""
    return f"{name} before"


def after(name: str) -> str:
    """Return the name of the column of features of outputs."""
    return f"{name} after"


@dataclass(slots=True, eq=False)
class UtilityState:
    """Measures so far.

    Args:
        images: sample of images: class (empty without one), whether anything was changed, features by network.
        faces: sample of anonymized faces: image, side, seam, whether a second detector finds it, traits, features.
        detection: the second detector on originals and outputs, against ground truth.
        seen: images that were added, published ones.
        withheld: images without an output.
    """

    images: SampledRows = field(default_factory=lambda: SampledRows(MOST_IMAGES))
    faces: SampledRows = field(default_factory=lambda: SampledRows(MOST_FACES))
    detection: DetectionKept = field(default_factory=DetectionKept)
    seen: int = 0
    withheld: int = 0

    def merge(self, other: UtilityState) -> UtilityState:
        """Return the sum of both; neither changes.

        Raises:
            ValueError: the states were filled with other networks or capacities.
        """
        return UtilityState(
            self.images.merge(other.images),
            self.faces.merge(other.faces),
            self.detection.merge(other.detection),
            self.seen + other.seen,
            self.withheld + other.withheld,
        )
