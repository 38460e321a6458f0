"""Measure the opacity at which a new face gets about the score with which the old one was detected.

    python -m tools.calibrate_opacity FOLDER ... [--scale 2]

Synthetic faces (folders of crops/ and meta.jsonl, as `anon-batch train` reads them) are made small, blurred, flat and noisy, so
that the detector's scores cover their range. Each is replaced as `swap` does, with every opacity, and detected again. For each
range of scores the table gives the opacity at which the mean score stays the same. The knots in `anonymize/faces/replace.py`
follow the table without refinement; with refinement they would be lower, and a second detector's precision on photographs too.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import numpy.typing as npt

from anon_batch import keys
from anon_batch.anonymize.compose import compose
from anon_batch.anonymize.faces.donors import MODEL_NAME
from anon_batch.anonymize.faces.replace import FaceReplacer, Replacement, render_patch
from anon_batch.anonymize.protocol import Target
from anon_batch.config import DetectConfig, DetectorConfig, ModelsConfig
from anon_batch.config.treatment_defaults import complete
from anon_batch.detect.ensemble import Ensemble, build_detector
from anon_batch.geometry import regions_of, union_of_masks
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import DecodedImage, Detections, FloatArray, Preview
from anon_batch.storage import Storage
from anon_batch.train.face_crops import FaceCrop, read_crops

OPACITIES = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 1.0)
SCORES = (0.15, 0.25, 0.35, 0.45, 0.55, 0.65, 0.75, 0.8, 0.85, 1.0)
CELL, CELLS = 128, 5  # px, and faces along a side of a sheet
FACE_PX = (8.0, 60.0)
SAME_IOU = 0.4
KEY = bytes(32)
MIN_SIDE_PX = 4.0

Array = npt.NDArray[np.float64]


def main() -> None:
    """Measure and print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--scale", type=float, default=1.0, help="detect.scale")
    parser.add_argument("--refine-small", action="store_true", help="detect.refine_small")
    parser.add_argument("--faces", type=int, default=900)
    parser.add_argument("--seed", type=int, default=5)
    args = parser.parse_args()
    store = ModelStore(Storage(), ModelsConfig())
    config = DetectConfig(
        detectors=(DetectorConfig(name="centerface", threshold=0.05, scale=args.scale),), refine_small=args.refine_small
    )
    runtime = Runtime(store)
    detector, replacer = build_detector(config, runtime), FaceReplacer(store.load(MODEL_NAME), runtime, MIN_SIDE_PX)
    rng = np.random.default_rng(args.seed)
    faces = list(read_crops(args.folders))
    chosen = [faces[int(at)] for at in rng.permutation(len(faces))[: args.faces]]
    scores, again = measure(list(sheets(chosen, rng)), detector, replacer)
    for low, high in itertools.pairwise(SCORES):
        here = (scores >= low) & (scores < high)
        if here.any():
            asked, found = scores[here].mean(), np.maximum.accumulate(again[:, here].mean(axis=1))
            opacity = float(np.interp(asked, found, OPACITIES))
            print(f"score {low:.2f} to {high:.2f}: {here.sum():4d} faces, mean {asked:.2f}, opacity {opacity:.2f}")


def sheets(faces: Sequence[FaceCrop], rng: np.random.Generator) -> Iterator[DecodedImage]:
    """Yield images of 25 degraded faces each, on uneven grey."""
    for start in range(0, len(faces), CELLS**2):
        side = CELL * CELLS
        uneven = rng.normal(110, 25, (9, 9, 3)).astype(np.float32)
        sheet = cv2.resize(uneven, (side, side), interpolation=cv2.INTER_CUBIC)
        for at, face in enumerate(faces[start : start + CELLS**2]):
            small = degrade(face, rng)[: CELL - 8, : CELL - 8]
            height, width = small.shape[:2]
            y, x = (
                CELL * place + (CELL - size) // 2
                for place, size in zip(divmod(at, CELLS), (height, width), strict=True)
            )
            sheet[y : y + height, x : x + width] = small
        yield DecodedImage(f"sheet{start}", np.rint(sheet).clip(0, 255).astype(np.uint8))


