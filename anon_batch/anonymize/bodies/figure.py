"""The body model: which solids a figure consists of, from the keypoints alone.

Lengths and directions are those of the keypoints. Widths are those of a fixed model, in units of the figure's height, which is
estimated from the lengths of its bones; nothing of the person's outline enters. Shares of a body's height are those of Winter
2009, "Biomechanics and motor control of human movement", table 4.1, where that table has them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal, NamedTuple

import numpy as np
import numpy.typing as npt

from anon_batch.anonymize.bodies.solids import Ellipsoid, Limb, Solid, Vector
from anon_batch.detect.pose import KEYPOINTS
from anon_batch.records import FloatArray

DEPTH_SHARE = 0.7  # of the network's depths that is believed: they are its least sure figures
SURE = 0.5  # confidence from which a point is taken to be seen

LIKELY = 0.1  # confidence of a joint below which what hangs on it is left out

LEAST_SEEN = 3  # sure points of those below, without which a posture is a guess
_TELLING = ("nose", "left eye", "right eye", "left shoulder", "right shoulder", "left hip", "right hip")
Material = Literal["wood", "top", "legs", "dark"]
MATERIALS: tuple[Material, ...] = ("wood", "top", "legs", "dark")

_AT = {name: place for place, name in enumerate(KEYPOINTS)}
# Bones by which the height is estimated: ends, and length as a share of the height.
_BONES = (
    *(((f"{side} shoulder", f"{side} elbow"), 0.172) for side in ("left", "right")),
    *(((f"{side} elbow", f"{side} wrist"), 0.15) for side in ("left", "right")),
    *(((f"{side} hip", f"{side} knee"), 0.24) for side in ("left", "right")),
    *(((f"{side} knee", f"{side} ankle"), 0.246) for side in ("left", "right")),
    *(((f"{side} shoulder", f"{side} hip"), 0.288) for side in ("left", "right")),
    (("left shoulder", "right shoulder"), 0.2),
)
# Radii of limbs, as shares of the height.
_ARM = (0.034, 0.027, 0.019)  # at shoulder, elbow and wrist
_LEG = (0.055, 0.036, 0.023)  # at hip, knee and ankle
_CALF, _CALF_AT = 0.037, 0.3  # where the calf is widest, as a share of the shin
_HOLLOW = 0.42  # tone of two hollows for eyes: without them and a cap networks take one figure in nine for its back
_HEAD = (0.115, 0.19)  # least and largest height of the head
_LARGEST = 20_000.0  # px of a figure's height


class Part(NamedTuple):
    """A solid of the figure.

    Args:
        solid: what is drawn.
        sure: whether the keypoints that it hangs on are seen.
        material: what it is made of.
        tone: factor of its lightness.
    """

    solid: Solid
    sure: bool
    material: Material
    tone: float = 1.0


@dataclass(frozen=True, slots=True, eq=False)
class Figure:
    """A body to draw.

    Args:
        height: of the person when standing, px.
        parts: its solids.
        feet: points of the soles that touch the ground, if they are seen, xy px.
    """

    height: float
    parts: tuple[Part, ...]
    feet: tuple[tuple[float, float], ...]


class _Body:
    """The keypoints as points with depth."""

    def __init__(self, keypoints: FloatArray) -> None:
        points = keypoints.astype(np.float64)
        points[:, 2] *= DEPTH_SHARE
        self._points, self._sure = points[:, :3], points[:, 3]

    def at(self, *names: str) -> Vector:
        """Return a point, or the mean of several."""
        return np.asarray(sum(self._points[_AT[name]] for name in names) / len(names), np.float64)

    def sure(self, *names: str) -> float:
        """Return the confidence of the least sure of several points."""
        return min(float(self._sure[_AT[name]]) for name in names)


def make_figure(keypoints: FloatArray) -> Figure | str:
    """Return the figure of a person, or why there is none.

    Args:
        keypoints: (33, 4), see `PoseFinder.find`.
    """
    if not np.isfinite(keypoints).all():
        return "its keypoints are not finite"
    body = _Body(keypoints)
    seen = sum(body.sure(name) >= SURE for name in _TELLING)
    if seen < LEAST_SEEN:
        return f"too few of its keypoints are sure: {seen} of {len(_TELLING)}"
    height = _height(body)
    if not 1.0 < height < _LARGEST:
        return f"its keypoints give a body of {height:.3g} px"
    parts = (*_trunk(body, height), *_head(body, height), *_limbs(body, height))
    return Figure(height, parts, tuple(_feet(body, height)))


def _height(body: _Body) -> float:
    """Return the height of which most bones have the expected share; hidden bones count if no other does."""
    for limit in (SURE, 0.0):
        heights = [
            float(_length(body.at(start) - body.at(stop))) / share
            for (start, stop), share in _BONES
            if body.sure(start, stop) >= limit
        ]
        if heights:
            break
    ranked = sorted(heights)  # above the middle, because a bone that points at the camera looks too short
    return ranked[(3 * len(ranked)) // 5]


def _trunk(body: _Body, height: float) -> Iterator[Part]:
    neck, pelvis = body.at("left shoulder", "right shoulder"), body.at("left hip", "right hip")
    across = body.at("left shoulder") - body.at("right shoulder")
    broad = min(_length(across), 0.26 * height)
    axes = _frame(neck - pelvis, across)
    up = axes[1]
    trunk = _length(neck - pelvis)
    hips_across = body.at("left hip") - body.at("right hip")
    hip_axes = _frame(neck - pelvis, hips_across if _length(hips_across) > 0.02 * height else across)
    hips_broad = min(_length(hips_across), 0.16 * height)
    sure = body.sure("left shoulder", "right shoulder") >= SURE
    low = sure and body.sure("left hip", "right hip") >= SURE
    chest = neck - up * 0.36 * trunk
    yield Part(Ellipsoid(chest, axes, (0.36 * broad + 0.022 * height, 0.42 * trunk, 0.066 * height)), sure, "top")
    breast = neck - up * 0.1 * height
    yield Part(Ellipsoid(breast, axes, (0.44 * broad, 0.115 * height, 0.064 * height)), sure, "top")
    yoke = 0.5 * broad - 0.008 * height  # from the neck to the shoulders
    for side in (1, -1):
        end = neck + axes[0] * side * yoke - up * 0.004 * height
        yield Part(Limb(neck + up * 0.022 * height, end, 0.043 * height, 0.036 * height), sure, "top")
    waist = pelvis + up * 0.3 * trunk
    yield Part(Ellipsoid(waist, hip_axes, (0.068 * height, 0.27 * trunk, 0.055 * height)), low, "top", 0.95)
    wide = 0.5 * hips_broad + 0.036 * height
    yield Part(Ellipsoid(pelvis + up * 0.03 * height, hip_axes, (wide, 0.068 * height, 0.062 * height)), low, "legs")


def _head(body: _Body, height: float) -> Iterator[Part]:
    ears, eyes = body.at("left ear", "right ear"), body.at("left eye", "right eye")
    mouth, nose = body.at("mouth left", "mouth right"), body.at("nose")
    neck = body.at("left shoulder", "right shoulder")
    across = body.at("left ear") - body.at("right ear")
    ahead = (nose + eyes) / 2 - ears
    size = (1.45 * _length(across) + 3.4 * _length(eyes - mouth)) / 2
    size = min(max(size, _HEAD[0] * height), _HEAD[1] * height)
    axes = _frame_ahead(ahead, across, neck - body.at("left hip", "right hip"))
    side, up, front = axes
    sure = body.sure("nose") >= SURE
    skull = ears + up * 0.16 * size
    chin = ears - up * 0.2 * size + front * 0.2 * size
    base = ears - up * 0.14 * size - front * 0.06 * size
    yield Part(Limb(neck + up * 0.012 * height, base, 0.031 * height, 0.027 * height), sure, "wood", 0.93)
    yield Part(Limb(skull, chin, 0.37 * size, 0.22 * size), sure, "wood")
    cap = skull + up * 0.03 * size - front * 0.06 * size
    yield Part(Ellipsoid(cap, axes, (0.38 * size, 0.37 * size, 0.4 * size)), sure, "dark")
    bridge = ears + up * 0.1 * size + front * 0.36 * size
    yield Part(Limb(bridge, ears - up * 0.06 * size + front * 0.46 * size, 0.03 * size, 0.055 * size), sure, "wood")
    for sign in (1, -1):
        hollow = ears + up * 0.1 * size + front * 0.31 * size + side * sign * 0.15 * size
        yield Part(Ellipsoid(hollow, axes, (0.09 * size, 0.052 * size, 0.07 * size)), sure, "wood", _HOLLOW)


def _limbs(body: _Body, height: float) -> Iterator[Part]:
    for side in ("left", "right"):
        yield from _arm(body, height, side)
        yield from _leg(body, height, side)


def _arm(body: _Body, height: float, side: str) -> Iterator[Part]:
    shoulder, elbow, wrist = (body.at(f"{side} {joint}") for joint in ("shoulder", "elbow", "wrist"))
    upper, lower = (body.sure(f"{side} {at}", f"{side} elbow") >= SURE for at in ("shoulder", "wrist"))
    r0, r1, r2 = (share * height for share in _ARM)
    yield Part(Limb(shoulder, shoulder, r0 * 1.08, r0 * 1.08), body.sure(f"{side} shoulder") >= SURE, "top", 0.9)
    yield Part(Limb(shoulder, elbow, r0, r1), upper, "top")
    yield Part(Limb(elbow, elbow, r1 * 1.08, r1 * 1.08), upper, "top", 0.9)
    if max(body.sure(f"{side} elbow"), body.sure(f"{side} wrist")) >= LIKELY:
        yield Part(Limb(elbow, wrist, r1, r2), lower, "top")
        yield from _hand(body, height, side, wrist, wrist - elbow, lower)


def _hand(body: _Body, height: float, side: str, wrist: Vector, along: Vector, sure: bool) -> Iterator[Part]:
    """Yield a palm, fingers in one, and a thumb, of fixed lengths along what the keypoints point at."""
    r2 = _ARM[2] * height
    yield Part(Limb(wrist, wrist, r2 * 1.05, r2 * 1.05), sure, "wood", 0.9)
    knuckles = body.at(f"{side} index", f"{side} pinky") - wrist
    ahead = _unit(knuckles, _unit(along, np.array([0.0, 1.0, 0.0])))
    palm = wrist + ahead * 0.055 * height
    spread = _unit(body.at(f"{side} index") - body.at(f"{side} pinky"), np.array([1.0, 0.0, 0.0])) * 0.011 * height
    for share in (-1, 1):
        yield Part(Limb(wrist, palm + spread * share, r2 * 0.85, 0.0135 * height), sure, "wood")
        tip = palm + spread * share * 0.7 + ahead * 0.035 * height
        yield Part(Limb(palm + spread * share, tip, 0.013 * height, 0.008 * height), sure, "wood")
    thumb = _unit(body.at(f"{side} thumb") - wrist, ahead)
    start = wrist + (thumb + ahead) * 0.012 * height
    yield Part(Limb(start, start + thumb * 0.035 * height, 0.011 * height, 0.008 * height), sure, "wood")


def _leg(body: _Body, height: float, side: str) -> Iterator[Part]:
    hip, knee, ankle, heel, toe = (body.at(f"{side} {at}") for at in ("hip", "knee", "ankle", "heel", "foot index"))
    upper, lower = (body.sure(f"{side} {at}", f"{side} knee") >= SURE for at in ("hip", "ankle"))
    r0, r1, r2 = (share * height for share in _LEG)
    if body.sure(f"{side} hip") < LIKELY:
        return
    yield Part(Limb(hip, knee, r0, r1), upper, "legs")
    yield Part(Limb(knee, knee, r1 * 1.06, r1 * 1.06), upper, "legs", 0.9)
    if body.sure(f"{side} knee") < LIKELY:
        return
    calf = knee + (ankle - knee) * _CALF_AT
    yield Part(Limb(knee, calf, r1 * 0.92, _CALF * height), lower, "legs")
    yield Part(Limb(calf, ankle, _CALF * height, r2), lower, "legs")
    yield Part(Limb(ankle, ankle, r2 * 1.1, r2 * 1.1), lower, "dark")
    sole = lower and body.sure(f"{side} heel", f"{side} foot index") >= SURE
    yield Part(Limb(ankle, heel, r2, 0.021 * height), sole, "dark")
    yield Part(Limb(heel, toe, 0.021 * height, 0.017 * height), sole, "dark")
    yield Part(Limb(ankle, heel + (toe - heel) * 0.7, r2, 0.019 * height), sole, "dark")


def _feet(body: _Body, height: float) -> Iterator[tuple[float, float]]:
    for side in ("left", "right"):
        names = [f"{side} {at}" for at in ("ankle", "heel", "foot index")]
        if body.sure(*names) >= SURE:
            x, y, _ = body.at(f"{side} heel", f"{side} foot index").tolist()
            yield x, y + 0.015 * height


def _frame(up: Vector, across: Vector) -> npt.NDArray[np.float64]:
    """Return unit vectors (3, 3): to the left of a body that stands along `up`, up, and to its front."""
    up = _unit(up, np.array([0.0, -1.0, 0.0]))
    across = _unit(across - up * _dot(across, up), np.array([1.0, 0.0, 0.0]))
    across = _unit(across - up * _dot(across, up), np.array([0.0, 0.0, 1.0]))
    return np.stack([across, up, _cross(across, up)])


def _frame_ahead(ahead: Vector, across: Vector, up: Vector) -> npt.NDArray[np.float64]:
    """Return the same for a head that looks `ahead`."""
    across = _unit(across, _unit(_cross(up, ahead), np.array([1.0, 0.0, 0.0])))
    front = _unit(ahead - across * _dot(ahead, across), np.array([0.0, 0.0, -1.0]))
    front = _unit(front - across * _dot(front, across), _unit(_cross(across, up), np.array([0.0, 0.0, -1.0])))
    return np.stack([across, _cross(front, across), front])


def _dot(a: Vector, b: Vector) -> float:
    return float(a[0]) * float(b[0]) + float(a[1]) * float(b[1]) + float(a[2]) * float(b[2])


def _cross(a: Vector, b: Vector) -> Vector:
    ax, ay, az = a.tolist()
    bx, by, bz = b.tolist()
    return np.array([ay * bz - az * by, az * bx - ax * bz, ax * by - ay * bx])


def _length(a: Vector) -> float:
    return math.sqrt(_dot(a, a))


def _unit(a: Vector, otherwise: Vector) -> Vector:
    length = _length(a)
    return a / length if length > 1e-9 else otherwise
