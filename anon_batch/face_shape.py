"""Which mask a face gets: the outline of a well-found face, just large enough for every landmark, or a wide ellipse."""

from __future__ import annotations

import math
from collections.abc import Sequence

from anon_batch.face_outline import CHIN, TAPER, Box, MaskShape, Point, gauge, turned

EXPANSION = 1.15  # of the mask of a well-found face
LEAST_EXPANSION = 1.1  # below it more persons are recognised by what is left around the mask
ELLIPSE_EXPANSION = 1.3  # of all other masks, and of faces that are not well found at least
MAX_GROWTH = 1.25  # over the usual ellipse

_MIN_SCORE = 0.5
_MIN_SIDE_PX = 16.0
_MAX_ROLL = 0.8  # radians
_MIN_SPREAD = 0.12  # of the box's longer side: landmarks closer together than this are not plausible
_MAX_BEYOND = 0.35  # of the box's longer side: landmarks further outside the box are not plausible
_MARGIN = 0.05  # of the mask's longer side: least distance of a landmark to the mask's border
_ROUNDEST = 0.99  # of the shorter radius: of a disc that fits about the centre of a mask of any proportions
_ASPECT = 0.78  # width over height of CenterFace's boxes of upright faces, the median


def mask_shape(
    box: Box, score: float, landmarks: Sequence[Point] | None, others: Sequence[Point], expansion: float
) -> MaskShape:
    """Return the mask of a face: the `face` of a well-found one, else an upright ellipse.

    Well found is a face with a score of at least 0.5, a longer side of at least 16 px, landmarks that are plausible in its box
    and a roll below 0.8 radians. Its mask grows evenly until every landmark lies in it, with a margin of 5 % of its longer side.
    Where that takes more than 1.25 times the usual ellipse, box and landmarks contradict each other, and the face is not well
    found: its mask is that ellipse, grown by 1.25 at most.

    Args:
        box: xyxy px, with x1 <= x2 and y1 <= y2.
        score: of the detection.
        landmarks: its own, five xy px; None if it has none.
        others: of the same face by other detectors, xy px.
        expansion: factor of the upright face's sides; an ellipse takes at least 1.3.
    """
    width, height = max(box[2] - box[0], 1.0), max(box[3] - box[1], 1.0)
    wide = max(expansion, ELLIPSE_EXPANSION)
    ellipse = MaskShape("ellipse", (width * wide / 2, height * wide / 2))
    if landmarks is None or not _is_well_found(box, score, landmarks):
        return ellipse
    angle = _roll(landmarks)
    x, y = (box[0] + box[2]) / 2, (box[1] + box[3]) / 2
    offsets = [(own_x - x, own_y - y) for own_x, own_y in (*landmarks, *others)]
    across, down = (side * expansion / 2 for side in upright_sides(width, height, angle))
    growth = _growth((across, down), turned(offsets, -angle), CHIN, TAPER)
    if growth * expansion <= wide * MAX_GROWTH:
        return MaskShape("face", (across * growth, down * growth), angle)
    growth = min(_growth(ellipse.radii, offsets, 1.0, 0.0), MAX_GROWTH)
    return MaskShape("ellipse", (ellipse.radii[0] * growth, ellipse.radii[1] * growth))


def _is_well_found(box: Box, score: float, landmarks: Sequence[Point]) -> bool:
    return (
        score >= _MIN_SCORE
        and max(box[2] - box[0], box[3] - box[1]) >= _MIN_SIDE_PX
        and are_plausible(landmarks, box)
        and abs(_roll(landmarks)) < _MAX_ROLL
    )


def _roll(landmarks: Sequence[Point]) -> float:
    """Return the angle by which a face is turned in the image, from the x axis towards the y axis.

    It is that of the line between the eyes added to the one from eyes to mouth, turned by a right angle. Of a profile the former
    is short and says little.
    """
    (right_x, right_y), (left_x, left_y), _, *mouth = landmarks
    across_x, across_y = left_x - right_x, left_y - right_y
    down_x = (mouth[0][0] + mouth[1][0] - left_x - right_x) / 2
    down_y = (mouth[0][1] + mouth[1][1] - left_y - right_y) / 2
    return math.atan2(across_y - down_x, across_x + down_y)


def are_plausible(landmarks: Sequence[Point], box: Box) -> bool:
    """Return whether five landmarks may be those of the face in a box: neither bunched together nor far outside it."""
    x1, y1, x2, y2 = box
    longer = max(x2 - x1, y2 - y1, 1.0)
    middle_x = sum(x for x, _ in landmarks) / len(landmarks)
    middle_y = sum(y for _, y in landmarks) / len(landmarks)
    spread = sum(math.hypot(x - middle_x, y - middle_y) for x, y in landmarks) / len(landmarks)
    beyond = max(max(x1 - x, x - x2, y1 - y, y - y2) for x, y in landmarks)
    return spread >= _MIN_SPREAD * longer and beyond <= _MAX_BEYOND * longer


def upright_sides(width: float, height: float, angle: float) -> tuple[float, float]:
    """Return width and height that a face has when it is turned upright.

    They are those of the ellipse whose bounding box, turned by `angle`, holds the detected one. Because at 45 degrees all
    ellipses have square bounding boxes, the sides' ratio is a compromise between the box's and the usual one: the least-squares
    estimate in logarithms, whose weight on the box is full for an upright face and none at 45 degrees.

    Args:
        width: of the detected box, px.
        height: of the detected box, px.
        angle: of the face, radians.
    """
    cosine, sine = math.cos(angle) ** 2, math.sin(angle) ** 2
    usual = _ASPECT**2
    across, down = usual * cosine + sine, usual * sine + cosine
    slope = usual * (cosine / across - sine / down)  # of the turned ratio by the upright one, both as logarithms
    weight = 2 * slope / (slope**2 + 1)  # of an estimate when the box's ratio and the usual one vary alike
    ratio = usual * (width**2 / height**2 * down / across) ** weight  # squared
    upright = max(width / math.sqrt(ratio * cosine + sine), height / math.sqrt(ratio * sine + cosine))
    return upright * math.sqrt(ratio), upright


def _growth(radii: Point, offsets: Sequence[Point], chin: float, taper: float) -> float:
    """Return the least factor from 1 by which the radii must grow so that points around the centre lie in the mask.

    The margin's discs about them lie in it too: the mask's gauge is sublinear, because the mask is convex, so that no point of a
    disc needs more than the sum of both.
    """
    rx, ry = radii
    margin = _MARGIN * 2 * max(rx, ry) / (_ROUNDEST * min(rx, ry))
    return max(1.0, margin + max(gauge(x / rx, y / ry, chin, taper) for x, y in offsets))
