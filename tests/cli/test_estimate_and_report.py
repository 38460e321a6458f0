"""`anon-batch estimate` and `anon-batch report` as a user types them."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline_fixtures import image_bytes, job, release, write_dataset

from anon_batch import cli
from anon_batch.pipeline.run import open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.sealing.key_files import new_key


@pytest.fixture(autouse=True)
def _keeps_the_signal() -> Iterator[None]:
    kept = signal.getsignal(signal.SIGTERM)
    yield
    signal.signal(signal.SIGTERM, kept)


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Any:
    """Exit code, output, errors; temporary folders go where the test sees them."""
    (tmp_path / "tmp").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["anon-batch", *args])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        code = ended.value.code
        return (0 if code is None else int(code)), said.out, said.err

    return call


def _job_file(folder: Path, **more: Any) -> str:
    keys = {
        "name": "dry",
        "manifest": str(folder / "m.parquet"),
        "output": str(folder / "out"),
        "detect": {"detectors": ["manifest"]},
        "anonymize": {"face": {"method": "solid"}},
        "run_key_file": str(folder / "no such key"),
        **more,
    }
    (folder / "job.yaml").write_text(yaml.safe_dump(keys))
    return str(folder / "job.yaml")


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    folder = tmp_path / "data"
    write_dataset(str(folder), [f"d{n % 3}/{n}.png" for n in range(60)])
    for n in (6, 7, 8):
        (folder / f"src/d{n % 3}/{n}.png").write_bytes(b"broken")
    return folder


def _files(folder: Path) -> set[Path]:
    return set(folder.rglob("*"))


def test_estimate_leaves_nothing_behind(main: Any, dataset: Path, tmp_path: Path) -> None:
    job_file, before = _job_file(dataset), _files(dataset)
    code, out, err = main("estimate", job_file, "--sample", "20")
    assert (code, "OUTPUT and ledger are not touched" in err) == (0, True)
    assert _files(dataset) == before, "neither OUTPUT nor LEDGER"
    assert list((tmp_path / "tmp").iterdir()) == []
    assert "dry: 60 rows, measured on 20 of them (seed 0)" in out
    for text in ("Expected rows", "The thread that runs the networks", "Requests and bytes", "Hours and cost"):
        assert text in out
    assert "use a larger --sample" in err


@pytest.mark.parametrize("layout", ["files", "webdataset", "parquet"])
def test_estimate_of_everything_is_what_the_run_gives(main: Any, dataset: Path, layout: str) -> None:
    """A sample of all rows has no uncertainty: its figures are the run's own."""
    job_file = _job_file(dataset, write={"layout": layout}, engine={"shard_rows": 16})
    code, out, _ = main("estimate", job_file, "--json", "--sample", "100")
    assert code == 0
    plan = json.loads(out)
    assert (plan["rows"], plan["sample_rows"]) == (60, 60)
    (dataset / "no such key").write_bytes(b"k" * 32)
    run = release(job(str(dataset), write__layout=layout, engine__shard_rows=16))
    stats = json.loads((Path(run.release.uri) / "stats.json").read_text())
    assert {s["status"]: s["rows"] for s in plan["statuses"]} == stats["statuses"]
    assert stats["statuses"]["failed"] == 3
    assert all(s["low"] == s["share"] == s["high"] for s in plan["statuses"])
    [chosen] = [entry for entry in plan["layouts"] if entry["chosen"]]
    assert chosen["layout"] == layout
    outputs = sum(p.stat().st_size for f in ("images", "shards") for p in (Path(run.release.uri) / f).rglob("*.*"))
    if layout == "files":
        assert plan["sample"]["bytes"]["outputs"] == outputs == stats["bytes_out"]
    else:  # the run's last shards are smaller, and each file has its own overhead; the warm-up's file does not count
        assert stats["bytes_out"] < plan["sample"]["bytes"]["outputs"] < outputs
    # The warm-up commits the first rows once more: it must not be counted.
    summary = plan["sample"]["summary"]
    assert summary["bytes_in"] == stats["bytes_in"] == plan["bytes_in"]
    assert summary["bytes_out"] == stats["bytes_out"]
    assert "start" not in summary["timing"]["worker_seconds"]
    # Other layouts are computed from the images of this one.
    others = {entry["layout"]: entry["output_bytes"] for entry in plan["layouts"]}
    assert others["files"] < others["webdataset"]


