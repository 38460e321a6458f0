"""The check `residual` in runs: all layouts, any sharding, a refused resume, and a gate that it feeds."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from PIL import Image
from pipeline_fixtures import FACES, job, release, verdict, write_dataset
from residual_scenes import background, scene

from anon_batch.config import JobConfig
from anon_batch.errors import ConfigError, ResumeRefusedError
from anon_batch.pipeline.gates import evaluate_gates
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.run import Run, open_run
from anon_batch.storage import Storage

IDS = [f"{n}.png" for n in range(4)]
MISSED = (1, 3)  # images with a face that the manifest does not name
SCENES = [scene(n).pixels if n in MISSED else background(n) for n in range(4)]


@pytest.fixture
def base(tmp_path: Path) -> str:
    write_dataset(str(tmp_path), IDS, faces=pa.array([[]] * 4, FACES))
    for name, pixels in zip(IDS, SCENES, strict=True):
        Storage().put(f"{tmp_path}/src/{name}", _png(pixels))
    return str(tmp_path)


def _png(pixels: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def _job(base: str, output: str, layout: str = "files", shard_rows: int = 4, **options: Any) -> JobConfig:
    residual = {"detectors": ["centerface"], "plant": 1, **options}
    return job(base, output, checks={"residual": residual}, write__layout=layout, engine__shard_rows=shard_rows)


def _images(run: Run, layout: str) -> dict[str, bytes]:
    """Return the released files by id."""
    storage, uri = Storage(), run.release.uri
    if layout == "files":
        return {name: storage.read(f"{uri}/images/{name}") for name in IDS if Path(f"{uri}/images/{name}").exists()}
    files = [path.read_bytes() for path in sorted(Path(f"{uri}/shards").iterdir())]
    if layout == "parquet":
        rows = [row for data in files for row in pq.read_table(io.BytesIO(data)).to_pylist()]
        return {row["image_id"]: row["image"]["bytes"] for row in rows}
    members = {}
    for data in files:
        with tarfile.open(fileobj=io.BytesIO(data)) as tar:
            pngs = [member for member in tar if member.name.endswith(".png")]
            members |= {Path(member.name).name: tar.extractfile(member).read() for member in pngs}  # type: ignore[union-attr]
    return members


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_missed_faces_are_anonymized_in_every_layout(base: str, layout: str) -> None:
    run = release(_job(base, "out", layout))
    assert verdict(run).faults_count == 0
    released = list(_images(run, layout).values())
    assert len(released) == 4
    shown = [np.asarray(Image.open(io.BytesIO(data)).convert("RGB")) for data in released]
    changed = [not any(np.array_equal(own, source) for source in SCENES) for own in shown]
    assert sum(changed) == len(MISSED)
    assert run.release.read_stats().summary["checks"]["residual"]["added"] == len(MISSED)


def test_any_sharding_gives_the_same_release_and_counts(base: str) -> None:
    first, second = (release(_job(base, f"out{rows}", shard_rows=rows, share=0.6)) for rows in (1, 3))
    assert _images(first, "files") == _images(second, "files")
    one, two = (run.release.read_stats().summary["checks"]["residual"] for run in (first, second))
    assert one == two
    assert one["checked"] + one["skipped"] == 4
    assert one["skipped"] > 0


def test_withheld_images_have_a_reason_and_feed_the_gate(base: str) -> None:
    config = _job(base, "out", policy="withhold").model_copy(deep=True)
    run = release(config)
    stats = run.release.read_stats()
    assert stats.statuses == {"clean": 2, "withheld": 2, "anonymized": 0, "failed": 0}
    assert stats.summary["reasons"]["withheld"] == {"check": 2}
    assert sorted(_images(run, "files")) == ["0.png", "2.png"]
    gates = config.gates.model_copy(update={"withheld": None, "failed": None, "residual": 0.5})
    [result] = evaluate_gates(stats, gates).results
    assert (result.value is not None, result.evidence) == (True, "stats.json")


def test_changed_options_are_refused_at_resume(base: str) -> None:
    release(_job(base, "out"))
    with pytest.raises(ResumeRefusedError, match=r"checks\.residual\.threshold"):
        open_run(_job(base, "out", threshold=0.5), ())


def test_a_detector_of_the_job_stops_it_before_the_first_image(base: str) -> None:
    config = _job(base, "out").model_copy(update={"detect": JobConfig(manifest="m", output="o").detect})
    with pytest.raises(ConfigError, match=r"is in detect\.detectors too"):
        preflight(config)
