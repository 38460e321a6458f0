"""How much of a second detector's average precision is kept, with its interval over images."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from functools import reduce

from anon_batch.evaluate.utility.jackknife import GROUPS, group_of, interval
from anon_batch.records import Detections, GroundTruth
from anon_batch.stats.detection import DetectionStats
from anon_batch.stats.figure import Figure


@dataclass(slots=True)
class DetectionPair:
    """The second detector on originals and on outputs."""

    before: DetectionStats = field(default_factory=DetectionStats)
    after: DetectionStats = field(default_factory=DetectionStats)

    def merge(self, other: DetectionPair) -> DetectionPair:
        """Return the sum of both; neither changes."""
        return DetectionPair(self.before.merge(other.before), self.after.merge(other.after))

    def kept(self, band: str = "all") -> float | None:
        """Return the average precision on outputs as a share of that on originals; None if there is nothing to keep."""
        before, after = (own.bands[band].average_precision() for own in (self.before, self.after))
        return None if not before or after is None else after / before


@dataclass(slots=True)
class DetectionKept:
    """Detections by group of images, see `jackknife`. Of a fixed size; merges exactly."""

    groups: list[DetectionPair] = field(default_factory=lambda: [DetectionPair() for _ in range(GROUPS)])

    def add(self, key: int, before: Detections, after: Detections, truth: GroundTruth) -> None:
        """Add one image.

        Args:
            key: hash of its id.
            before: found by the second detector in the original, clipped.
            after: in the output; none in an image that is withheld.
            truth: what it should find.
        """
        pair = self.groups[group_of(key)]
        pair.before.add(before, truth)
        pair.after.add(after, truth)

    def merge(self, other: DetectionKept) -> DetectionKept:
        """Return the sum of both; neither changes."""
        return DetectionKept([own.merge(more) for own, more in zip(self.groups, other.groups, strict=True)])

    def figure(self, band: str = "all") -> Figure:
        """Return `utility.ap_kept` of a band of face sizes."""
        filled = [pair for pair in self.groups if pair.before.images]
        whole = _total(filled)
        value, faces = whole.kept(band), whole.before.bands[band].regions
        if value is None:
            return Figure.missing(
                "not measured: no labelled face that the second detector finds; needs ground truth and a scorer"
            )
        without = [_total(filled[:at] + filled[at + 1 :]).kept(band) for at in range(len(filled))]
        found = interval(value, [own for own in without if own is not None], lowest=0.0)
        low, high = found or (None, None)
        note = "interval: delete-a-group jackknife over images" if found else "too few images for an interval"
        return Figure(value, low, high, faces, "labelled faces", note)


def _total(pairs: Sequence[DetectionPair]) -> DetectionPair:
    return reduce(DetectionPair.merge, pairs, DetectionPair())
