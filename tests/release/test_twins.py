"""A release is a twin of its source for Hugging Face `datasets`: the same splits, order, columns, classes and their names."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from pipeline_fixtures import job, release
from releases import RUN_KEY
from typer.testing import CliRunner

from anon_batch.cli.app import app

datasets = pytest.importorskip("datasets")

# Names that YAML would read as something else, and those of the field.
NAMES = ["tench, Tinca tinca", "no", "null", "1", "a: 'b' #\"c\"", "---", "日本 🐟", "*anchor"]
LAYOUTS = ("files", "webdataset", "parquet")
SPLITS = {"train": 6, "validation": 3, "test": 2}


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


def drawn(seed: int, kind: str = "JPEG") -> bytes:
    buffer = io.BytesIO()
    pixels = np.random.default_rng(seed).integers(0, 255, (6, 8, 3), np.uint8)
    Image.fromarray(pixels).resize((40, 32)).save(buffer, kind)
    return buffer.getvalue()


def publish(base: Path, source: Path, layout: str, **settings: Any) -> Path:
    """Build the manifest of a source and make a signed release of it, as a user would; return OUTPUT."""
    runner = CliRunner()
    (base / "key").write_bytes(RUN_KEY)
    built = runner.invoke(app, ["manifest", str(source), "-o", str(base / "m.parquet")])
    assert built.exit_code == 0, built.output
    keys = {"write__layout": layout, "detect__detectors": ["centerface"], "sources__allow": [str(source)], **settings}
    release(job(str(base), layout, **keys))
    if not (base / "sign").exists():
        assert runner.invoke(app, ["keys", "new", "--sign", str(base / "sign")]).exit_code == 0
    done = runner.invoke(app, ["release", str(base / layout), "--sign-key", str(base / "sign")])
    assert done.exit_code == 0, done.output
    checked = runner.invoke(app, ["verify", str(base / layout), "--no-ledger", "--key", str(base / "sign.pub")])
    assert checked.exit_code == 0, checked.output
    return base / layout


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    """A dataset as `push_to_hub` writes it."""
    base = tmp_path_factory.mktemp("hub")
    features = datasets.Features(
        {
            "image": datasets.Image(),
            "label": datasets.ClassLabel(names=NAMES),
            "tags": datasets.List(datasets.ClassLabel(names=["x", "y"])),
            "sizes": datasets.List(datasets.Value("uint8"), length=2),
            "caption": datasets.Value("string"),
            "objects": {"category": datasets.ClassLabel(names=["cat", "no"]), "area": datasets.Value("float32")},
        }
    )
    (base / "src/data").mkdir(parents=True)
    start = 0
    for split, count in SPLITS.items():
        rows = {
            "image": [{"bytes": drawn(start + n), "path": f"{n}.jpg"} for n in range(count)],
            "label": [(start + n) % len(NAMES) for n in range(count)],
            "tags": [[n % 2, 1] for n in range(count)],
            "sizes": [[n, 255] for n in range(count)],
            "caption": [f"{split} {n}" for n in range(count)],
            "objects": [{"category": n % 2, "area": 0.5} for n in range(count)],
        }
        start += count
        path = base / f"src/data/{split}-00000-of-00001.parquet"
        datasets.Dataset.from_dict(rows, features=features).to_parquet(path)
    return base


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """A folder of classes, as image folders have them; one of the images is damaged."""
    base = tmp_path_factory.mktemp("folder")
    seed = 0
    for split in ("test", "train", "val"):
        for name in ("n02", "n01 x", "n01", "n01-b"):
            for number in range(2 if split == "train" else 1):
                path = base / "src" / split / name / f"{number}.{'png' if number else 'JPEG'}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(drawn(seed, "PNG" if number else "JPEG"))
                seed += 1
    (base / "src" / LOST).write_bytes(b"no image")
    return base


LOST = "train/n01/1.png"


def keys(rows: Any) -> list[str]:
    return [image["path"] for image in rows.cast_column("image", datasets.Image(decode=False))["image"]]


def check_twins(source: Any, twin: Any, lost: tuple[str, ...] = ()) -> None:
    """Check splits, order, columns with their features, values and pixels; `lost` are the images that were withheld."""
    assert set(twin) == set(source)
    for split, rows in source.items():
        kept = [at for at, key in enumerate(keys(rows)) if not key.endswith(lost or ("\0",))]
        assert len(kept) == len(rows) - len([key for key in lost if key.startswith(split)])
        rows = rows.select(kept)
        assert {name: twin[split].features.get(name) for name in rows.features} == dict(rows.features)
        plain = rows.column_names
        plain.remove("image")
        for name in plain:
            assert twin[split][name][:] == rows[name][:], name
        for ours, own in zip(twin[split]["image"], rows["image"], strict=True):
            assert np.array_equal(np.asarray(ours), np.asarray(own))


@pytest.mark.parametrize("layout", ["files"])
def test_columns_of_the_hub_keep_splits_order_and_classes(hub, layout):
    check_twins(datasets.load_dataset(str(hub / "src")), datasets.load_dataset(str(publish(hub, hub / "src", layout))))


@pytest.mark.parametrize("layout", ["files"])
def test_folders_of_classes_keep_splits_order_and_classes(folder, layout):
    out = publish(folder, folder / "src", layout, gates__failed=0.5)
    source = datasets.load_dataset("imagefolder", data_dir=str(folder / "src"))
    assert source["train"].features["label"].names == ["n01", "n01 x", "n01-b", "n02"]
    check_twins(source, datasets.load_dataset(str(out)), (LOST,))
