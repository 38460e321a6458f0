"""Keypoints of persons: where joints, hands, feet and head are, and how far from the camera.

MediaPipe's pose landmark network (Bazarevsky et al. 2020, "BlazePose", arXiv 2006.10204; Grishchenko et al. 2022, arXiv
2206.11678) looks at a square of 256 px around one person. As in MediaPipe, a first look gives the middle of the hips and the
circle around the body, and a further look is centred there, and upright. In place of MediaPipe's detector of persons, which
gives the first square, there are three guesses from the box of the region: it shows a whole body, or one down to the hips, or
head and shoulders.

It runs on the CPU with onnxruntime, whatever `detect.backend` says, because it looks at one person at a time.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch.errors import WithheldError
from anon_batch.models.backends import open_network
from anon_batch.models.network import Network
from anon_batch.models.runtime import Runtime
from anon_batch.records import FloatArray, PixelArray

MODEL_NAME = "person_pose"
# In the order of the network; left and right are the person's own.
KEYPOINTS = (
    "nose",
    *("left eye inner", "left eye", "left eye outer", "right eye inner", "right eye", "right eye outer"),
    *("left ear", "right ear", "mouth left", "mouth right"),
    *("left shoulder", "right shoulder", "left elbow", "right elbow", "left wrist", "right wrist"),
    *("left pinky", "right pinky", "left index", "right index", "left thumb", "right thumb"),
    *("left hip", "right hip", "left knee", "right knee", "left ankle", "right ankle"),
    *("left heel", "right heel", "left foot index", "right foot index"),
)
SIDE_PX = 256  # of the square that the network sees
FIRST_SCALE = 1.35  # side of the first square, in units of the body's height
NEXT_SCALE = 1.25  # side of the next, in units of the diameter of the circle around the body
PRESENT = 0.5  # below which the network saw nobody
# Shares of a standing body that a box may show from the head down, each with the least width by height of such a box.
SHOWN = ((1.0, 0.0), (0.53, 0.35), (0.33, 0.55))
HIPS = 0.52  # where its hips are, as a share of its height
CROWN = 0.085  # height of the top of the head above the nose, as a share of the body's
TOP_WEIGHT = 2.0  # of the error of the head's top, beside that of the square
MARGIN = 0.1  # of the box's sides, by which head and shoulders may lie outside
_NOSE, _SHOULDERS = 0, [11, 12]
_HIPS, _CIRCLE = 33, 34  # further points that it gives: middle of the hips, and a point of the circle above them
_FAREST = 1e6  # px, of any image

Box = tuple[float, float, float, float]
_Points = npt.NDArray[np.float64]


class Square(NamedTuple):
    """What the network looks at: centre, px; side, px; and angle, radians, by which it is turned clockwise."""

    centre: _Points
    side: float
    angle: float


class PoseFinder:
    """Finds keypoints of persons whose boxes are known.

    Args:
        network: gives the keypoints (1, 195) and the presence of a person (1, 1) of an image (1, 3, 256, 256).
    """

    models = (MODEL_NAME,)

    def __init__(self, network: Network) -> None:
        self._network = network

    @classmethod
    def load(cls, runtime: Runtime) -> PoseFinder:
        """Return a finder with the bundled network.

        Raises:
            ModelError: its file is missing or not the pinned one.
        """
        data = runtime.store.load(MODEL_NAME)
        return cls(open_network("onnxruntime", data, threads=runtime.threads, device="cpu"))

    def find(self, pixels: PixelArray, boxes: Sequence[Box]) -> list[FloatArray | None]:
        """Return the keypoints of the person in each box; None where the network sees nobody.

        Args:
            pixels: (H, W, 3) uint8 RGB, the whole image.
            boxes: xyxy, px.

        Returns:
            (33, 4) float32 each, in the order of `KEYPOINTS`: x, y, px, perhaps outside the image; depth, px, smaller nearer to
            the camera, 0 at the hips; and confidence in 0..1 that the point is in the image and not hidden.

        Raises:
            WithheldError: the network gave values that are not finite.
        """
        return [self._find(pixels, box) for box in boxes]

    def _find(self, pixels: PixelArray, box: Box) -> FloatArray | None:
        """Return the keypoints of the best guess of how much of a body the box shows.

        In a wrong square the network gives a dwarf or a giant, and a next square that differs from the one it saw. Taken is the
        guess that it confirms best in a further look, by the square and by where the head ends.
        """
        found: list[tuple[float, FloatArray]] = []
        for guess in _guesses(box):
            points, _ = self._look(pixels, guess)
            square = _next_square(points)
            if square is None or not _is_of(points, box):
                continue
            points, presence = self._look(pixels, square)
            further = _next_square(points)
            if further is not None and presence >= PRESENT and _is_of(points, box):
                doubt = _difference(square, further) + TOP_WEIGHT * _top_error(points, further, box)
                found.append((doubt, points))
        return np.ascontiguousarray(min(found, key=lambda item: item[0])[1][: len(KEYPOINTS)]) if found else None

    def _look(self, pixels: PixelArray, square: Square) -> tuple[FloatArray, float]:
        """Return keypoints (39, 4), see `find`, and the presence of a person."""
        values, presence = self._network.run(cut(pixels, square))
        if not (np.isfinite(values).all() and np.isfinite(presence).all()):
            raise WithheldError("detect", f"{MODEL_NAME} gave values that are not finite")
        raw = values.reshape(-1, 5).astype(np.float64)
        scale = square.side / SIDE_PX
        x, y = (raw[:, 0] - SIDE_PX / 2) * scale, (raw[:, 1] - SIDE_PX / 2) * scale
        cos, sin = math.cos(square.angle), math.sin(square.angle)
        sure = 1 / (1 + np.exp(-np.clip(raw[:, 3:].min(axis=1), -50, 50)))  # the less likely of visible and present
        across, down = square.centre[0] + cos * x - sin * y, square.centre[1] + sin * x + cos * y
        return np.stack([across, down, raw[:, 2] * scale, sure], axis=1).astype(np.float32), float(presence.min())


def _guesses(box: Box) -> Iterator[Square]:
    x1, y1, x2, y2 = box
    longer = max(x2 - x1, y2 - y1, 1.0)
    for share, least_aspect in SHOWN:
        if x2 - x1 < least_aspect * (y2 - y1):
            continue
        height = longer / share
        down = (y1 + y2) / 2 if share == 1 else y1 + HIPS * height
        square = _checked(Square(np.array([(x1 + x2) / 2, down]), FIRST_SCALE * height, 0.0))
        if square is not None:
            yield square


def _is_of(points: FloatArray, box: Box) -> bool:
    """Return whether head and shoulders lie in a box, and not on a neighbour."""
    nose, shoulders = points[_NOSE, :2], points[_SHOULDERS, :2].mean(axis=0)
    low, high = np.array(box[:2]), np.array(box[2:])
    margin = MARGIN * (high - low)
    return all(bool(((at >= low - margin) & (at <= high + margin)).all()) for at in (nose, shoulders))


def _difference(seen: Square, found: Square) -> float:
    """Return by how much two squares differ: the distance of their centres in sides, and the logarithm of their sides' ratio."""
    across, down = (found.centre - seen.centre).tolist()
    return math.hypot(across, down) / seen.side + abs(math.log(found.side / seen.side))


