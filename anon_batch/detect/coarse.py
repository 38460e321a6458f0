"""Search of large images from coarse to fine: downscaled as a whole, and in full size where that may show a small face.

Of a face of 16 px, 7 px are left in the downscaled image, too few to be sure of one, but enough for a trace.
Around each trace, and each small face, a window is searched in full size. The cost follows what the image shows, not its pixels.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anon_batch.config import DetectConfig
from anon_batch.detect.merge import merge_tiles
from anon_batch.detect.protocol import Detector, Finder
from anon_batch.detect.tiling import TiledDetector
from anon_batch.detect.windows import find_in_windows, in_image, lie_whole, windows_of
from anon_batch.records import Detections, Preview

COARSE = 0.45  # of the full size: the downscaled image; at 0.3 half of the faces of 16 to 20 px leave no trace
SIDE_PX = 192  # of a window
_LARGER = 1.5  # than other pieces may be: the downscaled image that is searched at once


class CoarseToFineDetector:
    """Searches large images from coarse to fine, and others at once.

    Args:
        detector: searches an image that is not large.
        finder: finds the faces in windows, and what counts of the downscaled image by its `threshold`.
        tracer: finds what may be a small face in the downscaled image.
        threshold: least score of a face.
        scale: resize factor of an image before the network.
        config: size of the largest piece that is searched at once, and the IoU at which boxes are one face.
    """

    def __init__(
        self, detector: Detector, finder: Finder, tracer: Finder, threshold: float, scale: float, config: DetectConfig
    ) -> None:
        self._detector = detector
        self._finder = finder
        self._threshold = threshold
        self._scale = scale
        self._size_px = config.tile.size_px
        self._merge_iou = config.merge_iou
        tile = config.tile.model_copy(update={"size_px": round(_LARGER * self._size_px)})
        self._coarse = TiledDetector(tracer, COARSE * scale, config.model_copy(update={"tile": tile}))
        self.name = finder.name
        self.models = finder.models
        self.labels = finder.labels

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        """See Detector.detect. Return each image's faces by falling score."""
        size = self._size_px
        large = {at for at, own in enumerate(images) if size and max(own.width, own.height) * self._scale > size}
        others = [own for at, own in enumerate(images) if at not in large]
        at_once = iter(self._detector.detect(others) if others else [])
        return [self._search(own) if at in large else next(at_once) for at, own in enumerate(images)]

    def _search(self, image: Preview) -> Detections:
        [coarse] = self._coarse.detect([image])
        windows = windows_of(coarse.boxes, coarse.scores, self._scale, SIDE_PX)
        seen = find_in_windows(self._finder, [(image, window) for window in windows])
        fine = [
            in_image(found.take(lie_whole(found, window)), window) for window, found in zip(windows, seen, strict=True)
        ]
        sure = coarse.take(np.asarray(coarse.scores >= self._threshold, np.bool_))
        return merge_tiles([sure, *fine], self._merge_iou)