def test_estimate_counts_what_is_sealed(main: Any, dataset: Path) -> None:
    (dataset / "seal.key.pub").write_bytes(new_key("x25519").public.pem)
    said = dict.fromkeys(("controller", "legal_basis", "dpia_reference", "retention"), "x")
    seal = {"recipients": [str(dataset / "seal.key.pub")], "what": "file"}
    code, out, _ = main("estimate", _job_file(dataset, seal=seal, compliance=said), "--json", "--sample", "100")
    plan = json.loads(out)
    assert code == 0
    size = plan["sample"]["bytes"]
    assert size["sealed"] > plan["sample"]["summary"]["bytes_in"] / 2, "the anonymized images' files"
    assert {own["ledger_bytes"] for own in plan["layouts"]} == {size["audit"] + size["rows"] + size["sealed"]}


def test_estimate_scales_the_sample(main: Any, dataset: Path) -> None:
    prices = ("--price-worker-hour", "2", "--price-put-1000", "5", "--price-get-1000", "0.4", "--price-gb-month", "1")
    code, out, _ = main(
        "estimate", _job_file(dataset), "--json", "--sample", "30", "--workers", "4", "--workers", "1", *prices
    )
    assert code == 0
    plan = json.loads(out)
    assert [width["workers"] for width in plan["widths"]] == [1, 4]
    one, four = plan["widths"]
    hours = 60 / plan["images_per_s"] / 3600
    assert one["hours"] == pytest.approx(hours)
    assert four["hours"] == pytest.approx(hours / 4)
    assert one["worker_hours"] == pytest.approx(four["worker_hours"])
    assert one["gpu_hours"] == 0
    sample = plan["sample"]
    by_clock, by_cpu = sample["rows"] / sample["seconds"], sample["rows"] / sample["cpu_s"]
    assert plan["images_per_s"] == pytest.approx(min(by_clock, by_cpu)), "one CPU is what a worker reserves"
    [files] = [entry for entry in plan["layouts"] if entry["layout"] == "files"]
    sent = files["requests"]
    requests_cost = (sent["put"] + sent["list"]) / 1000 * 5 + (sent["get"] + sent["head"]) / 1000 * 0.4
    assert files["requests_cost"] == pytest.approx(requests_cost)
    assert four["cost"] == pytest.approx(four["worker_hours"] * 2 + requests_cost)
    assert files["month_cost"] == pytest.approx((files["output_bytes"] + files["ledger_bytes"]) / 2**30)
    for status in plan["statuses"]:
        assert status["low"] <= status["share"] <= status["high"]
        assert status["low"] < status["high"]
    assert sum(status["rows"] for status in plan["statuses"]) == 30
    mean, low, high = plan["regions_per_image"]
    assert low < mean < high


def test_estimate_without_prices_names_no_cost(main: Any, dataset: Path) -> None:
    plan = json.loads(main("estimate", _job_file(dataset), "--json", "--sample", "5")[1])
    assert {width["cost"] for width in plan["widths"]} == {None}
    assert {entry["requests_cost"] for entry in plan["layouts"]} == {None}
    assert [width["workers"] for width in plan["widths"]] == [1, 8, 32, 128]
    more = json.loads(main("estimate", _job_file(dataset), "--json", "--sample", "5", "--set", "engine.workers=7")[1])
    assert [width["workers"] for width in more["widths"]] == [1, 7, 8, 32, 128]


def test_estimate_takes_the_same_sample_each_time(main: Any, dataset: Path) -> None:
    def sampled(*more: str) -> Any:
        summary = json.loads(main("estimate", _job_file(dataset), "--json", "--sample", "15", *more)[1])["sample"][
            "summary"
        ]
        return {key: value for key, value in summary.items() if key not in ("seconds", "timing")}

    assert sampled() == sampled()
    assert sampled()["bytes_in"] != sampled("--set", "sample.seed=3")["bytes_in"]


def test_estimate_of_a_job_that_is_itself_a_sample(main: Any, dataset: Path) -> None:
    plan = json.loads(main("estimate", _job_file(dataset, sample={"limit": 25}), "--json")[1])
    assert (plan["rows"], plan["sample_rows"]) == (25, 25)


@pytest.mark.parametrize(
    ("args", "said"),
    [
        (["estimate"], "`manifest` is required"),
        (
            [
                "estimate",
                "--set",
                "manifest=/nowhere.parquet",
                "--set",
                "output=o",
                "--set",
                "detect.detectors=[manifest]",
            ],
            "no manifest at /nowhere.parquet",
        ),
        (["estimate", "JOB", "--sample", "0"], "--sample"),
        (["estimate", "JOB", "--workers", "0"], "--workers"),
        (["estimate", "JOB", "--price-gpu-hour", "-1"], "--price-gpu-hour"),
        (["estimate", "JOB", "--set", "detect.detectors=[nothing]"], "nothing"),
        (["estimate", "JOB", "--set", "anonymize.face.method=nothing"], "nothing"),
    ],
)
def test_estimate_refuses_what_a_run_would_refuse(main: Any, dataset: Path, args: list[str], said: str) -> None:
    code, out, err = main(*(_job_file(dataset) if arg == "JOB" else arg for arg in args))
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())


