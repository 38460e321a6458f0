"""The main job by the real command line on a real Ray: every layout, resume, refusal, what a user reads."""

from __future__ import annotations

import gc
import io
import json
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from releases import make_images, make_manifest, release_of, run_cli

from anon_batch.storage import Storage

Run = Callable[..., tuple[int, dict[str, Any], str]]


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dataset")
    make_images(folder / "images", 24)
    (folder / "images" / "class0" / "0002.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    make_manifest(folder / "images", str(folder / "m.parquet"))
    return folder


@pytest.fixture(scope="module")
def run(dataset: Path, ray_address: str) -> Run:
    """Run the job on the shared cluster: (output, *more arguments) -> exit code, summary, standard error."""

    def run(output: Path, *more: str) -> tuple[int, dict[str, Any], str]:
        job = f"--manifest {dataset}/m.parquet --output {output} --detector manifest --method solid --json"
        engine = f"--address {ray_address} --set engine.workers=2 --set engine.shard_rows=5"
        done = run_cli("run", *job.split(), *engine.split(), *more)
        return done.returncode, json.loads(done.stdout) if done.stdout else {}, done.stderr

    return run


@pytest.fixture(scope="module")
def files_release(dataset: Path, run: Run) -> Path:
    code, summary, err = run(dataset / "files")
    assert code == 10, err
    assert summary["statuses"] == {"anonymized": 23, "clean": 0, "withheld": 0, "failed": 1}
    return dataset / "files"


def test_release_is_whole_and_faces_are_gone(dataset: Path, files_release: Path) -> None:
    verdict = run_cli("verify", str(files_release))
    assert verdict.returncode == 0, verdict.stderr + verdict.stdout
    for path in (files_release / "images").rglob("*.png"):
        out = np.asarray(Image.open(path))
        source = np.asarray(Image.open(dataset / "images" / path.relative_to(files_release / "images")))
        assert (out[10:22, 10:22] == 0).all()
        assert (out[:, 40:] == source[:, 40:]).all()


def test_the_public_part_leads_to_no_source(dataset: Path, files_release: Path) -> None:
    for path in files_release.rglob("*"):
        if path.is_file() and path.suffix != ".png":
            assert str(dataset).encode() not in path.read_bytes(), path
    table = pq.read_table(sorted((files_release / "provenance").iterdir())[0])
    assert not {"uri", "source_sha256", "detections"} & set(table.column_names)
    assert "label" in table.column_names


def test_the_audit_leads_to_the_source(dataset: Path, files_release: Path) -> None:
    rows = [
        row
        for part in sorted((dataset / "files-ledger" / "audit").iterdir())
        for row in pq.read_table(part).to_pylist()
    ]
    assert len(rows) == 24
    assert all(Path(row["uri"]).exists() for row in rows)
    [broken] = [row for row in rows if row["status"] == "failed"]
    assert broken["detail"]
    assert broken["image_id"] == "class0/0002.png"
    assert rows[0]["ground_truth"][0]["detection"] == 0


def test_running_it_again_does_nothing(run: Run, files_release: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in (files_release / "images").rglob("*.png")}
    code, _, err = run(files_release)
    assert code == 10, err
    assert before == {path: path.stat().st_mtime_ns for path in (files_release / "images").rglob("*.png")}


def test_another_job_is_refused_with_the_keys_that_differ(run: Run, files_release: Path) -> None:
    code, _, err = run(files_release, "--method", "blur")
    assert code == 2
    assert "anonymize.face.method" in err
    assert '"solid"' in err
    assert "Traceback" not in err


@pytest.mark.parametrize("layout", ["webdataset", "parquet"])
def test_shard_layouts_hold_the_same_images(dataset: Path, run: Run, files_release: Path, layout: str) -> None:
    output = dataset / layout
    code, summary, err = run(output, "--set", f"write.layout={layout}", "--set", "engine.workers=1")
    assert code == 10, err
    assert summary["statuses"]["failed"] == 1
    verdict = run_cli("verify", str(output))
    assert verdict.returncode == 0, verdict.stderr + verdict.stdout
    rows = {r["image_id"]: r["sha256"] for r in release_of(Storage(), str(output))["rows"]}
    assert rows == {r["image_id"]: r["sha256"] for r in release_of(Storage(), str(files_release))["rows"]}


def test_webdataset_reads_the_tars(dataset: Path, run: Run, files_release: Path) -> None:
    wds = pytest.importorskip("webdataset")
    output = dataset / "webdataset"
    if not output.exists():
        run(output, "--set", "write.layout=webdataset", "--set", "engine.workers=1")
    urls = sorted(str(path) for path in (output / "shards").iterdir())
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # webdataset leaves closing its files to the collector
        samples = list(wds.WebDataset(urls, shardshuffle=False, empty_check=False))
        gc.collect()
    assert len(samples) == 23
    fields = json.loads(samples[0]["json"])
    assert fields["image_id"] == "class0/0000.png"
    assert fields["label"] == 0
    assert Image.open(io.BytesIO(samples[0]["png"])).size == (64, 48)


def test_status_after_the_run(files_release: Path) -> None:
    done = run_cli("status", str(files_release), "--json")
    state = json.loads(done.stdout)
    assert state["state"] == "finished"
    assert state["done"] == state["total"] == 24


def test_a_sample_is_a_release_of_its_own(dataset: Path, run: Run) -> None:
    outputs = []
    for name in ("s1", "s2"):
        code, summary, err = run(dataset / name, "--limit", "7", "--set", "sample.seed=3")
        assert code in (0, 10), err
        assert sum(summary["statuses"].values()) == 7
        outputs.append([r["image_id"] for r in release_of(Storage(), str(dataset / f"{name}-sample-7"))["rows"]])
    assert outputs[0] == outputs[1]


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["--manifest", "nowhere.parquet"], "nowhere.parquet"),
        (["--method", "pixelat"], "pixelate"),
        (["--detector", "centreface"], "centerface"),
        (["--set", "engine.shardrows=3"], "engine.shard_rows"),
        (["--set", "anonymize.face.expansion=0.5"], "anonymize.face.expansion"),
        (["--set", "nonsense"], "key=value"),
        (["--set", "ledger=OUT/ledger"], "inside output"),
        (["--address", "127.0.0.1:1"], "127.0.0.1:1"),
    ],
)
def test_bad_input_gets_a_clear_error_and_writes_no_image(
    dataset: Path, tmp_path: Path, args: list[str], said: str
) -> None:
    given = ["--manifest", str(dataset / "m.parquet"), "--output", str(tmp_path / "OUT"), "--detector", "manifest"]
    given += ["--method", "solid"]
    done = run_cli("run", *given, *(a.replace("OUT/", f"{tmp_path}/OUT/") for a in args))
    assert done.returncode == 2, done.stderr
    assert said in done.stderr
    assert "Traceback" not in done.stderr
    assert not (tmp_path / "OUT" / "images").exists()
