"""Finished releases of small images in every layout, for reviews."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from pipeline_fixtures import job, release
from releases import RUN_KEY

from anon_batch.formats.release import Release
from anon_batch.storage import Storage

LAYOUTS = ("files", "webdataset", "parquet")
SECRETS = ("https://hidden.example/photo", "0f1e2d3c4b5a69788796a5b4c3d2e1f0" * 2)
_WIDTH, _HEIGHT = 120, 96
_FACE = {"x1": 70.0, "y1": 12.0, "x2": 94.0, "y2": 44.0, "ignore": False}
_FACES = pa.list_(pa.struct([*((name, pa.float32()) for name in ("x1", "y1", "x2", "y2")), ("ignore", pa.bool_())]))


@dataclass(frozen=True)
class Made:
    """A release with what it was made from."""

    release: Release
    folder: Path
    originals: dict[str, np.ndarray[Any, Any]]


def scene(seed: int) -> np.ndarray[Any, Any]:
    """Return a smooth image, (H, W, 3) RGB uint8, in which a planted face has room."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(40, 200, (6, 8, 3), dtype=np.uint8)
    smooth = cv2.resize(coarse, (_WIDTH, _HEIGHT), interpolation=cv2.INTER_CUBIC)
    out = (smooth.astype(np.int16) + rng.integers(-4, 5, smooth.shape)).clip(0, 255).astype(np.uint8)
    out[14:42, 72:92] = rng.integers(0, 256, (28, 20, 3), dtype=np.uint8)  # what the face's region must hide
    return out


def make_release(folder: Path, layout: str = "files", count: int = 40, **overrides: Any) -> Made:
    """Run a job in this process; every second image has a face."""
    source = folder / "very private source"
    source.mkdir(parents=True, exist_ok=True)
    ids = [f"class{index % 2}/{index:03d}.png" for index in range(count)]
    originals = {}
    for index, image_id in enumerate(ids):
        originals[image_id] = scene(index)
        _, data = cv2.imencode(".png", originals[image_id][:, :, ::-1])
        (source / f"{index}.png").write_bytes(data.tobytes())
    table = {
        "image_id": pa.array(ids),
        "uri": pa.array([str(source / f"{index}.png") for index in range(count)]),
        "faces": pa.array([[_FACE] if index % 2 == 0 else [] for index in range(count)], _FACES),
        "url": pa.array([f"{SECRETS[0]}/{index}" for index in range(count)]),
        "checksum": pa.array([SECRETS[1]] * count),
    }
    buffer = io.BytesIO()
    pq.write_table(pa.table(table), buffer)
    (folder / "m.parquet").write_bytes(buffer.getvalue())
    (folder / "key").write_bytes(RUN_KEY)
    run = release(job(str(folder), write__layout=layout, **{"engine__shard_rows": 16, **overrides}))
    return Made(Release(Storage(), run.release.uri), folder, originals)
