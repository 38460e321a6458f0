"""A detector whose results are checked, and of which a job may use some labels only."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anon_batch.detect.protocol import FAILURE, Detector
from anon_batch.errors import ConfigError, WithheldError
from anon_batch.records import Detections, Preview


class CheckedDetector:
    """Passes on what a detector finds, once it is complete, finite and labelled as declared.

    Args:
        detector: built in or a plug-in.
        labels: labels to pass on; None passes on all.

    Raises:
        ConfigError: `labels` names one that the detector does not find.
    """

    def __init__(self, detector: Detector, labels: Sequence[str] | None = None) -> None:
        self._detector = detector
        self._declared = frozenset(detector.labels)
        self.name = detector.name
        self.models = detector.models
        self.labels = tuple(detector.labels) if labels is None else tuple(dict.fromkeys(labels))
        if unknown := [label for label in self.labels if label not in self._declared]:
            raise ConfigError(
                f"detect.detectors: {self.name} does not find {', '.join(unknown)}; it finds {', '.join(detector.labels)}"
            )
        self._keep = frozenset(self.labels)

    @property
    def requests(self) -> int | None:
        """Number of requests to a service so far; None if the detector is none."""
        return getattr(self._detector, "requests", None)

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        """See Detector.detect.

        Raises:
            WithheldError: also for too few results, scores that are not finite, and labels that were not declared.
        """
        found = self._detector.detect(images)
        if len(found) != len(images):
            raise WithheldError(FAILURE, f"{self.name} gave {len(found)} results for {len(images)} images")
        return [self._check(own) for own in found]

    def _check(self, found: Detections) -> Detections:
        if not np.isfinite(found.scores).all():
            raise WithheldError(FAILURE, f"{self.name} gave scores that are not finite")
        if unknown := sorted(set(found.labels) - self._declared):
            # Because `labels` would drop it unseen, an undeclared label must not pass as "not wanted".
            raise WithheldError(FAILURE, f"{self.name} gave labels that it does not declare: {', '.join(unknown)}")
        # Arrays of its own, because a detector may use its buffers again.
        return found.take(np.array([label in self._keep for label in found.labels], np.bool_))
