from __future__ import annotations

import json

import numpy as np
import pytest

from anon_batch.errors import IntegrityError
from anon_batch.records import Detections, GroundTruth
from anon_batch.stats import BandStats, ShardStats, merge_all


def found(*boxes, scores):
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.array(scores, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        ("d",) * n,
    )


TRUTH = GroundTruth(np.array([[0, 0, 40, 40], [50, 0, 90, 40]], np.float32), np.zeros(2, bool))


@pytest.fixture
def stats():
    out = ShardStats()
    two = found((0, 0, 40, 40), (300, 0, 310, 5), scores=[0.95, 0.4])
    out.add_row("anonymized", None, two, TRUTH, methods={0: "blur", 1: "solid"}, bytes_in=100, bytes_out=90)
    out.add_row("clean", None, Detections.empty(), None, bytes_in=50, bytes_out=50)
    out.add_row("withheld", "anonymize", found((0, 0, 1, 1), scores=[1.0]), None, bytes_in=10)
    out.add_row("failed", "decode", None, TRUTH, bytes_in=3)
    out.add_seconds("detect", 1.25, 1.0)
    out.add_seconds("detect", 0.5)
    out.add_worker({"detect": 1.75, "wait_input": 0.25}, 1.5)
    return out


def test_summary(stats):
    summary = stats.summary()
    detection = summary.pop("detection")
    assert summary == {
        "rows": 4,
        "statuses": {"anonymized": 1, "clean": 1, "withheld": 1, "failed": 1},
        "reasons": {"withheld": {"anonymize": 1}, "failed": {"decode": 1}},
        "images_searched": 3,
        "images_with_faces": 2,
        "faces_found": 3,
        "faces_treated": 2,
        "faces_per_image": {"0": 1, "1": 1, "2": 1},
        "scores": {"0.40": 1, "0.94": 1, "0.99": 1},  # 0.95 as float32 lies just below
        "face_sizes_px": {"0": 1, "8": 1, "32": 1},
        "methods": {"blur": 1, "solid": 1},
        "bytes_in": 163,
        "bytes_out": 140,
        "seconds": {"detect": 1.75},
        "timing": {
            "cpu_seconds": {"detect": 1.0},
            "worker_seconds": {"detect": 1.75, "wait_input": 0.25},
            "process_cpu_seconds": 1.5,
        },
    }
    assert (detection["images"], detection["unsearched_images"], detection["iou_threshold"]) == (1, 1, 0.5)
    overall = detection["bands"]["all"]
    assert overall == {
        "faces": 2,
        "true_positives": 1,
        "false_positives": 1,
        "missed_faces": 1,
        "precision": 0.5,
        "recall": 0.5,
        "average_precision": pytest.approx(51 / 101),
    }
    assert detection["bands"]["from_16_px"]["false_positives"] == 0
    assert detection["bands"]["large"]["recall"] is None
    assert json.loads(json.dumps(stats.summary())) == stats.summary()


def test_no_ground_truth_is_no_figure():
    stats = ShardStats()
    stats.add_row("clean", None, Detections.empty())
    assert stats.summary()["detection"] is None
    assert len(stats.to_json()) < 400


def test_round_trip(stats):
    assert ShardStats.from_json(stats.to_json()) == stats
    assert ShardStats.from_json(ShardStats().to_json()) == ShardStats()


def test_version_1_had_no_cpu_and_worker_times(stats):
    old = json.loads(stats.to_json())
    for name in ("stage_cpu_us", "worker_us", "process_cpu_us"):
        del old[name]
    read = ShardStats.from_json(json.dumps({**old, "version": 1}))
    assert (read.stage_us, read.stage_cpu_us, read.worker_us, read.process_cpu_us) == (stats.stage_us, {}, {}, 0)
    assert read.statuses == stats.statuses
    with pytest.raises(IntegrityError, match="keys of version"):
        ShardStats.from_json(json.dumps({**old, "version": 2}))


@pytest.mark.parametrize(
    "text",
    [
        "",
        "null",
        "[]",
        "{}",
        '{"version":1}',
        '{"version":2}',
        '{"version":3}',
        ShardStats().to_json().replace('"rows":0', '"rows":"0"'),
        ShardStats().to_json().replace('"scores":[]', '"scores":[1]'),
        ShardStats().to_json().replace('"scores":[]', '"scores":[1,2,1,3]'),
        ShardStats().to_json().replace('"statuses":{}', '"statuses":{"clean":1.5}'),
        ShardStats().to_json().replace('"bands":{}', '"bands":{"tiny":[1,[],[]]}'),
    ],
)
def test_damaged_text_is_refused(text):
    with pytest.raises(IntegrityError, match="statistics of a commit"):
        ShardStats.from_json(text)


def test_unknown_status_is_refused():
    with pytest.raises(ValueError, match="done"):
        ShardStats().add_row("done")


def test_reasons_are_capped():
    stats = ShardStats()
    for number in range(100):
        stats.add_row("failed", f"reason_{number:03d}")
    assert len(stats.reasons) == 65
    assert stats.reasons["other"] == 36
    assert stats.summary()["reasons"]["other"] == 36
    assert sum(stats.reasons.values()) == 100


def test_a_crowded_shard_stays_small():
    rng = np.random.default_rng(0)
    stats = ShardStats()
    for _ in range(512):
        corner = rng.uniform(0, 400, (3, 2))
        boxes = np.concatenate([corner, corner + rng.uniform(5, 150, (3, 2))], axis=1)
        faces = found(*boxes, scores=rng.random(3))
        stats.add_row("anonymized", None, faces, GroundTruth(faces.boxes, np.zeros(3, bool)))
    assert len(stats.to_json()) < 64 * 1024


def test_crowds_and_giants_fall_into_the_last_bins():
    boxes = np.tile(np.array([[0, 0, 1e30, 1]], np.float32), (1200, 1))
    stats = ShardStats()
    stats.add_row("anonymized", None, found(*boxes, scores=np.ones(1200)))
    assert stats.faces_per_image == {1000: 1}
    assert stats.face_sizes == {20: 1200}


def test_curve():
    band = BandStats(4, {1900: 2, 1000: 1}, {1500: 1, 1000: 1})
    precision, recall, scores = band.curve()
    assert precision.tolist() == [1, 2 / 3, 3 / 5]
    assert recall.tolist() == [0.5, 0.5, 0.75]
    assert scores.tolist() == [0.95, 0.75, 0.5]
    assert BandStats(4).average_precision() == 0
    assert BandStats(0, {}, {3: 1}).average_precision() is None


def test_merge_all(stats):
    total = merge_all([stats, stats, ShardStats()])
    assert total.rows == 8
    assert total.summary()["detection"]["bands"]["all"]["missed_faces"] == 2
    assert merge_all([]) == ShardStats()
