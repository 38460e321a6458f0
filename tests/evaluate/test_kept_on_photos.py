"""Average precision of a second detector that is kept with replaced faces, on real photographs (takes minutes)."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest
from external_data import MODELS, PHOTOS, needs_data, weights_reason
from releases import run_cli


@pytest.mark.accuracy
@pytest.mark.timeout(1800)
@needs_data(PHOTOS)
@pytest.mark.skipif(not MODELS.is_dir(), reason=weights_reason("face_detection_yunet_2023mar.onnx"))
def test_replaced_faces_are_found_as_well_as_the_originals(tmp_path: Path) -> None:
    env = {**os.environ, "ANON_BATCH_MODEL_MIRROR": str(MODELS)}
    manifest = str(tmp_path / "photos.parquet")
    done = run_cli("manifest", str(PHOTOS / "images"), "-o", manifest, "--ground-truth", str(PHOTOS / "boxes.json"))
    assert done.returncode == 0, done.stderr
    done = run_cli(
        "evaluate",
        manifest,
        "--methods",
        "gan,swap,pixelate",
        "-o",
        str(tmp_path / "out"),
        "--set",
        "detect.detectors=[{name: centerface, threshold: 0.5}]",
        "--set",
        f"sources.allow=[{PHOTOS}]",
        env=env,
        timeout_s=1500,
    )
    assert done.returncode == 0, done.stderr
    measured = json.loads((tmp_path / "out" / "measures.json").read_text("utf-8"))["methods"]
    kept = {
        name: {band: figures["kept"] for band, figures in sections["average_precision"]["anonymized_faces"].items()}
        for name, sections in measured.items()
    }
    for name in ("gan", "swap"):
        assert kept[name]["from_16_px"] >= 0.997
        assert kept[name]["all"] >= 0.98
    assert kept["pixelate"]["all"] < 0.5
