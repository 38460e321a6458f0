"""What `residual` catches of the labelled faces that the default job leaves, and what it adds; prints the table of the guide."""

from __future__ import annotations

import hashlib
import json

import numpy as np
import pytest
from external_data import MODELS, PHOTOS, needs_data, skip_without_weights

from anon_batch import Anonymizer
from anon_batch.anonymize.checks.residual_search import Passes, search, share_covered
from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.geometry import pairwise_iou, union_of_masks
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage

pytestmark = [pytest.mark.accuracy, needs_data(PHOTOS)]
PASSES = Passes((1.0, 2.0), (90, 180, 270), 2048, 0.6)
THRESHOLDS = (0.1, 0.2, 0.3, 0.4, 0.5)


def _finds():
    """Return for each photograph its half, labels (N, 4), which labels are open, and boxes and scores outside all regions."""
    skip_without_weights("yunet_n_640_640.onnx")
    runtime = Runtime(ModelStore(Storage(), ModelsConfig(mirror=str(MODELS))))
    made = Anonymizer(policy="pixelate", key=b"k" * 32, runtime=runtime)
    config = DetectConfig(detectors=[{"name": "yunet_n", "threshold": THRESHOLDS[0]}], refine_small=False)
    detector = build_detector(config, runtime)
    for entry in json.loads((PHOTOS / "boxes.json").read_text()):
        [out] = made([(PHOTOS / "images" / entry["file"]).read_bytes()], [entry["file"]])
        height, width = out.pixels.shape[:2]
        masks = union_of_masks(getattr(out, "regions", ()), width, height)
        labels = np.array([box[:4] for box in entry["boxes"]], np.float32).reshape(-1, 4)
        found = search(entry["file"], out.pixels, detector, PASSES)
        left = np.array([share_covered(box, masks) < 0.5 for box in found.boxes], np.bool_)
        missed = np.array([share_covered(box, masks) < 0.5 for box in labels], np.bool_)
        half = hashlib.sha256(entry["file"].encode()).digest()[0] % 2
        yield half, labels, missed, found.boxes[left], found.scores[left]


def test_what_the_check_catches_and_adds():
    photos, measured = list(_finds()), {}
    for half in (0, 1):
        own = [rest for side, *rest in photos if side == half]
        for threshold in THRESHOLDS:
            caught, unlabelled = np.zeros((2, 2), int), 0
            for labels, missed, boxes, scores in own:
                large = (labels[:, 2:] - labels[:, :2]).max(axis=1) >= 16
                sure = boxes[scores >= threshold]
                hit = (pairwise_iou(labels, sure) >= 0.3).any(axis=1)
                for row, some in enumerate((large, ~large)):
                    caught[row] += (missed & some & hit).sum(), (missed & some).sum()
                unlabelled += sum(not _touches(box, labels) for box in sure)
            measured[half, threshold] = caught, unlabelled / len(own)
            (big, of_big), (small, of_small) = caught.tolist()
            print(
                f"half {half} threshold {threshold}: {big} of {of_big} / {small} of {of_small}, {unlabelled / len(own):.2f}"
            )
    caught, added = measured[1, 0.3]
    assert caught[:, 0].sum() >= 2
    assert added < 1.5


def _touches(box, labels):
    """Return whether a third of a label lies in the box, or half of the box in a label."""
    low, high = np.maximum(labels[:, :2], box[:2]), np.minimum(labels[:, 2:], box[2:])
    shared = np.clip(high - low, 0, None).prod(axis=1)
    areas = np.clip(labels[:, 2:] - labels[:, :2], 1e-6, None).prod(axis=1)
    return bool(((shared > 0.3 * areas) | (shared > 0.5 * max((box[2:] - box[:2]).prod(), 1e-6))).any())
