"""Search of images that may be rotated without a tag that says so.

Networks find few faces that lie on their side or stand on their head, and are less sure of them. So an image without a face that
is certain is looked at in the three other positions, at half its size, and is searched once more in each position that shows more
faces, or surer ones, than upright: a higher sum of their scores.

Of the labelled faces of at least 16 px in 106 photographs of crowds that are rotated by a half or quarter turn, the default job
leaves 4.8 to 6.5 % uncovered this way, and 69 to 85 % without it; upright it leaves 2.7 %. The numbers above were chosen on
108 others (`pytest -m accuracy -s tests/detect/test_detection_accuracy.py`).
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from anon_batch.detect.merge import merge_detectors
from anon_batch.detect.protocol import Detector, Finder
from anon_batch.detect.turn import turn_detections
from anon_batch.imaging.downscale import downscale
from anon_batch.imaging.orientation import inverse_of, turn_upright
from anon_batch.records import Detections, Preview

CERTAIN = 0.85  # score of a face that shows that the image is upright
LIKELY = 0.3  # score of a face that counts in that comparison
REDUCED = 0.5  # size of the image for the first look at another position
WEIGHT = 1.5  # of the sum of scores there, because fewer faces are found at that size
MAX_SIDE_PX = 768  # of it
_POSITIONS = (3, 6, 8)  # half a turn, a quarter turn clockwise, one counter-clockwise; as EXIF orientations


class RotatingDetector:
    """A detector that searches some images in other positions too.

    Args:
        detector: searches an image in one position.
        finder: looks at whole images at reduced size; finds what scores at least LIKELY.
        merge_iou: boxes of different positions that overlap at least this much are one face.
        certain: score that shows that the image is upright; the default is for faces.
    """

    def __init__(self, detector: Detector, finder: Finder, merge_iou: float, certain: float = CERTAIN) -> None:
        self._detector = detector
        self._finder = finder
        self._merge_iou = merge_iou
        self._certain = certain
        self.name = detector.name
        self.models = detector.models
        self.labels = detector.labels

    def detect(self, images: Sequence[Preview]) -> list[Detections]:
        """See Detector.detect. What is found in other positions comes after the rest, or before it if that is surer."""
        found = self._detector.detect(images)
        worth = self._worth_a_search(images, found)
        views = [_turn(images[at], position) for at, position in worth]
        more: dict[int, list[Detections]] = {at: [found[at]] for at, _ in worth}
        for (at, position), view, own in zip(worth, views, self._detector.detect(views) if views else [], strict=True):
            more[at].append(turn_detections(own, view.width, view.height, inverse_of(position)))
        return [self._merge(more[at]) if at in more else own for at, own in enumerate(found)]

    def _worth_a_search(self, images: Sequence[Preview], found: Sequence[Detections]) -> list[tuple[int, int]]:
        """Return (image, position) where an image shows more faces than upright, or surer ones."""
        doubtful = [at for at, own in enumerate(found) if own.scores.max(initial=0.0) < self._certain]
        small = {at: _reduce(images[at]) for at in doubtful}
        looks = [(at, position) for at in doubtful for position in _POSITIONS]
        seen = (
            self._finder.find([_turn(small[at], own).pixels for at, own in looks], [1.0] * len(looks)) if looks else []
        )
        return [own for own, faces in zip(looks, seen, strict=True) if WEIGHT * _sum(faces) > _sum(found[own[0]])]

    def _merge(self, parts: list[Detections]) -> Detections:
        """Return all faces, those of the position with the surest face first: its boxes are kept where others overlap them."""
        surest = sorted(parts, key=lambda own: -float(own.scores.max(initial=0.0)))
        return merge_detectors(surest, self._merge_iou)


def _sum(faces: Detections) -> float:
    """Return the sum of the scores of the likely faces."""
    return float(faces.scores[faces.scores >= LIKELY].sum(dtype=np.float64))


def _reduce(image: Preview) -> Preview:
    return downscale(image, min(MAX_SIDE_PX, max(1, round(max(image.width, image.height) * REDUCED))))


def _turn(image: Preview, position: int) -> Preview:
    pixels = turn_upright(np.asarray(image.pixels), position)
    scales = (image.scale_x, image.scale_y)
    return Preview(image.image_id, pixels, *(reversed(scales) if position >= 5 else scales))
