"""The real command line on files whose pixels readers show differently, or that only lenient readers open."""

from __future__ import annotations

import glob
import io
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import oriented_files
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import transparent_files
from PIL import Image
from releases import run_cli

from anon_batch.imaging.metadata.inspect import inspect
from anon_batch.imaging.orientation import turn_points

pytestmark = pytest.mark.full

SUFFIXES = {
    b"\xff\xd8": "jpg",
    b"\x89P": "png",
    b"RI": "webp",
    b"II": "tif",
    b"MM": "tif",
    b"GI": "gif",
    b"\0\0": "avif",
}


def mark_box(position: int) -> list[float]:
    """Return where the red mark of an oriented file is in the upright image."""
    corners = turn_points(np.array([[0.0, 0.0], [16.0, 16.0]]), oriented_files.WIDTH, oriented_files.HEIGHT, position)
    return [*corners.min(axis=0).tolist(), *corners.max(axis=0).tolist()]


def flawed() -> dict[str, bytes]:
    buffer = io.BytesIO()
    Image.fromarray(transparent_files.face()).save(buffer, "JPEG", quality=95)
    whole = buffer.getvalue()
    return {
        "extraneous": whole[:20] + b"\0\0SECRET" + whole[20:],
        "no end": whole[:-2],
        "no end, then zeros": whole[:-2] + bytes(300),
        "behind the end": whole + b"SECRET" * 50,
        "cut": whole[: len(whole) * 3 // 4],
    }


def dataset() -> dict[str, tuple[bytes, list[float]]]:
    """Return name -> (file, box of the face)."""
    files = {
        f"oriented/{name}": (data, mark_box(meant))
        for name, meant, data in oriented_files.stated()
        if "count" not in name
    }
    face = [float(value) for value in transparent_files.BOX]
    files |= {f"transparent/{name}": (data, face) for name, data in transparent_files.hiding()}
    return files | {f"flawed/{name}": (data, face) for name, data in flawed().items()}


@pytest.fixture(scope="module")
def release(tmp_path_factory: pytest.TempPathFactory, ray_address: str) -> tuple[Path, dict[str, dict[str, Any]]]:
    """Return the release, and its row by the file's name."""
    folder = tmp_path_factory.mktemp("hostile-pixels")
    columns: dict[str, list[Any]] = {"image_id": [], "uri": [], "regions": [], "label": []}
    for number, (name, (data, box)) in enumerate(dataset().items()):
        path = folder / f"src/{number:04d}.{SUFFIXES[data[:2]]}"
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(data)
        region = dict(zip(("x1", "y1", "x2", "y2"), box, strict=True)) | {"label": "face"}
        for column, value in zip(columns.values(), (path.name, str(path), [region], name), strict=True):
            column.append(value)
    pq.write_table(pa.table(columns), folder / "m.parquet")
    job = f"--manifest {folder}/m.parquet --output {folder}/out --detector manifest --method solid --json"
    done = run_cli("run", *job.split(), "--address", ray_address, "--set", "publish.columns=[label]")
    assert done.returncode in (0, 10), done.stderr
    tables = [pq.read_table(path) for path in sorted(glob.glob(f"{folder}/out/provenance/*.parquet"))]
    return folder / "out", {row["label"]: row for row in pa.concat_tables(tables).to_pylist()}


def test_only_the_cut_file_fails_and_says_why(release: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    _, rows = release
    assert set(rows) == set(dataset())
    others = {name: (row["status"], row["reason"]) for name, row in rows.items() if row["status"] != "anonymized"}
    assert others == {"flawed/cut": ("failed", "truncated")}


def test_no_reader_shows_a_face(release: tuple[Path, dict[str, dict[str, Any]]]) -> None:
    folder, rows = release
    for name, row in rows.items():
        if row["output"] is None:
            continue
        data = (folder / row["output"]).read_bytes()
        assert inspect(data) == [], name
        assert b"SECRET" not in data, name
        if name.startswith("oriented"):
            shown = [oriented_files.pillow(data), oriented_files.opencv(data, cv2.IMREAD_UNCHANGED)]
            assert all((pixels[..., 0] > 150).mean() < 0.02 for pixels in shown if pixels is not None), name
        else:
            shown = [*transparent_files.opaque_readings(data), *transparent_files.composites(data)]
            assert not any(map(transparent_files.is_face, shown)), name
