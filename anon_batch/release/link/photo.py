"""The face in a photograph that somebody searches with. Its pixels and features are never kept."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from anon_batch import Anonymizer
from anon_batch.errors import ConfigError
from anon_batch.models.runtime import Runtime
from anon_batch.outcomes import Withheld
from anon_batch.recognition.embedder import Embedder, Face
from anon_batch.records import Detections, FloatArray

_SURE = 0.5  # least score of a face in a photograph


class Photo(NamedTuple):
    """A photograph.

    Args:
        name: its file, for messages.
        data: its bytes.
        face: which of its faces counts, from left to right; None if there is one alone.
    """

    name: str
    data: bytes
    face: int | None = None


def feature_of(photo: Photo, embedder: Embedder, runtime: Runtime, min_face_px: int) -> FloatArray:
    """Return the feature (D,) of the face in a photograph.

    Raises:
        ConfigError: it is no image, shows no face, several faces and none was chosen, or a face that is too small.
    """
    detector = Anonymizer(policy="solid", key=bytes(32), runtime=runtime)
    source = detector.open("photo", photo.data)
    if isinstance(source, Withheld):
        raise ConfigError(f"{photo.name}: cannot be read as an image ({source.error.detail or source.reason})")
    [found] = detector.detect([source])
    if isinstance(found, Withheld):
        raise ConfigError(f"{photo.name}: cannot be searched for faces ({found.error.detail or found.reason})")
    found = _faces(found)
    at = _choose(photo, found)
    x1, y1, x2, y2 = found.boxes[at].tolist()
    if (side := min(x2 - x1, y2 - y1)) < min_face_px:
        raise ConfigError(f"{photo.name}: its face is {side:.0f} px wide or high; the index begins at {min_face_px} px")
    [feature] = embedder.embed([Face(source.decode().pixels, found.landmarks[at])])
    return np.asarray(feature, np.float32)


def _faces(found: Detections) -> Detections:
    """Return the faces with landmarks from left to right; those that a detector is sure of, if there are any."""
    usable = np.isfinite(found.landmarks).all(axis=(1, 2)) & (np.asarray(found.labels) == "face")
    sure = usable & (found.scores >= _SURE)
    chosen = np.flatnonzero(sure if sure.any() else usable)
    return found.take(chosen[np.argsort(found.boxes[chosen, 0], kind="stable")])


def _choose(photo: Photo, found: Detections) -> int:
    if not len(found):
        raise ConfigError(f"{photo.name}: no face was found in it; use a photograph that shows the face from the front")
    if photo.face is not None:
        if not 0 <= photo.face < len(found):
            raise ConfigError(f"{photo.name}: --photo-face {photo.face}, but it shows faces 0 to {len(found) - 1}")
        return photo.face
    if len(found) > 1:
        listed = "; ".join(
            f"{at}: {x1:.0f},{y1:.0f} to {x2:.0f},{y2:.0f}" for at, (x1, y1, x2, y2) in enumerate(found.boxes.tolist())
        )
        raise ConfigError(f"{photo.name}: shows {len(found)} faces; choose one by --photo-face ({listed})")
    return 0
