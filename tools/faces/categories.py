"""Categories of faces that are looked at, each a fixed choice."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from anon_batch.geometry import pairwise_iou
from anon_batch.records import Detections, FloatArray
from tools.faces.runs import Runs
from tools.faces.sets import SETS, WITHOUT_MASK, Labelled, read_pixels

MIN_SIDE_PX, MIN_SCORE = 16, 0.5
LARGE_PX = 48
SAME_FACE_IOU = 0.5
TURNED = 0.45  # nose beside the middle of the eyes, in units of the distance between them
NARROW = 0.22  # distance between the eyes over the box's height, of a profile
GREY_CHROMA = 3.0  # mean of a face's Lab chroma, below which it is grey
DARK_LIGHTNESS = 38.0  # median of a face's L, 0 to 100
CHILD = frozenset({"baby", "child"})
CLOTH = "c"  # hat or cloth over the forehead


@dataclass(frozen=True, slots=True)
class Face:
    """A face of one image.

    Args:
        own_set: of the image.
        source: the original.
        index: of the detection.
        box: (4,) xyxy px.
        landmarks: (5, 2) px; NaN where there are none.
    """

    own_set: str
    source: Path
    index: int
    box: FloatArray
    landmarks: FloatArray

    @property
    def side(self) -> float:
        """Longer side of the box, px."""
        return float((self.box[2:] - self.box[:2]).max())


class Chooser:
    """Chooses faces of a category, always the same ones for the same detections.

    Args:
        runs: the outputs.
        reference: a variant whose detections are used.
    """

    def __init__(self, runs: Runs, reference: str) -> None:
        self._runs, self._reference = runs, reference
        self._labelled = runs.data.labelled()
        self._traits = runs.data.traits()

    def choose(self, category: str, count: int, seed: int = 0) -> list[Face]:
        """Return at most `count` faces of a category, in an order that depends on the seed alone."""
        found = [face for face in self._faces() if CATEGORIES[category](self, face)]
        return sorted(found, key=lambda face: _rank(face, seed))[:count]

    def _faces(self) -> Iterator[Face]:
        for own_set in SETS:
            for path, found in self._runs.detections(self._reference, own_set):
                yield from _large_enough(own_set, path, found)

    def is_portrait(self, face: Face) -> bool:
        """Whether it is one of the sample's faces, or of the pairs."""
        return face.own_set == "sample" or (face.own_set == "pairs" and face.side >= LARGE_PX)

    def is_street(self, face: Face) -> bool:
        """Whether it is a large face in a street or crowd."""
        return face.own_set == "photos" and face.side >= LARGE_PX

    def is_small(self, face: Face) -> bool:
        """Whether it is a small face in a street or crowd."""
        return face.own_set == "photos" and face.side < LARGE_PX

    def is_profile(self, face: Face) -> bool:
        """Whether the nose lies beside the eyes, or the eyes lie close together."""
        if not np.isfinite(face.landmarks).all() or face.own_set == "pairs":
            return False
        eyes = face.landmarks[1] - face.landmarks[0]
        distance = float(np.hypot(*eyes))
        if distance < NARROW * (face.box[3] - face.box[1]):
            return True
        beside = (face.landmarks[2] - face.landmarks[:2].mean(axis=0)) @ eyes / distance**2
        return abs(float(beside)) > TURNED

    def is_child(self, face: Face) -> bool:
        """Whether the labels say so."""
        return self._traits.get(face.source.name, {}).get("age") in CHILD

    def is_covered(self, face: Face) -> bool:
        """Whether the labels say that a mask, hat or cloth covers a part."""
        if face.own_set == "photos":
            kind = _label_of(face, self._labelled)
            return kind is not None and kind != WITHOUT_MASK
        return self._traits.get(face.source.name, {}).get("front") == CLOTH

    def is_grey(self, face: Face) -> bool:
        """Whether it has no colour."""
        lab = _lab(face)
        return float(np.hypot(lab[..., 1], lab[..., 2]).mean()) < GREY_CHROMA

    def is_dark(self, face: Face) -> bool:
        """Whether skin or light is dark."""
        return float(np.median(_lab(face)[..., 0])) < DARK_LIGHTNESS


CATEGORIES: Mapping[str, Callable[[Chooser, Face], bool]] = {
    "portraits": Chooser.is_portrait,
    "street": Chooser.is_street,
    "small": Chooser.is_small,
    "profiles": Chooser.is_profile,
    "children": Chooser.is_child,
    "covered": Chooser.is_covered,
    "grey": Chooser.is_grey,
    "dark": Chooser.is_dark,
}


def _rank(face: Face, seed: int) -> tuple[bool, str]:
    """Sort by digest, the sample's faces first, because they are few and everybody sees them."""
    digest = hashlib.sha256(f"{seed} {face.own_set} {face.source.name} {face.index}".encode()).hexdigest()
    return face.own_set != "sample", digest


def _large_enough(own_set: str, path: Path, found: Detections) -> Iterator[Face]:
    for index, (box, score) in enumerate(zip(found.boxes, found.scores, strict=True)):
        if (box[2:] - box[:2]).max() >= MIN_SIDE_PX and score >= MIN_SCORE:
            yield Face(own_set, path, index, box, found.landmarks[index])


def _label_of(face: Face, labelled: Mapping[str, list[Labelled]]) -> str | None:
    labels = labelled.get(face.source.name, [])
    if not labels:
        return None
    overlap = pairwise_iou(face.box[None], np.array([label.box for label in labels], np.float32))[0]
    best = int(overlap.argmax())
    return labels[best].kind if overlap[best] > SAME_FACE_IOU else None


def _lab(face: Face) -> FloatArray:
    """Return the middle of a face in Lab, L from 0 to 100."""
    pixels = read_pixels(face.source)
    x1, y1, x2, y2 = np.round(face.box).astype(int)
    dx, dy = (x2 - x1) // 5, (y2 - y1) // 5
    middle = pixels[max(y1 + dy, 0) : max(y2 - dy, 1), max(x1 + dx, 0) : max(x2 - dx, 1)]
    if not middle.size:
        return np.zeros((1, 1, 3), np.float32) + np.float32(99)
    return np.asarray(cv2.cvtColor(middle.astype(np.float32) / np.float32(255), cv2.COLOR_RGB2LAB), np.float32)
