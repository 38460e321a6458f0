"""Average precision and recall on labelled photographs; pycocotools is the independent reference."""

from __future__ import annotations

import contextlib
import io
import json

import numpy as np
import pytest
from external_data import PHOTOS, needs_data

from anon_batch.config import DetectConfig, ModelsConfig
from anon_batch.detect.ensemble import build_detector
from anon_batch.models.runtime import Runtime
from anon_batch.models.store import ModelStore
from anon_batch.records import Preview
from anon_batch.storage import Storage

SLACK = 0.005
SMALL_PX = 16  # of the shorter side

pytestmark = [pytest.mark.accuracy, needs_data(PHOTOS)]


def load_photos():
    from PIL import Image

    photos = []
    for entry in json.loads((PHOTOS / "boxes.json").read_text()):
        with Image.open(PHOTOS / "images" / entry["file"]) as file:
            pixels = np.asarray(file.convert("RGB"))
        photos.append((Preview(entry["file"], pixels), [box[:4] for box in entry["boxes"]]))
    return photos


def average_precision_and_recall(photos, found, min_side_px=0.0):
    """AP and recall at IoU 0.5; labelled faces with a shorter side below `min_side_px` count neither way."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    labels, results = [], []
    for image_id, ((image, boxes), detections) in enumerate(zip(photos, found, strict=True), start=1):
        for x1, y1, x2, y2 in boxes:
            labels.append(
                {
                    "id": len(labels) + 1,
                    "image_id": image_id,
                    "category_id": 1,
                    "iscrowd": 0,
                    "bbox": [x1, y1, x2 - x1, y2 - y1],
                    "area": min(x2 - x1, y2 - y1) ** 2,
                }
            )
        clipped = np.clip(detections.boxes, 0, [image.width, image.height] * 2)
        for (x1, y1, x2, y2), score in zip(clipped.tolist(), detections.scores.tolist(), strict=True):
            results.append({"image_id": image_id, "category_id": 1, "score": score, "bbox": [x1, y1, x2 - x1, y2 - y1]})
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "images": [{"id": i + 1} for i in range(len(photos))],
            "categories": [{"id": 1}],
            "annotations": labels,
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.iouThrs = np.asarray([0.5])
        evaluation.params.maxDets = [10_000]
        evaluation.params.areaRng, evaluation.params.areaRngLbl = [[min_side_px**2, 1e10]], ["all"]
        evaluation.evaluate()
        evaluation.accumulate()
    precision = evaluation.eval["precision"][0, :, 0, 0, 0]
    return float(precision.mean()), float(evaluation.eval["recall"][0, 0, 0, 0])


@pytest.mark.parametrize(
    ("backend", "precision"), [("onnxruntime", "fp32"), ("onnxruntime", "int8"), ("openvino", "fp32")]
)
@pytest.mark.parametrize(
    ("scale", "all_faces", "faces_of_16_px"),
    [
        (1.0, (0.764, 0.859), (0.869, 0.930)),
        (2.0, (0.826, 0.889), (0.902, 0.946)),
    ],
)
def test_centerface_reaches_the_reference_on_photographs_of_crowds(
    tmp_path, backend, precision, scale, all_faces, faces_of_16_px
):
    if backend == "openvino":
        pytest.importorskip("openvino", reason="the extra `openvino` is not installed")
    photos = load_photos()
    config = DetectConfig(
        detectors=[{"name": "centerface", "threshold": 0.05}],
        backend=backend,
        precision=precision,
        scale=scale,
        refine_small=False,
    )
    detector = build_detector(config, Runtime(ModelStore(Storage(), ModelsConfig(cache=str(tmp_path))), threads=2))
    found = [detector.detect([image])[0] for image, _ in photos]
    for min_side_px, reference in ((0, all_faces), (SMALL_PX, faces_of_16_px)):
        actual = average_precision_and_recall(photos, found, min_side_px)
        print(f"{backend} {precision} {scale}x, from {min_side_px} px: AP50 {actual[0]:.4f}, recall {actual[1]:.4f}")
        assert actual[0] >= reference[0] - SLACK
        assert actual[1] >= reference[1] - SLACK


def test_refinement_places_and_ranks_faces_better_and_loses_none(tmp_path):
    photos, found = load_photos(), {}
    for refine_small in (False, True):
        detector = build_detector(
            DetectConfig(refine_small=refine_small), Runtime(ModelStore(Storage(), ModelsConfig(cache=str(tmp_path))))
        )
        found[refine_small] = [detector.detect([image])[0] for image, _ in photos]
    assert [len(own) for own in found[True]] == [len(own) for own in found[False]]
    before, after = (average_precision_and_recall(photos, found[on]) for on in (False, True))
    print(f"AP50 {before[0]:.4f} -> {after[0]:.4f}, recall {before[1]:.4f} -> {after[1]:.4f}")
    assert after[0] >= before[0] + 0.05
    assert after[1] >= before[1] + 0.03
