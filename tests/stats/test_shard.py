from __future__ import annotations

import json

import numpy as np
import pytest

from anon_batch.errors import IntegrityError
from anon_batch.records import Detections, GroundTruth
from anon_batch.stats import BandStats, ShardStats, merge_all, summarise
from anon_batch.stats.label import MAX_LABELS
from anon_batch.stats.summary import KEYS


def found(*boxes, scores, labels=None):
    n = len(boxes)
    return Detections(
        np.array(boxes, np.float32).reshape(n, 4),
        np.array(scores, np.float32),
        np.full((n, 5, 2), np.nan, np.float32),
        ("d",) * n,
        labels,
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
    out.add_checks({"structure": {"passed": 4, "failed": 1}})
    out.add_worker({"detect": 1.75, "wait_input": 0.25}, 1.5)
    return out


def test_summary(stats):
    summary = summarise(stats)
    detection, missed = summary.pop("detection"), summary.pop("missed")
    assert summary == {
        "rows": 4,
        "statuses": {"anonymized": 1, "clean": 1, "withheld": 1, "failed": 1},
        "reasons": {"withheld": {"anonymize": 1}, "failed": {"decode": 1}},
        "images_searched": 3,
        "images_with_regions": 2,
        "detections": 3,
        "regions_anonymized": 2,
        "regions_kept": 0,
        "regions_per_image": {"0": 1, "1": 1, "2": 1},
        "scores": {"0.40": 1, "0.94": 1, "0.99": 1},  # 0.95 as float32 lies just below
        "sizes_px": {"0": 1, "8": 1, "32": 1},
        "methods": {"blur": 1, "solid": 1},
        "labels": {
            "face": {
                "images": 2,
                "detections": 3,
                "regions_anonymized": 2,
                "regions_kept": 0,
                "regions_per_image": {"1": 1, "2": 1},
                "scores": {"0.40": 1, "0.94": 1, "0.99": 1},
                "sizes_px": {"0": 1, "8": 1, "32": 1},
                "methods": {"blur": 1, "solid": 1},
            }
        },
        "checks": {"structure": {"failed": 1, "passed": 4}},
        "found_by": {"d": 1},
        "bytes_in": 163,
        "bytes_out": 140,
        "seconds": {"detect": 1.75},
        "timing": {
            "cpu_seconds": {"detect": 1.0},
            "worker_seconds": {"detect": 1.75, "wait_input": 0.25},
            "process_cpu_seconds": 1.5,
        },
    }
    assert (missed["images"], missed["unpublished_images"], missed["unpublished_faces"]) == (0, 1, 2)
    assert (detection["images"], detection["unsearched_images"], detection["iou_threshold"]) == (1, 1, 0.5)
    overall = detection["bands"]["all"]
    assert overall == {
        "regions": 2,
        "true_positives": 1,
        "false_positives": 1,
        "missed": 1,
        "precision": 0.5,
        "recall": 0.5,
        "average_precision": pytest.approx(51 / 101),
    }
    assert detection["bands"]["from_16_px"]["false_positives"] == 0
    assert detection["bands"]["large"]["recall"] is None
    assert detection["labels"] == {"face": detection["bands"]}
    assert json.loads(json.dumps(summarise(stats))) == summarise(stats)


def test_no_ground_truth_is_no_figure():
    stats = ShardStats()
    stats.add_row("clean", None, Detections.empty())
    assert summarise(stats)["detection"] is None
    assert summarise(stats)["missed"] is None
    assert len(stats.to_json()) < 400


def test_round_trip(stats):
    assert ShardStats.from_json(stats.to_json()) == stats
    assert ShardStats.from_json(ShardStats().to_json()) == ShardStats()


def test_statistics_of_an_older_version_are_refused(stats):
    old = json.loads(stats.to_json())
    with pytest.raises(IntegrityError, match="version 2, expected 4"):
        ShardStats.from_json(json.dumps({**old, "version": 2}))
    del old["checks"]
    with pytest.raises(IntegrityError, match="keys of version"):
        ShardStats.from_json(json.dumps(old))


def test_labels_are_counted_apart_and_together():
    stats = ShardStats()
    boxes, plate = [(0, 0, 40, 40), (0, 0, 40, 40)], "licence_plate"
    truth = GroundTruth(np.array([*boxes, (50, 0, 90, 40)], np.float32), np.zeros(3, bool), ("face", plate, plate))
    both = found(*boxes, scores=[0.9, 0.5], labels=("face", plate))
    stats.add_row("anonymized", None, both, truth, methods={0: "gan", 1: "solid"})
    stats.add_row("anonymized", None, found(*boxes, scores=[0.9, 0.8]), None, methods={1: "gan"}, kept=[0])
    summary = summarise(stats)
    face, plates = summary["labels"]["face"], summary["labels"][plate]
    assert (face["detections"], face["images"], face["methods"], face["regions_kept"]) == (3, 2, {"gan": 2}, 1)
    assert (plates["detections"], plates["images"], plates["methods"], plates["regions_kept"]) == (
        1,
        1,
        {"solid": 1},
        0,
    )
    assert (summary["detections"], summary["regions_anonymized"], summary["regions_kept"]) == (4, 3, 1)
    assert summary["regions_per_image"] == {"2": 2}
    recall = {label: bands["all"]["recall"] for label, bands in summary["detection"]["labels"].items()}
    assert recall == {"face": 1.0, plate: 0.5}
    assert summary["detection"]["bands"]["all"]["recall"] == 2 / 3


def test_labels_are_capped():
    stats = ShardStats()
    box = (0, 0, 40, 40)
    for number in range(MAX_LABELS + 8):
        label = (f"label_{number:03d}",)
        truth = GroundTruth(np.array([box], np.float32), np.zeros(1, bool), label)
        stats.add_row("anonymized", None, found(box, scores=[0.9], labels=label), truth)
    assert len(stats.labels) == len(stats.detection.labels) == MAX_LABELS + 1
    assert stats.labels["other"].detections == 8
    assert stats.detection.labels["other"]["all"].regions == 8
    assert summarise(stats)["detections"] == MAX_LABELS + 8


def test_methods_without_detections_are_refused():
    with pytest.raises(ValueError, match="no detections"):
        ShardStats().add_row("anonymized", methods={0: "gan"})


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
        '{"version":4}',
        ShardStats().to_json().replace('"rows":0', '"rows":"0"'),
        ShardStats().to_json().replace('"regions_per_image":[]', '"regions_per_image":[1]'),
        ShardStats().to_json().replace('"regions_per_image":[]', '"regions_per_image":[1,2,1,3]'),
        ShardStats().to_json().replace('"statuses":{}', '"statuses":{"clean":1.5}'),
        ShardStats().to_json().replace('"labels":{}', '"labels":{"face":{"tiny":[1,[],[]]}}'),
        ShardStats().to_json().replace('"labels":{}', '"labels":{"face":[[],[],[],{},-1]}'),
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
    assert summarise(stats)["reasons"]["other"] == 36
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


def test_crowds_and_huge_boxes_count_in_the_last_bins():
    boxes = np.tile(np.array([[0, 0, 1e30, 1]], np.float32), (1200, 1))
    stats = ShardStats()
    stats.add_row("anonymized", None, found(*boxes, scores=np.ones(1200)))
    assert stats.regions_per_image == {1000: 1}
    assert stats.labels["face"].sizes == {20: 1200}
    assert stats.labels["face"].per_image == {1000: 1}


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
    assert summarise(total)["detection"]["bands"]["all"]["missed"] == 2
    assert merge_all([]) == ShardStats()


def test_every_key_of_the_summary_is_described(stats):
    assert list(summarise(stats)) == list(KEYS)
