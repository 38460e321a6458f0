"""Measure all detectors of faces on labelled photographs in one run, and print the table of docs/results/detectors.md.

    python -m tools.detector_table PHOTOS --models FOLDER --output table.md

PHOTOS is a folder with images/ and boxes.json, as tests/external_data.py has it. Each detector runs with its default threshold on
the half of the photographs on which nothing was chosen; `--halves` names others. Half 0 or 1 is the lowest bit of the first byte
of the SHA-256 of the file's name. The time is CPU time of one thread, the least of some rounds in which all detectors take turns.
FOLDER is a mirror of models that are not in the package; what cannot be run is listed with the reason.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from anon_batch.anonymize.policy import Policy, Treatment
from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import Ensemble, build_detector
from anon_batch.errors import AnonBatchError
from anon_batch.models.registry import MODELS, ModelEntry
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.process import limit_threads
from anon_batch.records import BoolArray, Detections, FloatArray, GroundTruth, Preview
from anon_batch.stats.clustered import ClusteredShare
from anon_batch.stats.detection import DetectionStats
from anon_batch.stats.uncovered import judge_regions
from anon_batch.storage import Storage

LEAST_PX = 16  # longer side of a labelled face that counts
TIMED, ROUNDS = 12, 3  # photographs, and how often all detectors take turns
PRESETS = {"fast": "centerface`, one look", "balanced": "centerface`", "recall": "centerface` + `yunet_n`"}
ROWS: tuple[tuple[str, Mapping[str, Any]], ...] = (
    *((f"`{own} (preset `{name}`)", {"preset": name}) for name, own in PRESETS.items()),
    *(
        (f"`{name}`{suffix}", {"preset": preset, "detectors": [name]})
        for name in ("yunet_n", "yunet", "mtcnn", "mediapipe", "ssd")
        for suffix, preset in (("", "balanced"), (", one look", "fast"))
    ),
    ("`dlib_hog`", {"detectors": ["dlib_hog"]}),
    ("`dlib_mmod`", {"detectors": ["dlib_mmod"]}),
)
NOT_RUN = (
    ("`retinaface`", "none that may be bundled is known; it takes ONNX files of your own"),
    ("`rekognition`", "sends images to Amazon, which needs an account"),
    ("`google_vision`", "sends images to Google, which needs an account"),
)
HOG = ("in dlib", "BSL-1.0", "not stated by its author", "extra `dlib`")  # has no file of its own


@dataclass
class Row:
    """What was measured of one detector.

    Args:
        name: as the table shows it.
        detector: None if it cannot be run.
        reason: why not.
        uncovered: share of the labelled faces of at least LEAST_PX.
        stats: matches at IoU 0.5.
        unlabelled: boxes that touch no labelled face.
        ms: CPU time of each round, an image.
    """

    name: str
    detector: Ensemble | None
    reason: str = ""
    uncovered: ClusteredShare = field(default_factory=ClusteredShare)
    stats: DetectionStats = field(default_factory=DetectionStats)
    unlabelled: int = 0
    ms: list[float] = field(default_factory=list)


@dataclass(frozen=True)
class Photo:
    """A photograph and its labelled faces, (N, 4) px."""

    image: Preview
    boxes: FloatArray


def read_photos(folder: Path, halves: Sequence[int]) -> list[Photo]:
    """Return the photographs of some halves, in the order of boxes.json."""
    photos = []
    for entry in json.loads((folder / "boxes.json").read_text(encoding="utf-8")):
        if half_of(entry["file"]) in halves:
            with Image.open(folder / "images" / entry["file"]) as file:
                pixels = np.asarray(file.convert("RGB"))
            boxes = np.array([box[:4] for box in entry["boxes"]], np.float32).reshape(-1, 4)
            photos.append(Photo(Preview(entry["file"], pixels), boxes))
    return photos


def half_of(name: str) -> int:
    """Return 0 for the half on which settings are chosen, and 1 for the one that is reported."""
    return hashlib.sha256(name.encode()).digest()[0] % 2


def measure(row: Row, photos: Sequence[Photo]) -> None:
    """Add what a detector finds in photographs."""
    policy = Policy({"face": Treatment("swap")})
    for photo in photos:
        image, truth = photo.image, GroundTruth(photo.boxes, np.zeros(len(photo.boxes), np.bool_))
        [found] = row.detector.detect([image]) if row.detector else [Detections.empty()]
        row.stats.add(found, truth)
        judged = judge_regions(truth, policy.regions_of(found, image.width, image.height), found, image)
        large = judged.longer_px >= LEAST_PX
        own = ClusteredShare.of(int((judged.uncovered & large).sum()), int(large.sum()))
        row.uncovered = row.uncovered.merge(own)
        row.unlabelled += int((~touching(found.boxes, photo.boxes)).sum())


def touching(boxes: FloatArray, labels: FloatArray) -> BoolArray:
    """Return which boxes (N, 4) cover 30 % of a labelled face, or lie in one by half."""
    low = np.maximum(boxes[:, None, :2], labels[None, :, :2])
    high = np.minimum(boxes[:, None, 2:], labels[None, :, 2:])
    shared = np.clip(high - low, 0, None).prod(axis=2)
    own, faces = ((part[:, 2:] - part[:, :2]).prod(axis=1) for part in (boxes, labels))
    return np.asarray(((shared > 0.3 * faces[None]) | (shared > 0.5 * own[:, None])).any(axis=1), np.bool_)


def take_times(rows: Sequence[Row], photos: Sequence[Photo]) -> None:
    """Add CPU times, ms an image; all detectors take turns, so that a busy machine slows all of them."""
    for _ in range(ROUNDS):
        for row in rows:
            if row.detector is not None:
                start = time.process_time()
                for photo in photos:
                    row.detector.detect([photo.image])
                row.ms.append((time.process_time() - start) * 1e3 / len(photos))


def lines_of(rows: Sequence[Row], images: int) -> Iterator[str]:
    """Yield the lines of the table, in Markdown."""
    yield (
        "| Detector | Uncovered faces | 95 % interval | Recall | Average precision | Unlabelled boxes an image | ms | Size "
        "| Licence | Trained on | How to get it |"
    )
    yield "|---|--:|---|--:|--:|--:|--:|--:|---|---|---|"
    for row in rows:
        if row.detector is None:
            yield f"| {row.name} | not run: {row.reason} | | | | | | | | | |"
            continue
        share, interval = row.uncovered, row.uncovered.interval() or (0.0, 1.0)
        band = row.stats.bands["from_16_px"].summary()
        cells = (
            row.name,
            f"{share.hits} of {share.faces} ({100 * (share.share or 0):.1f} %)",
            f"{100 * interval[0]:.1f} to {100 * interval[1]:.1f} %",
            f"{band['recall']:.3f}",
            f"{band['average_precision']:.3f}",
            f"{row.unlabelled / images:.2f}",
            f"{min(row.ms):.0f}",
            *(HOG if row.name == "`dlib_hog`" else files_of(row.detector.models)),
        )
        yield f"| {' | '.join(cells)} |"


def files_of(models: Sequence[str]) -> tuple[str, str, str, str]:
    """Return size, licences, training data and origin of a detector's files, as the registry of models has them."""
    entries = [MODELS[name] for name in models]
    size = f"{sum(entry.size_bytes for entry in entries) / 1e6:.1f} MB"
    parts = ([entry.licence for entry in entries], [entry.trained_on for entry in entries], map(_origin, entries))
    licences, trained_on, origins = ("; ".join(dict.fromkeys(part)) for part in parts)
    return size, licences, trained_on, origins


