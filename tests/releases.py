"""Small datasets, releases of them made by the command line, and what two releases must have in common."""

from __future__ import annotations

import hashlib
import io
import json
import os
import signal
import subprocess
import sys
import tarfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from metadata_scanner import SUFFIXES, scan_image
from PIL import Image

from anon_batch.formats.release import Release
from anon_batch.shards import effective
from anon_batch.storage import Storage, join

PLUGINS = Path(__file__).parent / "plugins"
RUN_KEY = b"k" * 32


def make_images(folder: Path, count: int, corner: dict[int, tuple[int, int, int]] | None = None) -> None:
    """Write `count` small PNG images into two sub-folders; `corner` sets the top left pixel of some."""
    rng = np.random.default_rng(7)
    for index in range(count):
        pixels = rng.integers(0, 200, (48, 64, 3), dtype=np.uint8)
        pixels[0, 0] = (corner or {}).get(index, (1, 2, 3))
        path = folder / f"class{index % 2}" / f"{index:04d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(pixels).save(path)


def make_manifest(
    folder: Path,
    out: str,
    storage: Storage | None = None,
    *,
    faces: bool = True,
    addresses: dict[str, str] | None = None,
) -> None:
    """Write a manifest of all PNG images below `folder` in the order of their numbers, each with one labelled face.

    `addresses` maps names of files to addresses in place of their paths.
    """
    paths = sorted(folder.rglob("*.png"), key=lambda p: p.name)
    box = [{"x1": 8.0, "y1": 8.0, "x2": 24.0, "y2": 28.0, "ignore": False}]
    face = pa.struct([*((n, pa.float32()) for n in ("x1", "y1", "x2", "y2")), ("ignore", pa.bool_())])
    columns: dict[str, pa.Array] = {
        "image_id": pa.array([str(p.relative_to(folder)) for p in paths]),
        "uri": pa.array([(addresses or {}).get(p.name, str(p)) for p in paths]),
        "label": pa.array([int(p.parent.name[-1]) for p in paths]),
    }
    if faces:
        columns["faces"] = pa.array([box for _ in paths], pa.list_(face))
    buffer = io.BytesIO()
    pq.write_table(pa.table(columns), buffer)
    (storage or Storage()).put(out, buffer.getvalue())


def command(*args: str) -> list[str]:
    return [sys.executable, "-c", "from anon_batch.cli import start; start()", *args]


def environment(extra: dict[str, str] | None = None) -> dict[str, str]:
    """Return the variables of processes of the command line, which find the plug-in that misbehaves."""
    path = os.pathsep.join(filter(None, [str(PLUGINS), os.environ.get("PYTHONPATH", "")]))
    return {**os.environ, "PYTHONPATH": path, "RAY_USAGE_STATS_ENABLED": "0", **(extra or {})}


def run_cli(*args: str, env: dict[str, str] | None = None, timeout_s: float = 240) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(*args), env=environment(env), capture_output=True, text=True, timeout=timeout_s, check=False
    )


def start_cli(*args: str, env: dict[str, str] | None = None, log: Path) -> subprocess.Popen[bytes]:
    with log.open("ab") as file:
        # Because a shell that runs the tests in the background ignores SIGINT, reset it for the child.
        default_sigint = lambda: signal.signal(signal.SIGINT, signal.SIG_DFL)  # noqa: E731
        return subprocess.Popen(
            command(*args), env=environment(env), stdout=file, stderr=file, preexec_fn=default_sigint
        )


def wait_until(condition: Callable[[], bool], what: str, timeout_s: float = 300) -> None:
    deadline = time.monotonic() + timeout_s
    while not condition():
        assert time.monotonic() < deadline, f"waited {timeout_s} s for {what}"
        time.sleep(0.02)


def parts_count(storage: Storage, output: str) -> int:
    return len(Release(storage, output).parts())


def actors_of(driver_pid: int, actor: str = "ShardActor") -> list[psutil.Process]:
    """Return the Ray worker processes of a class of actors, for a driver that started its own Ray."""
    found = []
    for process in psutil.Process(driver_pid).children(recursive=True):
        try:
            if process.name().startswith("ray::") and actor in " ".join(process.cmdline()):
                found.append(process)
        except psutil.NoSuchProcess:
            continue
    return found


def release_of(storage: Storage, output: str) -> dict[str, Any]:
    """Return what must be equal in two releases of one job: image bytes, provenance rows and statistics.

    Run ids, times, attempts and the division into shards may differ.
    """
    rows: list[dict[str, Any]] = []
    for spec in effective(Release(storage, output).parts()):
        table = pq.read_table(io.BytesIO(storage.read(join(output, f"provenance/{spec.name}.parquet"))))
        rows += table.drop_columns(["run_id"]).to_pylist()
    generated = {row["sha256"] for row in rows if any(region["synthetic"] for region in row["regions"])}
    images: dict[str, str] = {}
    for info in storage.list(output):
        data = storage.read(join(output, info.key))
        if info.key.startswith("images/"):
            images[info.key] = hashlib.sha256(data).hexdigest()
            marked = images[info.key] in generated
            assert scan_image(data, marked=marked) == [], f"{info.key} holds more than pixels"
        elif info.key.endswith(".tar"):
            with tarfile.open(fileobj=io.BytesIO(data)) as tar:
                for member in tar:
                    file = tar.extractfile(member)
                    assert file is not None
                    assert member.name not in images, "an image is there twice"
                    data = file.read()
                    images[member.name] = hashlib.sha256(data).hexdigest()
                    marked = images[member.name] in generated
                    assert not member.name.lower().endswith(SUFFIXES) or scan_image(data, marked=marked) == []
    for row in rows:
        if row["member"] is not None:
            row["output"] = "shard"
    stats = json.loads(storage.read(join(output, "stats.json")))
    stats.pop("seconds")
    stats.pop("timing")
    return {"rows": rows, "images": images, "stats": stats}
