"""Recall and precision of both detectors on the same files, by this package's scorer."""

from __future__ import annotations

import contextlib
import io
import json
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from anon_batch.config import load_job
from anon_batch.geometry import clip_detections
from anon_batch.records import Detections, GroundTruth
from anon_batch.stats.detection import DetectionStats
from benchmarks.pictures import Source

DEFACE_THRESHOLD = 0.2  # default of the command
BANDS = ("all", "from_16_px")
_FIGURES = ("regions", "recall", "precision", "average_precision")

Scores = dict[str, dict[str, Any]]
Find = Callable[[Path], Detections]
"""Finds faces in a file; boxes in px of the picture, cut at its border."""


def project_detector(settings: Mapping[str, Any] | None = None) -> Find:
    """This package's detector with keys of the job file, on one thread."""
    from anon_batch.detect.ensemble import build_detector
    from anon_batch.imaging.source import SourceImage
    from anon_batch.models.runtime import Runtime
    from anon_batch.models.store import ModelStore
    from anon_batch.storage import Storage

    config = load_job(None, {"manifest": "none", "output": "none", **(settings or {})})
    storage = Storage(config.storage)
    detector = build_detector(config.detect, Runtime(ModelStore(storage, config.models)))

    def find(path: Path) -> Detections:
        image = SourceImage.open(path.name, storage.read(str(path)), max_pixels=config.limits.max_pixels)
        [found] = detector.detect([image.preview(config.detect.max_side_px)])
        return clip_detections(found, image.width, image.height)

    return find


def deface_detector() -> Find:
    """The detector of deface at the command's default threshold and full resolution."""
    import imageio.v2
    from deface.centerface import CenterFace

    with contextlib.redirect_stdout(io.StringIO()):  # it prints its execution provider
        network = CenterFace(in_shape=None, backend="auto")

    def find(path: Path) -> Detections:
        pixels = imageio.v2.imread(path)
        rows = np.asarray(network(pixels, threshold=DEFACE_THRESHOLD)[0], np.float32)
        landmarks = np.full((len(rows), 5, 2), np.nan, np.float32)
        found = Detections(rows[:, :4], rows[:, 4], landmarks, ("deface",) * len(rows))
        return clip_detections(found, pixels.shape[1], pixels.shape[0])

    return find


def score(find: Find, sources: Iterable[Source]) -> Scores:
    """Band of face sizes -> faces, recall, precision and average precision at IoU 0.5, over the labelled ones of `sources`."""
    stats = DetectionStats()
    for path, faces in sources:
        if faces is not None:
            stats.add(find(path), GroundTruth(faces[:, :4], faces[:, 4] != 0))
    return _chosen(stats.summary()["bands"])


def of_release(output: Path) -> Scores:
    """The same, as a run's own stats.json has it."""
    detection = json.loads((output / "stats.json").read_text(encoding="utf-8"))["detection"]
    return _chosen(detection["bands"])


def no_lower(ours: Scores, theirs: Scores) -> bool:
    """Whether `ours` has at least the recall of `theirs` among faces of every size."""
    return all(ours[band]["recall"] >= theirs[band]["recall"] for band in BANDS)


def _chosen(bands: Mapping[str, Mapping[str, Any]]) -> Scores:
    return {band: {figure: bands[band][figure] for figure in _FIGURES} for band in BANDS}
