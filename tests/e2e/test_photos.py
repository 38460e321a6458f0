"""Real photographs: the run's statistics, `verify` and a count by hand agree."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from external_data import PHOTOS, needs_data
from PIL import Image
from releases import run_cli

pytestmark = [pytest.mark.accuracy, needs_data(PHOTOS)]


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    folder = tmp_path_factory.mktemp("photos")
    manifest = str(folder / "m.parquet")
    done = run_cli("manifest", str(PHOTOS / "images"), "-o", manifest, "--ground-truth", str(PHOTOS / "boxes.json"))
    assert done.returncode == 0, done.stderr
    options = ("--method", "solid", "--set", "engine.workers=2", "--set", f"sources.allow=[{PHOTOS}]", "--json")
    done = run_cli("run", "--manifest", manifest, "--output", str(folder / "out"), *options)
    assert done.returncode == 0, done.stderr
    return folder / "out", json.loads(done.stdout)


def _parts(folder: Path) -> list[dict[str, Any]]:
    return [row for path in sorted(folder.iterdir()) for row in pq.read_table(path).to_pylist()]


def _iou(a: dict[str, float], b: dict[str, float]) -> float:
    across = min(a["x2"], b["x2"]) - max(a["x1"], b["x1"])
    down = min(a["y2"], b["y2"]) - max(a["y1"], b["y1"])
    if across <= 0 or down <= 0:
        return 0.0
    overlap = across * down
    area = sum((box["x2"] - box["x1"]) * (box["y2"] - box["y1"]) for box in (a, b))
    return overlap / (area - overlap)


def _found_faces(detections: list[dict[str, float]], faces: list[dict[str, float]]) -> int:
    """By hand: best score first, each takes the free face that it overlaps most, if by half at least."""
    free = list(faces)
    for detection in sorted(detections, key=lambda d: -d["score"]):
        best = max(free, key=lambda face: _iou(detection, face), default=None)
        if best is not None and _iou(detection, best) >= 0.5:
            free.remove(best)
    return len(faces) - len(free)


def test_statistics_verify_and_a_hand_count_agree(release: tuple[Path, dict[str, Any]]) -> None:
    output, summary = release
    public, private = _parts(output / "provenance"), _parts(output.with_name("out-ledger") / "audit")
    labelled = {entry["file"]: len(entry["boxes"]) for entry in json.loads((PHOTOS / "boxes.json").read_text())}

    assert {row["image_id"] for row in public} == set(labelled)
    assert len(public) == summary["rows"] == len(list((output / "images").iterdir()))
    for status, rows in summary["statuses"].items():
        assert sum(row["status"] == status for row in public) == rows
    assert summary["detections"] == sum(len(row["detections"]) for row in private)
    assert summary["regions_anonymized"] == sum(len(row["regions"]) for row in public)
    assert summary["images_with_regions"] == sum(bool(row["detections"]) for row in private)

    found = sum(_found_faces(row["detections"], row["ground_truth"]) for row in private)
    band = summary["detection"]["bands"]["all"]
    assert band["regions"] == sum(labelled.values()) == 1069
    assert band["true_positives"] == found
    assert band["missed"] == 1069 - found
    assert band["false_positives"] == summary["detections"] - found
    assert band["recall"] == pytest.approx(found / 1069)
    assert band["precision"] == pytest.approx(found / summary["detections"])

    done = run_cli("verify", str(output), "--json")
    assert done.returncode == 0, done.stderr
    verdict = json.loads(done.stdout)
    assert verdict["faults_count"] == 0
    assert verdict["objects"] == verdict["accounted"] == 214
    assert verdict["statuses"] == {k: v for k, v in summary["statuses"].items() if v}


def test_every_found_face_is_black_inside(release: tuple[Path, dict[str, Any]]) -> None:
    output, _ = release
    for row in _parts(output / "provenance"):
        image = Image.open(output / row["output"]).convert("L")
        for face in row["regions"]:
            x, y = (face["x1"] + face["x2"]) // 2, (face["y1"] + face["y2"]) // 2
            assert image.getpixel((x, y)) <= 24, (row["image_id"], face)  # black but for the JPEG's rounding


def test_recall_is_what_the_readme_says(release: tuple[Path, dict[str, Any]]) -> None:
    """At the default threshold; a lower figure means that more people stay recognisable."""
    bands = release[1]["detection"]["bands"]
    assert bands["all"]["recall"] >= 0.82
    assert bands["from_16_px"]["recall"] >= 0.87
    assert bands["large"]["recall"] >= 63 / 64  # all are found; the box of one, labelled low, overlaps by 0.499