def _top_error(points: FloatArray, square: Square, box: Box) -> float:
    """Return how far the top of the head, expected above the nose by the body's size, is from the box's, in sides of the box."""
    x1, y1, x2, y2 = box
    up = CROWN * square.side / FIRST_SCALE * math.cos(square.angle)
    return abs(float(points[_NOSE, 1]) - up - y1) / max(x2 - x1, y2 - y1, 1.0)


def _next_square(points: FloatArray) -> Square | None:
    """Return the square around the body, turned so that the body is upright; None where it makes no sense."""
    centre = points[_HIPS, :2].astype(np.float64)
    up = points[_CIRCLE, :2].astype(np.float64) - centre
    side = 2 * NEXT_SCALE * math.hypot(up[0], up[1])
    return _checked(Square(centre, side, math.atan2(up[0], -up[1]))) if side >= 1 else None


def _checked(square: Square) -> Square | None:
    return square if square.side < _FAREST and float(np.abs(square.centre).max()) < _FAREST else None


def cut(pixels: PixelArray, square: Square) -> FloatArray:
    """Return what a square shows, (1, 3, 256, 256) float32; beyond the image its border is repeated.

    A large square is cut from means over areas, so that nothing aliases.
    """
    height, width = pixels.shape[:2]
    cx, cy = square.centre
    half = square.side * 0.75  # more than half the diagonal
    x1, y1 = (min(max(math.floor(at - half), 0), size - 1) for at, size in ((cx, width), (cy, height)))
    x2 = min(max(math.ceil(cx + half), x1 + 1), width)
    y2 = min(max(math.ceil(cy + half), y1 + 1), height)
    window = pixels[y1:y2, x1:x2]
    shrink = min(1.0, SIDE_PX / square.side)
    small = max(round((x2 - x1) * shrink), 1), max(round((y2 - y1) * shrink), 1)
    if shrink < 1:
        window = np.asarray(cv2.resize(window, small, interpolation=cv2.INTER_AREA), np.uint8)
    across, down = window.shape[1] / (x2 - x1), window.shape[0] / (y2 - y1)
    step = square.side / SIDE_PX
    cos, sin = math.cos(square.angle) * step, math.sin(square.angle) * step
    middle = SIDE_PX / 2 - 0.5
    to_image = np.array(
        [
            [cos * across, -sin * across, (cx - x1 - (cos - sin) * middle) * across - 0.5],
            [sin * down, cos * down, (cy - y1 - (sin + cos) * middle) * down - 0.5],
        ]
    )
    seen = cv2.warpAffine(
        window.astype(np.float32),
        to_image,
        (SIDE_PX, SIDE_PX),
        flags=cv2.INTER_LINEAR | cv2.WARP_INVERSE_MAP,
        borderMode=cv2.BORDER_REPLICATE,
    )
    return np.ascontiguousarray(seen.transpose(2, 0, 1)[None], np.float32)