def test_estimate_for_gpus_needs_one(main: Any, dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    code, _, err = main("estimate", _job_file(dataset), "--set", "engine.num_gpus=0.25")
    assert code == 2
    assert "no CUDA device" in err


def test_estimate_names_a_non_retryable_error(
    main: Any, dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried: list[ShardSpec] = []

    def fails(self: ShardProcessor, spec: ShardSpec) -> ShardResult:
        tried.append(spec)
        return ShardResult(spec, "error", error="credentials expired", retryable=False)

    monkeypatch.setattr(ShardProcessor, "process", fails)
    code, out, err = main("estimate", _job_file(dataset), "--sample", "10")
    assert (code, out, len(tried)) == (2, "", 1)
    assert "credentials expired" in err
    assert list((tmp_path / "tmp").iterdir()) == []


TERMINATED = """
import os, signal, sys
from anon_batch.cli import main
from anon_batch.pipeline.shard import ShardProcessor
process = ShardProcessor.process
def terminated(self, spec):
    result = process(self, spec)
    os.kill(os.getpid(), signal.SIGTERM)
    return result
ShardProcessor.process = terminated
sys.argv = ["anon-batch", "estimate", *sys.argv[1:]]
main()
"""


def test_estimate_that_is_terminated_leaves_nothing(dataset: Path, tmp_path: Path) -> None:
    scratch = tmp_path / "scratch"
    scratch.mkdir()
    done = subprocess.run(
        [sys.executable, "-c", TERMINATED, _job_file(dataset), "--sample", "10"],
        env={**os.environ, "TMPDIR": str(scratch)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 75, done.stderr
    assert list(scratch.iterdir()) == []


def test_report_writes_a_page_and_says_where_the_time_went(main: Any, dataset: Path) -> None:
    run = release(job(str(dataset)))
    code, out, err = main("report", run.release.uri)
    assert (code, err) == (0, "")
    assert "60 rows: 28 anonymized, 29 clean, 0 withheld, 3 failed" in out
    assert "idle for" in out
    assert "detection" in out
    assert f"report  {run.release.uri}/report/index.html" in out
    first = Path(run.release.uri, "report/index.html").read_bytes()
    assert main("report", run.release.uri + "/")[0] == 0
    assert Path(run.release.uri, "report/index.html").read_bytes() == first
    assert main("verify", run.release.uri)[0] == 0, "a report is no orphan"


def test_report_as_json(main: Any, dataset: Path) -> None:
    run = release(job(str(dataset)))
    code, out, _ = main("report", run.release.uri, "--verify", "--json")
    assert code == 0
    said = json.loads(out)
    assert said["report"] == f"{run.release.uri}/report/index.html"
    assert 0 <= said["time"]["idle_share"] <= 1
    assert said["verdict"]["faults_count"] == 0
    assert sum(phase["share"] for phase in said["time"]["phases"]) == pytest.approx(1)


def test_report_verifies_and_remembers(main: Any, dataset: Path) -> None:
    run = release(job(str(dataset)))
    page = Path(run.release.uri, "report/index.html")
    assert main("report", run.release.uri, "--verify")[0] == 0
    assert "Verified, 2" in page.read_text()
    assert main("report", run.release.uri)[0] == 0
    assert "Verified, 2" in page.read_text()
    next(Path(run.release.uri).glob("images/*/*.png")).write_bytes(image_bytes(999))
    code, _, err = main("report", run.release.uri, "--verify")
    assert (code, "VERIFICATION FAILED: 1 fault" in err, "VERIFICATION FAILED: 1 fault, " in page.read_text()) == (
        3,
        True,
        True,
    )
    code, _, err = main("report", run.release.uri, "--verify", "--ledger", str(dataset / "elsewhere"))
    assert (code, "no ledger at" in err) == (2, True)
    assert main("report", run.release.uri, "--verify", "--no-ledger")[0] == 3


def test_report_of_nothing_and_of_an_unfinished_run(main: Any, dataset: Path) -> None:
    code, out, err = main("report", str(dataset / "nowhere"))
    assert (code, out) == (2, "")
    assert "no release here" in err
    run, _ = open_run(job(str(dataset)), ())
    code, out, err = main("report", run.release.uri)
    assert (code, out) == (2, "")
    assert "not finished" in err
    assert not Path(run.release.uri, "report").exists()
