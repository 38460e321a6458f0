"""Drawn training faces, and the smallest training."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from anon_batch.config import ModelsConfig
from anon_batch.models.store import ModelStore
from anon_batch.storage import Storage
from anon_batch.train.config import TrainConfig
from anon_batch.train.face_crops import is_held_out

SIDE = 128
HELD_OUT = 2


def names(training: int) -> list[str]:
    """Return names of `training` files for training, and of two held-out ones."""
    every = [f"drawn_{number:03d}.png" for number in range(200)]
    return [n for n in every if not is_held_out(n)][:training] + [n for n in every if is_held_out(n)][:HELD_OUT]


def write_faces(folder: Path, training: int = 5, *, seed: int = 0) -> Path:
    """Write a folder with crops/ and meta.jsonl: ellipses with eyes, nose and mouth on noise."""
    rng = np.random.default_rng(seed)
    (folder / "crops").mkdir(parents=True)
    lines = []
    for name in names(training):
        pixels = rng.integers(0, 255, (SIDE, SIDE, 3), np.uint8)
        width, height = rng.integers(44, 56), rng.integers(60, 72)
        x, y = (SIDE - width) / 2, (SIDE - height) / 2
        shares = np.array([[0.26, 0.38], [0.74, 0.38], [0.5, 0.59], [0.3, 0.74], [0.7, 0.74]])
        points = np.array([x, y]) + shares * (width, height)
        skin = tuple(int(v) for v in rng.integers(90, 220, 3))
        cv2.ellipse(pixels, (SIDE // 2, SIDE // 2), (int(width) // 2, int(height) // 2), 0, 0, 360, skin, -1)
        for at in points:
            cv2.circle(pixels, tuple(int(v) for v in at), 4, (20, 20, 60), -1)
        cv2.imwrite(str(folder / "crops" / name), pixels)
        box = [round(float(v), 2) for v in (x, y, width, height)]
        lines.append(json.dumps({"file": name, "box": box, "lm": points.round(2).tolist()}))
    (folder / "meta.jsonl").write_text("\n".join(lines) + "\n")
    return folder


def tiny_settings(faces: Path, output: Path, **changes: Any) -> dict[str, Any]:
    """Return the keys of a training that takes about a second."""
    return {
        "faces": [str(faces)],
        "output": str(output),
        "steps": 4,
        "batch_size": 2,
        "views": 1,
        "side": 64,
        "channels": [8, 16],
        "precision": "fp32",
        "device": "cpu",
        "threads": 1,
        "log_steps": 1,
        "sheet_steps": 4,
        "seed": 3,
        **changes,
    }


def tiny_config(faces: Path, output: Path, **changes: Any) -> TrainConfig:
    output.mkdir(parents=True, exist_ok=True)
    return TrainConfig(**tiny_settings(faces, output, **changes))


def model(name: str) -> bytes:
    return ModelStore(Storage(), ModelsConfig()).load(name)