def _origin(entry: ModelEntry) -> str:
    module = (entry.package or "").partition(":")[0]
    if module == "face_recognition_models":
        return "extra `dlib`, and a pinned download"
    return {"": "pinned download", "anon_batch": "in the package"}.get(module, "with the package's requirements")


def main() -> None:
    """Measure, print the table and say under which conditions."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("photos", type=Path, help="folder with images/ and boxes.json")
    parser.add_argument("--models", help="mirror of the models that are not in the package")
    parser.add_argument("--halves", type=int, nargs="+", choices=(0, 1), default=[1])
    parser.add_argument("--detectors", nargs="+", help="only rows whose names hold one of these")
    parser.add_argument("--output", type=Path, help="write the table there, too")
    args = parser.parse_args()
    limit_threads(1)
    photos = read_photos(args.photos, args.halves)
    store = ModelStore(Storage(), ModelsConfig(mirror=args.models))
    rows = []
    for name, keys in ROWS:
        if args.detectors and not any(own in name for own in args.detectors):
            continue
        try:
            row = Row(name, build_detector(DetectConfig.model_validate(keys), Runtime(store)))
        except AnonBatchError as exc:
            row = Row(name, None, str(exc).partition("; ")[0])
        measure(row, photos if row.detector else [])
        print(f"{name}: {row.uncovered.hits} of {row.uncovered.faces} uncovered", file=sys.stderr, flush=True)
        rows.append(row)
    take_times(rows, photos[:TIMED])
    rows += [Row(name, None, reason) for name, reason in NOT_RUN]
    faces = sum(len(photo.boxes) for photo in photos)
    table = "\n".join(lines_of(rows, len(photos)))
    print(f"{len(photos)} photographs, {faces} labelled faces\n\n{table}")
    if args.output:
        args.output.write_text(table + "\n", encoding="utf-8")


if __name__ == "__main__":
    main()
