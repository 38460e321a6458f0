"""The Python and plug-in examples of the documentation run, and do what the text says."""

from __future__ import annotations

import importlib
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pandas as pd
import pytest
import yaml
from document_blocks import blocks
from PIL import Image

from anon_batch import Anonymized, Anonymizer

PHOTOS = Path(__file__).parents[2] / "manifests/sample/photos"
FACES = ("people/london/003_neutral.jpg", "people/london/007_neutral.jpg")
NO_FACE = "places/china.jpg"


@pytest.fixture(autouse=True)
def photos(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to a folder with `photo.jpg` and `photos/`, two photographs with a face and one without."""
    (tmp_path / "photos").mkdir()
    for name in (*FACES, NO_FACE):
        shutil.copy(PHOTOS / name, tmp_path / "photos")
    shutil.copy(PHOTOS / FACES[0], tmp_path / "photo.jpg")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def run(marker: str) -> dict[str, Any]:
    """Execute the Python blocks with a marker one after the other and return their names."""
    names: dict[str, Any] = {"__name__": "example"}
    code = blocks(marker, "python")
    assert code
    for page, block in code:
        exec(compile(block, page, "exec"), names)
    return names


def test_python_examples(photos: Path, capsys: pytest.CaptureFixture[str]) -> None:
    names = run("python")
    before = np.asarray(Image.open("photo.jpg"))
    after = np.asarray(Image.open("anonymized.jpg"))
    assert before.shape == after.shape
    assert (before != after).any()
    assert (names["pixels"] != before).any()
    printed = capsys.readouterr().out.splitlines()
    assert printed == [
        "003_neutral.jpg [('face', 'gan')]",
        "007_neutral.jpg [('face', 'gan')]",
        "china.jpg nothing detected",
    ]


def test_pytorch_example() -> None:
    image = run("torch")["image"]
    assert (np.asarray(image) != np.asarray(Image.open("photo.jpg"))).any()


@pytest.mark.filterwarnings("ignore")
def test_hugging_face_example(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    pytest.importorskip("datasets")
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    dataset = run("datasets")["dataset"]
    assert dataset.num_rows == 3
    assert any((np.asarray(image) == 0).all(axis=2).mean() > 0.05 for image in dataset["image"])


@pytest.mark.full
@pytest.mark.filterwarnings("ignore")
def test_ray_data_example(tmp_path: Path) -> None:
    import ray

    try:
        ray.init(address="local", num_cpus=2, include_dashboard=False, log_to_driver=False)
        run("ray")
    finally:
        ray.shutdown()
    rows = pd.read_parquet("anonymized")
    assert sorted(Path(path).name for path in rows.path) == sorted(Path(name).name for name in (*FACES, NO_FACE))


def test_method_in_readme(photos: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    [(_, code)] = blocks("readme plugin", "python")
    (photos / "readme_plugin.py").write_text(code)
    info = photos / "readme_plugin-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: readme-plugin\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text("[anon_batch.methods]\nmean_color = readme_plugin:MeanColor\n")
    monkeypatch.syspath_prepend(str(photos))
    importlib.invalidate_caches()
    pixels = np.asarray(Image.open("photo.jpg").convert("RGB"))
    [outcome] = Anonymizer(policy="mean_color")([pixels])
    assert isinstance(outcome, Anonymized)
    [region] = outcome.records
    assert region.method == "mean_color"
    masked = outcome.pixels[outcome.result.touched]
    expected = pixels[~outcome.result.touched].mean(axis=0).astype(np.uint8)
    assert (masked == expected).all()


@pytest.fixture
def plug_in(photos: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[dict[str, Any]]:
    """Install the page's examples as a package and return the page's job."""
    [(_, project)] = blocks("plugin", "toml")
    source, site = photos / "source", photos / "site"
    source.mkdir()
    (source / "pyproject.toml").write_text(project)
    (source / "my_plugin.py").write_text("\n".join(code for _, code in blocks("plugin", "python")))
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "install", "--no-index"]
    subprocess.run([*pip, "--no-build-isolation", "--target", str(site), str(source)], check=True)
    monkeypatch.syspath_prepend(str(site))
    importlib.invalidate_caches()
    [(_, job)] = blocks("plugin", "yaml")
    yield yaml.safe_load(job)
    sys.modules.pop("my_plugin", None)


def test_plug_in_examples(plug_in: dict[str, Any]) -> None:
    pixels = np.asarray(Image.open("photo.jpg").convert("RGB")).copy()
    code = cv2.resize(cv2.QRCodeEncoder.create().encode("name"), None, fx=3, fy=3, interpolation=cv2.INTER_NEAREST)
    pixels[: len(code), : len(code)] = code[:, :, None]
    anonymizer = Anonymizer(plug_in["detect"], plug_in["anonymize"], plug_in["checks"], key=b"k" * 32)
    [outcome] = anonymizer([pixels])
    assert isinstance(outcome, Anonymized)
    shown = {record.label: record for record in outcome.records}
    assert {label: record.method for label, record in shown.items()} == {"face": "random_color", "qr_code": "solid"}
    x1, y1, x2, y2 = (shown["face"].x1, shown["face"].y1, shown["face"].x2, shown["face"].y2)
    middle = outcome.pixels[(y1 + y2) // 2, (x1 + x2) // 2]
    assert middle.min() >= 64
