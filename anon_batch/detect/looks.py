"""The looks that a network takes at an image: as it is, at its small faces enlarged, and in other positions."""

from __future__ import annotations

from collections.abc import Callable

from anon_batch.detect.coarse import CoarseToFineDetector
from anon_batch.detect.protocol import Detector, DetectorSettings, Finder
from anon_batch.detect.refine import PROPOSED, UNCONFIRMED, RefiningDetector
from anon_batch.detect.rotated import LIKELY, RotatingDetector
from anon_batch.detect.tiling import TiledDetector


def build_looks(
    finder: Callable[[float], Finder], settings: DetectorSettings, default_threshold: float, trace: float | None = None
) -> Detector:
    """Return the detector that a job asks for.

    Args:
        finder: returns the network with its decoding for a threshold.
        settings: threshold, scale, whether small faces are refined and images searched in other positions.
        default_threshold: of this kind of network.
        trace: least score in a downscaled image of what may be a small face; None searches large images in full size, because
            this kind of network leaves no trace of them.
    """
    detect, scale, threshold = settings.detect, settings.scale, settings.threshold(default_threshold)

    def first_look(least: float) -> Detector:
        whole = TiledDetector(finder(least), scale, detect)
        if trace is None or not detect.coarse_to_fine:
            return whole
        return CoarseToFineDetector(whole, finder(least), finder(min(trace, least)), least, scale, detect)

    detector = first_look(threshold)
    if settings.refines:
        detector = RefiningDetector(first_look(PROPOSED * threshold), finder(UNCONFIRMED), scale, threshold)
    if not detect.rotated:
        return detector
    return RotatingDetector(detector, finder(LIKELY), detect.merge_iou)