def degrade(face: FaceCrop, rng: np.random.Generator) -> FloatArray:
    """Return the face's crop as a bad image shows it: small, blurred, of low contrast, dark, noisy."""
    x1, y1, x2, y2 = (float(v) for v in face.box)
    scale = np.exp(rng.uniform(*np.log(FACE_PX))) / max(x2 - x1, y2 - y1)
    size = max(8, round(face.pixels.shape[1] * scale)), max(8, round(face.pixels.shape[0] * scale))
    small = cv2.resize(face.pixels, size, interpolation=cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC).astype(
        np.float32
    )
    if rng.random() < 0.7:
        small = cv2.GaussianBlur(small, (0, 0), float(np.exp(rng.uniform(np.log(0.3), np.log(2.5)))))
    if rng.random() < 0.5:
        contrast = rng.uniform(0.25, 1)
        small = small.mean((0, 1)) * (1 - contrast) + small * contrast
    small = small * rng.uniform(0.5, 1.1)
    return np.asarray((small + rng.normal(0, rng.uniform(0, 8), small.shape)).clip(0, 255), np.float32)


def measure(images: Sequence[DecodedImage], detector: Ensemble, replacer: FaceReplacer) -> tuple[Array, Array]:
    """Return the scores of the detected faces, (n,), and of the new faces in their places, (opacities, n)."""
    found = [detector.detect([preview_of(image)])[0] for image in images]
    found = [detections.take(detections.scores >= SCORES[0]) for detections in found]
    again: list[list[float]] = [[] for _ in OPACITIES]
    for image, detections in zip(images, found, strict=True):
        for scores, changed in zip(again, replace_faces(image, detections, replacer), strict=True):
            (new,) = detector.detect([preview_of(changed)])
            scores += [score_at(new, box) for box in detections.boxes]
    return np.concatenate([detections.scores for detections in found]).astype(np.float64), np.array(again)


def preview_of(image: DecodedImage) -> Preview:
    """Return all pixels for a detector."""
    return Preview(image.image_id, image.pixels)


def replace_faces(image: DecodedImage, found: Detections, replacer: FaceReplacer) -> Iterator[DecodedImage]:
    """Yield the image with a donor over every face, for each opacity."""
    mask = complete("swap", None, None, None)
    regions = regions_of(found, image.width, image.height, mask.expansion, mask.shape, mask.soft_edge)
    erased = union_of_masks(regions, image.width, image.height)
    shown = np.where(erased[:, :, None], np.uint8(0), image.pixels)
    targets = [
        Target(
            image.image_id,
            region,
            keys.seed(KEY, image.image_id, region.subject),
            image.width,
            image.height,
            lambda: (shown, erased),
        )
        for region in regions
    ]
    faces = [face for face in replacer.prepare(targets) if isinstance(face, Replacement)]
    for opacity in OPACITIES:
        patches = [(face.region, render_patch(face, face.composite.pixels, opacity)) for face in faces]
        yield replace(image, pixels=compose(image.pixels, patches, regions, [], "surer")[0])


def score_at(found: Detections, box: FloatArray) -> float:
    """Return the best score of the detections at a box; 0 where there are none."""
    corners = np.maximum(found.boxes[:, :2], box[:2]), np.minimum(found.boxes[:, 2:], box[2:])
    shared = np.clip(corners[1] - corners[0], 0, None).prod(axis=1)
    areas = (found.boxes[:, 2:] - found.boxes[:, :2]).prod(axis=1) + (box[2:] - box[:2]).prod()
    same = shared > SAME_IOU * (areas - shared)
    return float(found.scores[same].max(initial=0.0))


if __name__ == "__main__":
    main()
