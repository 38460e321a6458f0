"""How much of a second detector's average precision is left when the faces have been treated.

The second detector stands for whoever trains on the release or measures it: a face that it no longer finds is lost as a
face. It has to be another one than the detector that chose what is treated.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from anon_batch.records import AnonymizedImage, Detections, GroundTruth
from anon_batch.stats.detection import DetectionStats
from anon_batch.stats.matching import IOU_THRESHOLD, match


@dataclass(slots=True)
class Scores:
    """A detector's findings over many pictures, against all labelled faces and against the treated ones alone.

    The second figure leaves out what is not both: labelled faces that were not treated, and what was treated without a label,
    see `treated_truth`. It tells what a method does to faces, the first what is left of the data set.
    """

    labelled: DetectionStats = field(default_factory=DetectionStats)
    treated: DetectionStats = field(default_factory=DetectionStats)

    def add(self, found: Detections, truth: GroundTruth, treated: GroundTruth) -> None:
        """Counts one picture.

        Args:
            found: the second detector's, clipped to the picture.
            truth: labelled faces.
            treated: the same, as `treated_truth` makes them.
        """
        self.labelled.add(found, truth)
        self.treated.add(found, treated)

    def summary(self) -> dict[str, Any]:
        """Average precision by band."""
        return {"labelled_faces": _by_band(self.labelled), "treated_faces": _by_band(self.treated)}


def treated_truth(chosen: Detections, truth: GroundTruth) -> GroundTruth:
    """The ground truth for what was treated and labelled alone.

    Faces that none of the `chosen` detections found are to be ignored, and so is what was treated without being
    labelled: whether a face was there, and whether one should be found there now, nobody knows.

    Args:
        chosen: what was treated, clipped to the picture.
        truth: labelled faces.
    """
    found = match(chosen, truth)
    unlabelled = chosen.take(np.asarray(found.detection_face < 0, np.bool_))
    boxes = np.concatenate([truth.boxes, unlabelled.boxes])
    ignored = np.concatenate([truth.ignore | (found.face_detection < 0), np.ones(len(unlabelled), np.bool_)])
    return GroundTruth(boxes, ignored, truth.labels + unlabelled.labels)


def precision_kept(before: DetectionStats, after: DetectionStats) -> dict[str, dict[str, Any]]:
    """Band of face sizes -> number of faces, average precision `before` and after, and the share that is `kept`.

    `kept` is None where there was nothing to keep.
    """
    out = _by_band(after)
    for band, figures in out.items():
        first, second = before.bands[band].average_precision(), figures["average_precision"]
        figures["before"] = first
        figures["kept"] = second / first if first and second is not None else None
    return out


def _by_band(stats: DetectionStats) -> dict[str, dict[str, Any]]:
    return {
        band: {"faces": own.faces, "average_precision": own.average_precision()} for band, own in stats.bands.items()
    }


@dataclass(slots=True)
class MethodTally:
    """What became of the pictures under one method's ladder.

    Args:
        scores: of the second detector on the outputs.
        treated_by: name of a method of the ladder -> faces that it treated.
        withheld: pictures without an output; their faces count as lost.
    """

    scores: Scores = field(default_factory=Scores)
    treated_by: Counter[str] = field(default_factory=Counter)
    withheld: int = 0

    def count(self, result: AnonymizedImage | None) -> None:
        """Counts a picture's faces by the method that treated each."""
        if result is None:
            self.withheld += 1
        else:
            self.treated_by.update(result.methods.values())

    def treatment(self, method: str) -> dict[str, Any]:
        """Faces by the method of the ladder that treated them, as numbers and shares; pictures withheld.

        `own_share` is that of `method` itself, None without faces.
        """
        total = self.treated_by.total()
        counted = dict(sorted(self.treated_by.items()))
        shares = {name: number / total for name, number in counted.items()}
        return {
            "faces": total,
            "treated_by": counted,
            "shares": shares,
            "own_share": shares.get(method, 0.0) if total else None,
            "withheld_pictures": self.withheld,
        }

    def precision(self, before: Scores) -> dict[str, Any]:
        """What is kept of the average precision `before`, band by band, for all labelled faces and for the treated."""
        return {
            "iou_threshold": IOU_THRESHOLD,
            "labelled_faces": precision_kept(before.labelled, self.scores.labelled),
            "treated_faces": precision_kept(before.treated, self.scores.treated),
        }
