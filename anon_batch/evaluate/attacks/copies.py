"""Copies of a known image as an attacker makes them: a little turned, shifted, scaled, mirrored, brighter or darker."""

from __future__ import annotations

from dataclasses import replace

import cv2
import numpy as np

from anon_batch.anonymize.faces.landmarks import Points, apply
from anon_batch.evaluate.subjects import Subject
from anon_batch.imaging.source import SourceImage

REACH = 3.0  # of a window around a face in each direction, in longer sides of its box
TURN_DEGREES, SCALE, SHIFT, JITTER = 4.0, 0.08, 0.03, 0.01  # most; shift and jitter in longer sides of the box
GAIN, OFFSET = 0.15, 12.0
_MIRRORED = [1, 0, 2, 4, 3]  # order of the landmarks in a mirrored face


def window(subject: Subject) -> Subject:
    """Return the subject in a window of its image around the face; the subject itself where the image is no larger."""
    height, width = subject.pixels.shape[:2]
    centre, side = _centre(subject), _side(subject)
    low = np.clip(np.floor(centre - REACH * side), 0, None).astype(int)
    high = np.minimum(np.ceil(centre + REACH * side).astype(int), (width, height))
    if (low <= 0).all() and (high >= (width, height)).all():
        return subject
    pixels = np.ascontiguousarray(subject.pixels[low[1] : high[1], low[0] : high[0]])
    face = subject.detections.take(np.array([0]))
    moved = replace(
        face,
        boxes=np.asarray(face.boxes - np.tile(low, 2), np.float32),
        landmarks=np.asarray(face.landmarks - low, np.float32),
        witnesses=np.asarray(face.witnesses - low, np.float32),
    )
    return Subject(SourceImage.from_array(subject.image.image_id, pixels), moved)


def vary(subject: Subject, number: int, rng: np.random.Generator) -> Subject:
    """Return a copy of the subject with its face; copy 0 is the subject itself.

    The box changes by a little too, as a detector's boxes do. All copies have the size of the original.

    Args:
        subject: what the attacker knows, in a `window`.
        number: of the copy, part of its image id.
        rng: of the changes.
    """
    if number == 0:
        return subject
    height, width = subject.pixels.shape[:2]
    centre, side = _centre(subject), _side(subject)
    turn, scale = rng.uniform(-TURN_DEGREES, TURN_DEGREES), rng.uniform(1 - SCALE, 1 + SCALE)
    to_copy = cv2.getRotationMatrix2D((float(centre[0]), float(centre[1])), turn, scale)
    to_copy[:, 2] += rng.uniform(-SHIFT, SHIFT, 2) * side
    mirrored = bool(rng.random() < 0.5)
    if mirrored:
        to_copy = np.array([[-1.0, 0, width], [0, 1, 0]]) @ np.vstack([to_copy, [0, 0, 1]])
    # Landmarks count from the corner of the first pixel, OpenCV from its centre.
    of_pixels = to_copy.copy()
    of_pixels[:, 2] += to_copy[:, :2] @ (0.5, 0.5) - 0.5
    pixels = cv2.warpAffine(
        subject.pixels, of_pixels, (width, height), flags=cv2.INTER_LINEAR, borderMode=cv2.BORDER_REFLECT_101
    )
    lit = pixels * rng.uniform(1 - GAIN, 1 + GAIN) + rng.uniform(-OFFSET, OFFSET)
    points = apply(to_copy, subject.landmarks.astype(np.float64)) + rng.normal(0, JITTER / 2, (5, 2)) * side
    middle = apply(to_copy, centre[None])[0] + rng.uniform(-JITTER, JITTER, 2) * side
    half = (subject.box[2:] - subject.box[:2]) / 2 * scale * rng.uniform(1 - 2 * JITTER, 1 + 2 * JITTER)
    face = subject.detections.take(np.array([0]))
    moved = replace(
        face,
        boxes=np.asarray([[*(middle - half), *(middle + half)]], np.float32),
        landmarks=np.asarray(points[_MIRRORED] if mirrored else points, np.float32)[None],
        witnesses=np.zeros((1, 0, 5, 2), np.float32),
    )
    copied = np.rint(np.clip(lit, 0, 255)).astype(np.uint8)
    return Subject(SourceImage.from_array(f"{subject.image.image_id}, copy {number}", copied), moved)


def _centre(subject: Subject) -> Points:
    return np.asarray((subject.box[:2] + subject.box[2:]) / 2, np.float64)


def _side(subject: Subject) -> float:
    return float((subject.box[2:] - subject.box[:2]).max())
