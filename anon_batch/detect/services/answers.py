"""Read what a service answered, which may be anything."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np

from anon_batch.detect.protocol import RealArray
from anon_batch.detect.services.calls import Faces, Fault

Point = tuple[float, float]


def number(value: Any, what: str) -> float:
    """Return a finite number.

    Raises:
        Fault: it is something else.
    """
    if isinstance(value, bool) or not isinstance(value, (int, float)) or not math.isfinite(value):
        raise Fault("malformed", f"{what} is no number")
    return float(value)


def listed(value: Any, what: str) -> Sequence[Mapping[str, Any]]:
    """Return a list of objects.

    Raises:
        Fault: it is something else.
    """
    if not isinstance(value, list) or not all(isinstance(own, dict) for own in value):
        raise Fault("malformed", f"{what} is no list of objects")
    return value


def mapping(value: Any, what: str) -> Mapping[str, Any]:
    """Return an object.

    Raises:
        Fault: it is something else.
    """
    if not isinstance(value, dict):
        raise Fault("malformed", f"{what} is no object")
    return value


def five_points(points: Mapping[str, Point], names: Sequence[str]) -> RealArray:
    """Return landmarks (5, 2) by their names; NaN if one is missing."""
    if any(name not in points for name in names):
        return np.full((5, 2), np.nan)
    return np.asarray([points[name] for name in names], np.float64)


def faces_of(found: Iterable[tuple[RealArray, float, RealArray]], *, is_full: bool) -> Faces:
    """Return boxes (4,), scores and landmarks (5, 2) of faces as arrays."""
    boxes, scores, marks = [], [], []
    for box, score, own in found:
        boxes.append(box)
        scores.append(score)
        marks.append(own)
    return Faces(
        np.asarray(boxes, np.float64).reshape(-1, 4),
        np.asarray(scores, np.float64),
        np.asarray(marks, np.float64).reshape(-1, 5, 2),
        is_full,
    )


def is_safe_address(address: str) -> bool:
    """Return whether originals may be sent to an address: encrypted, or to this machine."""
    scheme, _, rest = address.partition("://")
    host = rest.split("/")[0].rpartition("@")[2]
    return scheme == "https" or (scheme == "http" and host.rsplit(":", 1)[0] in ("127.0.0.1", "localhost", "[::1]"))
