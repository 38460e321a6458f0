"""The sample that stands for ImageNet when a job is estimated."""

from __future__ import annotations

import io
import json
import random
import sys
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image

from tools import imagenet_mix


def test_the_faces_of_an_image_are_those_of_imagenet_on_average() -> None:
    counts = {f"{number}-{at}": number for number in (1, 1, 2, 4, 8, 50) for at in range(9)}
    drawn = imagenet_mix.choose(counts, 1000, random.Random(1))
    assert np.mean([counts[name] for name in drawn]) == pytest.approx(imagenet_mix.FACES_PER_IMAGE, abs=0.2)
    assert max(counts[name] for name in drawn) == 8


def test_a_sample_has_the_mix_and_a_manifest_of_all_rows(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    rng = np.random.default_rng(0)
    for path in (tmp_path / "faces/images/a.jpg", tmp_path / "faces/images/b.jpg", tmp_path / "others/c.jpg"):
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 255, (300, 400, 3), np.uint8)).save(path)
    entries = [{"file": "a.jpg", "boxes": [[0, 0, 9, 9]]}, {"file": "b.jpg", "boxes": [[0, 0, 9, 9]] * 3}]
    (tmp_path / "faces/boxes.json").write_text(json.dumps(entries))
    words = ["imagenet_mix", str(tmp_path / "faces"), str(tmp_path / "others"), "-o", str(tmp_path / "mix")]
    monkeypatch.setattr(sys, "argv", [*words, "--number", "12"])
    monkeypatch.setattr(imagenet_mix, "ROWS", 30)
    imagenet_mix.main()
    assert capsys.readouterr().out.startswith("12 images, 2 with ")
    rows = pq.read_table(tmp_path / "mix/manifest.parquet").to_pylist()
    assert len({row["image_id"] for row in rows}) == len(rows) == 30
    for row in rows:
        with Image.open(io.BytesIO((tmp_path / "mix" / row["uri"]).read_bytes())) as image:
            assert image.width * image.height == pytest.approx(imagenet_mix.PIXELS, rel=0.01)
