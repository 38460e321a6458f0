"""Small sources as the field has them, signed releases of them made by the commands, and what both must have in common."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image
from pipeline_fixtures import job, release
from releases import RUN_KEY
from typer.testing import CliRunner

from anon_batch.cli.app import app

# Names that YAML would read as something else, and those of the field.
NAMES = ["tench, Tinca tinca", "no", "null", "1", "a: 'b' #\"c\"", "---", "日本 🐟", "*anchor"]
SPLITS = {"train": 6, "validation": 3, "test": 2}
CLASSES = ("n02", "n01 x", "n01", "n01-b")  # in another order as text than as folders beside files
LOST = "train/n01/1.png"


def drawn(seed: int, kind: str = "JPEG") -> bytes:
    """Return an image file of 40 x 32 px without any face."""
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


def write_hub(folder: Path) -> None:
    """Write a data set with three splits as `push_to_hub` of Hugging Face writes it."""
    import datasets

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
    (folder / "data").mkdir(parents=True)
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
        datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / f"data/{split}-00000-of-00001.parquet")


def write_folders(folder: Path) -> None:
    """Write a folder of classes for each split; the image LOST is damaged."""
    for split in ("test", "train", "val"):
        for name in CLASSES:
            for number in range(2 if split == "train" else 1):
                path = folder / split / name / f"{number}.{'png' if number else 'JPEG'}"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_bytes(drawn(len(str(path)) + number + 10 * CLASSES.index(name), "PNG" if number else "JPEG"))
    (folder / LOST).write_bytes(b"no image")
