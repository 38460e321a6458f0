"""What a second detector still finds: average precision by size of the faces, and the faces that it found before."""

from __future__ import annotations

from dataclasses import dataclass, field, replace

import numpy as np

from anon_batch.evaluate.release.findings import Findings
from anon_batch.evaluate.release.residual import SURE_SCORE
from anon_batch.evaluate.utility.detection_kept import DetectionKept, DetectionPair
from anon_batch.evaluate.utility.jackknife import GROUPS, interval
from anon_batch.formats.evidence_json import Cell, Table
from anon_batch.stats import counts
from anon_batch.stats.figure import Figure
from anon_batch.stats.matching import BANDS


@dataclass(frozen=True, slots=True)
class PrecisionState:
    """Detections of the second detector on originals and outputs.

    Args:
        anonymized: against labelled faces that were anonymized.
        found: group of images, see `jackknife` -> faces that the second detector surely found in originals of published images.
        kept: group -> those that it found again in the output.
    """

    anonymized: DetectionKept = field(default_factory=DetectionKept)
    found: dict[int, int] = field(default_factory=dict)
    kept: dict[int, int] = field(default_factory=dict)

    def merge(self, other: PrecisionState) -> PrecisionState:
        """Return the sum of both; neither changes."""
        return PrecisionState(
            self.anonymized.merge(other.anonymized),
            counts.add(self.found, other.found),
            counts.add(self.kept, other.kept),
        )

    def findings(self, labelled: DetectionKept) -> Findings:
        """Return `utility.faces_kept`, and the table of `utility.ap_kept` by size.

        Args:
            labelled: the same detections against all labelled faces.
        """
        figures = {"utility.faces_kept": self._faces_kept()}
        rows = [*_rows("all labelled faces", labelled), *_rows("anonymized faces alone", self.anonymized)]
        if not rows:
            return Findings(figures)
        table = Table(
            "Average precision of the second detector before and after anonymization",
            ("faces", "size", "n", "before", "after", "kept"),
            tuple(rows),
            "At IoU 0.5. Sizes are COCO's: small up to 32 x 32 px, medium up to 96 x 96 px, large above. `all labelled faces` is "
            "what remains of the data set, missed faces included; `anonymized faces alone` is what the method does to a face. "
            "Faces of withheld images count as lost.",
        )
        return Findings(figures, {"utility.ap_kept": table})

    def _faces_kept(self) -> Figure:
        found, kept = (np.array([own.get(g, 0) for g in range(GROUPS)], np.int64) for own in (self.found, self.kept))
        whole, again = int(found.sum()), int(kept.sum())
        if not whole:
            return Figure.missing("the second detector finds no face in the originals of published images")
        pairs = zip(found.tolist(), kept.tolist(), strict=True)
        without = [(again - own) / (whole - faces) for faces, own in pairs if 0 < faces < whole]
        low, high = interval(again / whole, without, 0.0, 1.0) or (None, None)
        how = "too few images for an interval" if low is None else "interval: delete-a-group jackknife over images"
        note = (
            f"of the faces that the second detector finds in originals with a score from {SURE_SCORE}, the share that it finds "
            "again in the output at IoU 0.5"
        )
        return Figure(again / whole, low, high, whole, "faces found", f"{note}; {how}")


def _rows(which: str, kept: DetectionKept) -> list[tuple[Cell, ...]]:
    total = DetectionPair()
    for pair in kept.groups:
        total = total.merge(pair)
    rows: list[tuple[Cell, ...]] = []
    for band in BANDS:
        before, after = total.before.bands[band], total.after.bands[band]
        if before.regions:
            share = kept.figure(band)
            share = share if share.value is None else replace(share, note="")
            rows.append(
                (
                    which,
                    band.replace("_", " "),
                    before.regions,
                    before.average_precision(),
                    after.average_precision(),
                    share,
                )
            )
    return rows
