"""One detection for each object, where several tiles or several detectors found it.

Only detections of one label are merged: a box never suppresses a box of another label. The landmarks of a suppressed box stay
with the box that it overlaps most, as its witnesses, so that the mask can cover what any detector took for an eye or a mouth.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import numpy.typing as npt

from anon_batch.geometry import non_maximum_suppression, pairwise_iou
from anon_batch.records import BoolArray, Detections, FloatArray, padded_witnesses

_BLOCK = 256  # detections compared with all others at a time


def merge_tiles(parts: list[Detections], iou_threshold: float) -> Detections:
    """Merge what one detector found in several tiles, by score.

    Of boxes of one label that overlap by `iou_threshold` the best-scored stays, with landmarks from the best-scored one
    that has any.

    Returns:
        The detections by falling score.
    """
    merged = Detections.merge(parts)
    kept = np.zeros(len(merged), np.bool_)
    for label in dict.fromkeys(merged.labels):
        own = np.flatnonzero(_has_label(merged, label))
        kept[own[non_maximum_suppression(merged.boxes[own], merged.scores[own], iou_threshold)]] = True
    ranked = np.argsort(-merged.scores, kind="stable")
    out, dropped = merged.take(ranked[kept[ranked]]), merged.take(ranked[~kept[ranked]])
    landmarks = out.landmarks.copy()
    for row in np.flatnonzero(np.isnan(landmarks).any(axis=(1, 2))):
        overlap = pairwise_iou(out.boxes[row : row + 1], merged.boxes)[0]
        usable = (overlap >= iou_threshold) & np.isfinite(merged.landmarks).all(axis=(1, 2))
        usable &= _has_label(merged, out.labels[row])
        if usable.any():
            landmarks[row] = merged.landmarks[int(np.argmax(np.where(usable, merged.scores, -1)))]
    return _with_witnesses(replace(out, landmarks=landmarks), dropped, _owners(out, dropped))


def merge_detectors(parts: list[Detections], iou_threshold: float) -> Detections:
    """Merge what several detectors found, in the detectors' order, the most trusted first.

    A box is dropped only where it overlaps one of the same label from an earlier detector by `iou_threshold`, so adding a
    detector never takes a box away. (Scores of different networks do not compare: merged by score, CenterFace and YuNet-n
    together had a recall of .876 where CenterFace alone had .910.) Nor does a box suppress another one of the same
    detector, because the detector has already decided which boxes are one object, and boxes that a person drew are all
    wanted. A kept box without landmarks takes those of the best-scored box that it suppressed.
    """
    merged = parts[0]
    for part in parts[1:]:
        overlaps = pairwise_iou(merged.boxes, part.boxes) * same_label(merged, part)
        same = overlaps >= iou_threshold
        dropped = np.asarray(same.any(axis=0), np.bool_)
        finders = tuple(
            names.union(*(part.finders[at] for at in np.flatnonzero(own)))
            for names, own in zip(merged.finders, same, strict=True)
        )
        merged = replace(merged, landmarks=_landmarks_from(merged, part, same), finders=finders)
        if dropped.any():
            merged = _with_witnesses(merged, part.take(dropped), overlaps[:, dropped].argmax(axis=0))
        merged = Detections.merge([merged, part.take(~dropped)])
    return merged


def same_label(a: Detections, b: Detections) -> BoolArray:
    """Return which detections of `a` (rows) have the label of which of `b` (columns): (N, M) bool."""
    return np.asarray(np.array(a.labels, object)[:, None] == np.array(b.labels, object)[None, :], np.bool_)


def _has_label(found: Detections, label: str) -> BoolArray:
    return np.array([own == label for own in found.labels], np.bool_)


def _owners(kept: Detections, dropped: Detections) -> npt.NDArray[np.intp]:
    """Return for each of `dropped` the detection of its label in `kept` that it overlaps most: (M,).

    In blocks, because all overlaps of a contact sheet with thousands of faces would take gigabytes.
    """
    owners = np.zeros(len(dropped), np.intp)
    for start in range(0, len(dropped) if len(kept) else 0, _BLOCK):
        block = dropped.take(np.arange(start, min(start + _BLOCK, len(dropped))))
        overlaps = pairwise_iou(kept.boxes, block.boxes) * same_label(kept, block)
        owners[start : start + len(block)] = overlaps.argmax(axis=0)
    return owners


def _with_witnesses(kept: Detections, dropped: Detections, owners: npt.NDArray[np.intp]) -> Detections:
    """Return `kept` with the landmarks of `dropped`, each at the detection (M,) that owns it."""
    sets = np.concatenate([dropped.landmarks[:, None], dropped.witnesses], axis=1)
    complete = np.isfinite(sets).all(axis=(2, 3))
    if not complete.any():
        return kept
    new = [sets[owners == row][complete[owners == row]] for row in range(len(kept))]
    most = max(len(own) for own in new)
    added = np.stack([padded_witnesses(own[None], most)[0] for own in new])
    return replace(kept, witnesses=np.concatenate([kept.witnesses, added], axis=1))


def _landmarks_from(kept: Detections, part: Detections, same: BoolArray) -> FloatArray:
    landmarks = kept.landmarks.copy()
    has_marks = np.isfinite(part.landmarks).all(axis=(1, 2))
    for row in np.flatnonzero(np.isnan(landmarks).any(axis=(1, 2))):
        usable = np.flatnonzero(same[row] & has_marks)
        if usable.size:
            landmarks[row] = part.landmarks[usable[np.argmax(part.scores[usable])]]
    return landmarks
