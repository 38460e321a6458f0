"""The odd files of ImageNet, a PNG that is called .JPEG, CMYK, EXIF that cannot be read: they keep names and pixels."""

from __future__ import annotations

import io
import tarfile
import warnings
from pathlib import Path

import cv2
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image, ImageOps
from pipeline_fixtures import FACES, job, release, write_dataset
from releases import release_of

from anon_batch.storage import Storage, join

SIZE = (96, 64)
BOX = {"x1": 8.0, "y1": 8.0, "x2": 40.0, "y2": 40.0, "ignore": False}
OUTSIDE = (slice(None), slice(64, None))  # blocks of JPEG that the region does not touch
_BROKEN_EXIF = b"Exif\0\0II*\0\x08\0\0\0\x09\0\x12\x01\x03\0\x01\0\0\0"  # says 9 entries, has a part of one


def _saved(mode: str, kind: str) -> bytes:
    rows, columns = np.mgrid[0 : SIZE[1], 0 : SIZE[0]]
    pixels = np.stack([rows * 3, columns * 2, (rows + columns) % 200], axis=2).astype(np.uint8)
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind)
    return buffer.getvalue()


def _broken_exif() -> bytes:
    data = _saved("RGB", "JPEG")
    return data[:2] + b"\xff\xe1" + (len(_BROKEN_EXIF) + 2).to_bytes(2, "big") + _BROKEN_EXIF + data[2:]


SOURCES = {
    "n02105855/n02105855_2933.JPEG": _saved("RGB", "PNG"),
    "n01739381/n01739381_1309.JPEG": _saved("CMYK", "JPEG"),
    "n04596742/n04596742_4225.JPEG": _broken_exif(),
    "n01440764/n01440764_10026.JPEG": _saved("L", "JPEG"),
}


def _pillow(data: bytes) -> np.ndarray:
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Corrupt EXIF data|Truncated File Read")
        with Image.open(io.BytesIO(data)) as image:  # as torchvision's `default_loader` does
            return np.asarray(ImageOps.exif_transpose(image).convert("RGB"))


def _opencv(data: bytes) -> np.ndarray:
    found = cv2.imdecode(np.frombuffer(data, np.uint8), cv2.IMREAD_COLOR)
    assert found is not None
    return found[:, :, ::-1]


def _released(folder: Path) -> list[bytes]:
    """Return the outputs in the order of their rows, in any layout."""
    if (folder / "images").exists():
        return [(folder / "images" / image_id).read_bytes() for image_id in SOURCES]
    found = []
    for path in sorted((folder / "shards").iterdir()):
        if path.suffix == ".tar":
            with tarfile.open(path) as archive:
                members = [archive.extractfile(own) for own in archive if not own.name.endswith(".json")]
                found += [member.read() for member in members if member is not None]
        else:
            found += [own["bytes"] for own in pq.read_table(path).column("image").to_pylist()]
    return found


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
@pytest.mark.parametrize("regions", [[BOX], []])
def test_names_stay_and_pixels_decode_alike(tmp_path: Path, regions: list[dict[str, float]], layout: str) -> None:
    base, ids = str(tmp_path), list(SOURCES)
    write_dataset(base, ids, faces=pa.array([regions] * len(ids), FACES))
    for image_id, data in SOURCES.items():
        Storage().put(join(base, f"src/{image_id}"), data)
    rows = release_of(Storage(), release(job(base, write__layout=layout)).release.uri)["rows"]
    assert [(row["image_id"], row["status"]) for row in rows] == [
        (i, "anonymized" if regions else "clean") for i in ids
    ]
    if layout == "files":
        assert [row["output"] for row in rows] == [f"images/{image_id}" for image_id in ids]
    for image_id, data in zip(ids, _released(tmp_path / "out"), strict=True):
        assert data.startswith(b"\x89PNG") == SOURCES[image_id].startswith(b"\x89PNG")
        for decode in (_pillow, _opencv):
            before, after = decode(SOURCES[image_id]), decode(data)
            assert np.array_equal(after[OUTSIDE], before[OUTSIDE])
            assert np.array_equal(after, before) == (not regions)
