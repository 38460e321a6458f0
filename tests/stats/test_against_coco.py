"""The same boxes through pycocotools: counts, recall and average precision have to agree."""

from __future__ import annotations

import contextlib
import io

import numpy as np
import pytest

from anon_batch.records import Detections, GroundTruth
from anon_batch.stats import DetectionStats
from anon_batch.stats.detection import SCORE_BINS

pycocotools = pytest.importorskip("pycocotools.coco", reason="pycocotools is not installed")


def scenes(seed, images=12, bin_centres=True):
    """Random faces of all sizes, some ignored, and detections near them, elsewhere and doubled."""
    rng = np.random.default_rng(seed)
    # Scores in the middle of different bins: binning then loses nothing, and the agreement is exact.
    centres = (rng.permutation(SCORE_BINS) + 0.5) / SCORE_BINS
    pool = iter(centres if bin_centres else rng.random(SCORE_BINS))
    out = []
    for _ in range(images):
        count = int(rng.integers(0, 9))
        corner = rng.uniform(0, 500, (count, 2))
        side = np.exp(rng.uniform(np.log(6), np.log(250), (count, 2)))
        faces = np.concatenate([corner, corner + side], axis=1).astype(np.float32)
        near = np.repeat(faces, rng.integers(0, 3, count), axis=0)
        size = np.tile(near[:, 2:] - near[:, :2], 2)
        near = near + rng.normal(0, 0.12, near.shape) * size
        corner = rng.uniform(0, 500, (4, 2))
        wrong = np.concatenate([corner, corner + rng.uniform(5, 150, (4, 2))], axis=1)
        boxes = np.concatenate([near, wrong]).astype(np.float32)
        boxes = boxes[(boxes[:, 2:] > boxes[:, :2] + 1).all(axis=1)]
        scores = np.array([next(pool) for _ in boxes], np.float32)
        landmarks = np.full((len(boxes), 5, 2), np.nan, np.float32)
        found = Detections(boxes, scores, landmarks, ("d",) * len(boxes))
        out.append((found, GroundTruth(faces, rng.random(count) < 0.25)))
    return out


def coco_precision_and_recall(data):
    """Precision (101, 4) and recall (4,) at IoU 0.5 for the areas all, small, medium, large."""
    from pycocotools.coco import COCO
    from pycocotools.cocoeval import COCOeval

    def annotation(number, image, box, **more):
        x1, y1, x2, y2 = (float(v) for v in box)
        sides = (x2 - x1, y2 - y1)
        place = {"bbox": [x1, y1, *sides], "area": sides[0] * sides[1]}
        return {"id": number, "image_id": image, "category_id": 1, **place, **more}

    faces, results = [], []
    for image, (found, truth) in enumerate(data, 1):
        for box, ignore in zip(truth.boxes, truth.ignore, strict=True):
            faces.append(annotation(len(faces) + 1, image, box, iscrowd=int(ignore)))
        for box, score in zip(found.boxes, found.scores, strict=True):
            results.append(annotation(len(results) + 1, image, box, score=float(score)))
    with contextlib.redirect_stdout(io.StringIO()):
        truth = COCO()
        truth.dataset = {
            "info": {},
            "images": [{"id": i} for i in range(1, len(data) + 1)],
            "annotations": faces,
            "categories": [{"id": 1, "name": "face"}],
        }
        truth.createIndex()
        evaluation = COCOeval(truth, truth.loadRes(results), "bbox")
        evaluation.params.iouThrs = np.array([0.5])
        evaluation.params.maxDets = [100_000]
        evaluation.evaluate()
        evaluation.accumulate()
    return evaluation.eval["precision"][0, :, 0, :, 0], evaluation.eval["recall"][0, 0, :, 0]


def ours(data):
    stats = DetectionStats()
    for found, truth in data:
        stats.add(found, truth)
    return stats.summary()["bands"]


@pytest.mark.parametrize("seed", range(8))
def test_recall_and_average_precision_are_those_of_pycocotools(seed):
    data = scenes(seed)
    assert sum(len(truth) for _, truth in data) > 20
    precision, recall = coco_precision_and_recall(data)
    bands = ours(data)
    for column, name in enumerate(("all", "small", "medium", "large")):
        if recall[column] < 0:
            assert bands[name]["recall"] is None
            assert bands[name]["average_precision"] is None
        else:
            assert bands[name]["recall"] == pytest.approx(recall[column], abs=1e-12)
            assert bands[name]["average_precision"] == pytest.approx(precision[:, column].mean(), abs=1e-9)


@pytest.mark.parametrize("seed", range(4))
def test_scores_anywhere_agree_within_the_width_of_the_bins(seed):
    data = scenes(100 + seed, images=60, bin_centres=False)
    precision, recall = coco_precision_and_recall(data)
    band = ours(data)["all"]
    assert band["recall"] == pytest.approx(recall[0], abs=1e-12)
    assert band["average_precision"] == pytest.approx(precision[:, 0].mean(), abs=0.01)


def test_the_scenes_have_regions_of_all_sizes():
    bands = ours(scenes(0))
    assert all(bands[name]["regions"] >= 3 for name in ("small", "medium", "large", "from_16_px"))
    assert 0.1 < bands["all"]["average_precision"] < 0.9
    assert bands["all"]["regions"] < sum(len(truth) for _, truth in scenes(0))
