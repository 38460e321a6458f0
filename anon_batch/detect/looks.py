"""The looks that a network takes at an image: as it is, at its small faces enlarged, and in other positions."""

from __future__ import annotations

from collections.abc import Callable

from anon_batch.detect.protocol import Detector, DetectorSettings, Finder
from anon_batch.detect.refine import PROPOSED, UNCONFIRMED, RefiningDetector
from anon_batch.detect.rotated import LIKELY, RotatingDetector
from anon_batch.detect.tiling import TiledDetector


def build_looks(finder: Callable[[float], Finder], settings: DetectorSettings, default_threshold: float) -> Detector:
    """Return the detector that a job asks for.

    Args:
        finder: returns the network with its decoding for a threshold.
        settings: threshold, scale, whether small faces are refined and images searched in other positions.
        default_threshold: of this kind of network.
    """
    detect, scale, threshold = settings.detect, settings.scale, settings.threshold(default_threshold)
    detector: Detector = TiledDetector(finder(threshold), scale, detect)
    if settings.refines:
        first = TiledDetector(finder(PROPOSED * threshold), scale, detect)
        detector = RefiningDetector(first, finder(UNCONFIRMED), scale, threshold)
    if not detect.rotated:
        return detector
    return RotatingDetector(detector, finder(LIKELY), detect.merge_iou)
