"""A miniature of DataComp: shards as img2dataset writes them for `download_upstream.py`, with the metadata of the pool."""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from recipes.photographs import Photograph, small

LONGEST_PX = 512
SHARDS = {"00000": ["plain", "crowd", "lake"], "00001": ["turned", "cat", "cmyk"]}
HOST = "img.example.org"
_EXIF = json.dumps({"Image Make": "Camera", "Image DateTime": "2012:03:04 05:06:07"})


def key_of(shard: str, number: int) -> str:
    """Return the key of an image: the number of its shard, then its own."""
    return f"{shard}{number:04d}"


def photograph(name: str) -> Photograph:
    """Return an image as img2dataset stores it."""
    return small(name, LONGEST_PX)


def record(shard: str, number: int) -> dict[str, Any]:
    """Return what the shards say of an image."""
    name = SHARDS[shard][number]
    image = photograph(name)
    width, height = image.size
    return {
        "uid": hashlib.md5(name.encode()).hexdigest(),
        "caption": f"a photograph of {name}",
        "url": f"https://{HOST}/{name}.jpg?token=5f2a",
        "key": key_of(shard, number),
        "status": "success",
        "error_message": None,
        "width": width,
        "height": height,
        "original_width": 2 * width,
        "original_height": 2 * height,
        "exif": _EXIF,
        "sha256": hashlib.sha256(image.data).hexdigest(),
    }


def pool_line(shard: str, number: int) -> dict[str, Any]:
    """Return what the metadata of the pool say of an image. `face_bboxes`: x1, y1, x2, y2 in shares of its size."""
    row, image = record(shard, number), photograph(SHARDS[shard][number])
    kept = ("uid", "url", "original_width", "original_height", "sha256")
    width, height = image.size
    boxes = [[x1 / width, y1 / height, x2 / width, y2 / height] for x1, y1, x2, y2 in image.faces]
    scores = {"clip_b32_similarity_score": 0.3, "clip_l14_similarity_score": 0.2}
    return {**{name: row[name] for name in kept}, "text": row["caption"], **scores, "face_bboxes": boxes}


def write_datacomp(folder: Path) -> None:
    """Write `shards/small/00000.tar` with `.parquet` and `_stats.json` beside it, and so on, and `metadata/small/*.parquet`."""
    shards = folder / "shards/small"
    shards.mkdir(parents=True)
    for shard, names in SHARDS.items():
        rows = [record(shard, number) for number in range(len(names))]
        with tarfile.open(shards / f"{shard}.tar", "w") as tar:
            for row, name in zip(rows, names, strict=True):
                members = {
                    "jpg": photograph(name).data,
                    "json": json.dumps(row, indent=4).encode(),
                    "txt": row["caption"].encode(),
                }
                for kind, data in members.items():
                    info = tarfile.TarInfo(f"{row['key']}.{kind}")
                    info.size = len(data)
                    tar.addfile(info, io.BytesIO(data))
        failed = {**rows[-1], "key": key_of(shard, len(names)), "status": "failed_to_download", "sha256": None}
        pq.write_table(pa.Table.from_pylist([*rows, failed]), shards / f"{shard}.parquet")
        (shards / f"{shard}_stats.json").write_text(json.dumps({"count": len(rows) + 1, "successes": len(rows)}))
    metadata = folder / "metadata/small"
    metadata.mkdir(parents=True)
    lines = [pool_line(shard, number) for shard, names in SHARDS.items() for number in range(len(names))]
    pq.write_table(pa.Table.from_pylist(lines), metadata / "0.parquet")
