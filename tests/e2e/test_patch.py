"""`anon-batch patch` by the real command line: on a Ray cluster, with drivers that are killed, and on an object store."""

from __future__ import annotations

import json
import os
import random
import signal
import time
from pathlib import Path
from typing import Any

import pytest
from releases import RUN_KEY, make_images, make_manifest, run_cli, start_cli
from servers import S3Server

from anon_batch.formats.release import Release
from anon_batch.formats.verdicts_json import DrawnBox, Verdict, Verdicts
from anon_batch.shards import effective
from anon_batch.storage import Storage

pytestmark = pytest.mark.full
IMAGES = 40
WITHOUT_FACES = ("--set", "detect.detectors=[{name: manifest, labels: [x]}]")
FACES = ("--set", "detect.detectors=[{name: manifest}]")


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    make_images(folder / "images", IMAGES)
    make_manifest(folder / "images", str(folder / "m.parquet"))
    (folder / "key").write_bytes(RUN_KEY)
    return folder


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_a_patch_whose_drivers_are_killed_ends_as_a_new_run_would(dataset: Path, layout: str, ray_address: str) -> None:
    out, fresh, seed = dataset / f"out-{layout}", dataset / f"fresh-{layout}", random.randrange(2**32)
    key = ("--set", f"run_key_file={dataset}/key")
    job = ("--manifest", f"{dataset}/m.parquet", "--method", "solid", "--set", f"write.layout={layout}", *key)
    engine = ("--address", ray_address, "--set", "engine.workers=2", "--set", "engine.shard_rows=5")
    assert run_cli("run", *job, *engine, *WITHOUT_FACES, "--output", str(out)).returncode == 0
    assert run_cli("run", *job, *engine, *FACES, "--output", str(fresh)).returncode == 0
    rng = random.Random(seed)
    for attempt in range(4):
        driver = start_cli("patch", str(out), *FACES, *engine, *key, log=dataset / f"{layout}-{attempt}.log")
        time.sleep(rng.uniform(3, 12))
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        assert run_cli("verify", str(out)).returncode in (0, 3)
    done = run_cli("patch", str(out), *FACES, *engine, *key)
    assert done.returncode == 0, (seed, done.stderr)
    verdict = run_cli("verify", str(out), "--json")
    assert json.loads(verdict.stdout)["faults"] == [], seed
    assert _rows(Storage(), str(out)) == _rows(Storage(), str(fresh)), seed
    assert not (dataset / f"out-{layout}-ledger" / "patch").exists()


def _rows(storage: Storage, uri: str) -> dict[str, Any]:
    place = Release(storage, uri)
    rows = [row for spec in effective(place.parts()) for row in place.read_part(spec).table.to_pylist()]
    return {row["image_id"]: {**row, "run_id": "", "output": row["output"] is None} for row in rows}


def test_boxes_that_were_drawn_end_in_regions_on_an_object_store(dataset: Path, moto: S3Server) -> None:
    bucket, storage = f"s3://{moto.new_bucket()}", Storage(moto.config())
    out = f"{bucket}/release"
    job = ("--manifest", f"{dataset}/m.parquet", "--method", "solid", "--set", "engine.workers=1", *WITHOUT_FACES)
    done = run_cli("run", *job, "--output", out, env=moto.env)
    assert done.returncode == 0, done.stderr
    run_id = json.loads(storage.read(f"{out}/run.json"))["run_id"]
    before, names = _rows(storage, out), {info.key for info in storage.list(out)}
    name = sorted(before)[3]
    verdicts = Verdicts(
        run_id,
        "0" * 16,
        "s",
        "2026-01-01T00:00:00+00:00",
        "1",
        (),
        (Verdict(name, "missed", (DrawnBox(8, 8, 24, 24),)),),
    )
    storage.put(f"{out}-ledger/review/verdicts-{'0' * 16}.json", verdicts.to_json())
    done = run_cli("patch", out, "--verdicts", "--set", "engine.workers=1", env=moto.env)
    assert done.returncode == 0, done.stderr
    after = _rows(storage, out)
    assert [own for own in after if after[own]["sha256"] != before[own]["sha256"]] == [name]
    stem = f"images/{name.removesuffix('.png')}"
    images = {key for key in names if key.startswith("images/")}
    kept = {info.key for info in storage.list(out) if info.key.startswith("images/")}
    assert (images - kept, kept - images) == ({f"{stem}.png"}, {f"{stem}.v2.png"})
    verdict = run_cli("verify", out, "--json", env=moto.env)
    assert json.loads(verdict.stdout)["faults"] == []
