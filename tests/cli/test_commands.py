"""What a user of the command line reads and what a script gets: messages, JSON, exit codes, closed pipes."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from pipeline_fixtures import image_bytes, job, release, write_dataset
from releases import command, run_cli
from rich.console import Console

from anon_batch import __version__, cli
from anon_batch.cli.console import statuses_line
from anon_batch.cli.progress import RunProgress
from anon_batch.cluster import driver
from anon_batch.config import JobConfig, describe
from anon_batch.formats.gates_json import Gates
from anon_batch.pipeline.budget import Spent
from anon_batch.records import ShardResult, ShardSpec


def _main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], *args: str) -> tuple[int, str, str]:
    """Exit code, output, errors of the entry point itself."""
    monkeypatch.setattr(sys, "argv", ["anon-batch", *args])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    code = ended.value.code
    return (0 if code is None else int(code)), said.out, said.err


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Any:
    return lambda *args: _main(monkeypatch, capsys, *args)


@pytest.mark.parametrize(
    ("args", "code", "said"),
    [
        (["status", "/nowhere"], 2, "no release here"),
        (["verify", "/nowhere"], 2, "no release here"),
        (["verify", "/nowhere", "--no-ledger"], 2, "no release here"),
        (["config", "/nowhere.yaml"], 2, "/nowhere.yaml"),
        (["config"], 2, "`manifest` is required"),
        (["config", "--set", "manifest=m", "--set", "output=o", "--set", "engine.shardrows=1"], 2, "engine.shard_rows"),
        (["run"], 2, "run needs --manifest and --output, or a job file"),
        (["run", "--manifest", "m"], 2, "run needs --output, or a job file"),
        (
            ["run", "--manifest", "/nowhere.parquet", "--output", "/nowhere/out", "--detector", "manifest"],
            2,
            "no manifest at /nowhere.parquet",
        ),
        (["run", "--manifest", "m", "--output", "o", "--set", "x"], 2, "key=value"),
        (["run", "--manifest", "m", "--output", "o", "--limit", "0"], 2, "sample.limit"),
        (["run", "--manifest", "m", "--output", "o", "--set", "engine.workers=two"], 2, "engine.workers"),
        (["manifest", "/nowhere", "-o", "/nowhere/m.parquet"], 2, "/nowhere"),
        (["models", "fetch", "nothing"], 2, "nothing"),
        (["nothing"], 2, "nothing"),
        (["status", "--job", "/nowhere.yaml", "/x"], 2, "/nowhere.yaml"),
    ],
)
def test_usage_errors(main: Any, args: list[str], code: int, said: str) -> None:
    found, out, err = main(*args)
    assert found == code
    assert said in " ".join(err.split())
    assert out == ""


def test_version_and_help(main: Any) -> None:
    assert main("--version")[:2] == (0, f"anon-batch {__version__}\n")
    code, out, _ = main("--help")
    assert code == 0
    assert all(name in out for name in ("manifest", "run", "status", "verify", "config", "models"))


def test_a_message_is_printed_as_it_is(main: Any) -> None:
    assert "[red]x[/red]" in main("status", "[red]x[/red]")[2]


def test_integrity_errors_exit_with_3(main: Any, tmp_path: Path) -> None:
    write_dataset(str(tmp_path), ["a.png", "b.png"])
    run = release(job(str(tmp_path)))
    assert main("verify", run.release.uri)[0] == 0
    (Path(run.release.uri) / "images/a.png").unlink()
    code, out, err = main("verify", run.release.uri)
    assert (code, "images/a.png: missing" in err, "VERIFICATION FAILED: 1 fault" in out) == (3, True, True)
    code, out, _ = main("verify", run.release.uri, "--json")
    assert code == 3
    assert set(json.loads(out)) == {
        *("rows", "accounted", "objects", "statuses", "faults_count", "faults", "gates_passed", "gates")
    }
    (Path(run.release.uri) / "run.json").write_text("{")
    for args in (["verify", run.release.uri], ["status", run.release.uri]):
        code, out, err = main(*args)
        assert (code, "run.json" in err, out) == (3, True, "")


def test_config_prints_a_job_file_that_gives_the_same_job(main: Any, tmp_path: Path) -> None:
    given = [
        "--set",
        "manifest=m.parquet",
        "--set",
        "output=o",
        "--set",
        "detect.detectors=[yunet]",
        "--set",
        "engine.workers=3",
    ]
    code, out, _ = main("config", *given)
    assert code == 0
    config = JobConfig.model_validate(yaml.safe_load(out))
    assert (config.engine.workers, config.detect.detectors[0].name) == (3, "yunet")
    (tmp_path / "job.yaml").write_text(out)
    assert main("config", str(tmp_path / "job.yaml"))[1] == out


@pytest.mark.parametrize(
    ("setting", "said"),
    [
        ("anonymize.face.method=pixelat", "Did you mean 'pixelate'?"),
        ("anonymize.default.fallback=[nothing]", "unknown method 'nothing'"),
        ("anonymize.plate={method: nothing}", "unknown method 'nothing'"),
        ("anonymize.options.pixelate.cels=3", "anonymize.options.pixelate.cells"),
        ("anonymize.options.blurr={}", "unknown method 'blurr'"),
        ("detect.detectors=[yunnet]", "Did you mean 'yunet'?"),
        ("detect.detectors=[{name: yunet, options: {size: 3}}]", "detect.detectors.yunet.options.size"),
        ("checks.structur={}", "Did you mean 'structure'?"),
    ],
)
def test_config_checks_names_and_options_of_plug_ins(main: Any, setting: str, said: str) -> None:
    code, out, err = main("config", "--set", "manifest=m", "--set", "output=o", "--set", setting)
    assert (code, out) == (2, "")
    assert said in " ".join(err.split())


def test_progress_of_a_large_run_shows_withheld_and_failed_within_80_columns(
    monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(
        "anon_batch.cli.progress.err", Console(stderr=True, width=80, force_terminal=True, color_system=None)
    )
    with RunProgress() as progress:
        progress._bar.start(5_000_000, 0)
        counts = {"anonymized": 900_000, "clean": 97_000, "withheld": 1_000, "failed": 2_000}
        progress.shard(ShardResult(ShardSpec(0, 1_000_000), "committed", statuses=counts))
    shown = capsys.readouterr().err
    assert "1,000,000/5,000,000 images (20.0 %), 1,000 withheld, 2,000 failed, " in shown


def test_config_shows_no_secret(main: Any) -> None:
    options = "storage.options={'s3://b/': {secret: SECRETSECRET}}"
    code, out, err = main("config", "--set", "manifest=m", "--set", "output=o", "--set", options)
    assert code == 0
    assert "SECRET" not in out + err
    assert "s3://b/" in out


def test_config_lists_every_key(main: Any) -> None:
    code, out, _ = main("config", "--keys")
    assert code == 0
    assert [line.split("  (")[0] for line in out.splitlines() if not line.startswith("    ")] == [
        key for key, *_ in describe()
    ]


def test_models_list(main: Any, tmp_path: Path) -> None:
    code, out, _ = main("models", "list", "--cache", str(tmp_path), "--json")
    assert code == 0
    rows = json.loads(out)
    assert {"name", "state", "path", "sha256", "size_bytes", "licence", "trained_on", "url"} == set(rows[0])
    text = main("models", "list", "--cache", str(tmp_path))[1]
    assert all(row["name"] in text and row["sha256"][:16] in text for row in rows)


def test_models_verify_exits_with_3_for_a_wrong_digest(main: Any, tmp_path: Path) -> None:
    code, out, _ = main("models", "verify", "--cache", str(tmp_path), "--json")
    assert code == 0
    assert "yunet" not in {row["name"] for row in json.loads(out)}
    (tmp_path / "face_detection_yunet_2023mar.onnx").write_bytes(b"other weights")
    code, out, _ = main("models", "verify", "--cache", str(tmp_path), "--json")
    assert code == 3
    assert {row["name"]: row["state"] for row in json.loads(out)}["yunet"] == "wrong_digest"


def test_manifest_says_what_it_listed_and_what_it_left_out(main: Any, tmp_path: Path) -> None:
    source = tmp_path / "photos"
    source.mkdir()
    for name in ("a.png", "b [1].png"):
        (source / name).write_bytes(image_bytes())
    (source / "notes.txt").write_text("x")
    out_uri = str(tmp_path / "m.parquet")
    code, out, err = main("manifest", str(source), "-o", out_uri)
    assert code == 0
    assert f"2 images -> {out_uri}" in out
    assert "notes.txt" in err
    code, out, _ = main("manifest", str(source), "-o", out_uri, "--json")
    report = json.loads(out)
    assert (code, report["images_count"], report["other_suffixes"]) == (0, 2, {".txt": 1})


def test_a_reader_that_goes_away_gets_no_traceback() -> None:
    args = command("config", "--keys")
    read_end, write_end = os.pipe()
    os.close(read_end)
    try:
        done = subprocess.run(args, stdout=write_end, stderr=subprocess.PIPE, text=True, timeout=60, check=False)
    finally:
        os.close(write_end)
    assert done.stderr == ""
    assert done.returncode not in (0, 3)


def test_a_terminal_without_unicode_shows_odd_names_escaped(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), ["日本 \U0001f642.png", "b.png"])
    run = release(job(str(tmp_path), name="r"))
    ascii_only = {"PYTHONIOENCODING": "ascii", "PYTHONUTF8": "0", "LC_ALL": "C"}
    (Path(run.release.uri) / "images/日本 \U0001f642.png").unlink()
    done = run_cli("verify", run.release.uri, env=ascii_only)
    assert done.returncode == 3
    assert "\\u65e5\\u672c" in done.stderr
    assert "Traceback" not in done.stderr
    (tmp_path / "job.yaml").write_text("manifest: m\noutput: 日本\n", encoding="utf-8")
    source = tmp_path / "写真"
    source.mkdir()
    (source / "a.png").write_bytes(image_bytes())
    done = run_cli("manifest", str(source), "-o", str(source / "m.parquet"), env={"PYTHONIOENCODING": "ascii"})
    assert (done.returncode, done.stderr) == (0, "")
    assert "\\u5199" in done.stdout


@pytest.mark.parametrize(("error", "code"), [(KeyboardInterrupt(), 130), (BrokenPipeError(32, "x"), 141)])
def test_interrupts_and_pipes_below_the_parser(
    monkeypatch: pytest.MonkeyPatch, error: BaseException, code: int
) -> None:
    def ended(*_: object, **__: object) -> None:
        raise error

    monkeypatch.setattr("anon_batch.cli.app.app", ended)
    exits: list[int] = []

    def leave(value: int) -> None:
        exits.append(value)
        raise SystemExit(value)

    monkeypatch.setattr(os, "_exit", leave)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code


def test_statuses_are_all_named() -> None:
    assert statuses_line({"clean": 1200}) == "0 anonymized, 1,200 clean, 0 withheld, 0 failed"


def test_the_result_alone_is_on_standard_output(main: Any, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Ray prints what it thinks of its workers to standard output while a run is on."""
    write_dataset(str(tmp_path), ["a.png"])
    finished = release(job(str(tmp_path)))

    def noisy(config: JobConfig, *_: Any) -> driver.RunSummary:
        print("(raylet) Task ShardActor.ready failed.")
        return driver.RunSummary(finished, finished.release.read_stats(), Gates(()), Spent(1.0, 0.0, None))

    monkeypatch.setattr(driver, "run_job", noisy)
    code, out, err = main("run", "--manifest", "m", "--output", "o", "--json")
    assert code == 0
    assert json.loads(out)["statuses"]["anonymized"] == 1
    assert "(raylet)" in err


def test_a_crash_is_one_line_and_says_where_the_traceback_is(monkeypatch: pytest.MonkeyPatch, capsys: Any) -> None:
    def crash(*_: object, **__: object) -> None:
        raise KeyError("odd")

    monkeypatch.setattr("anon_batch.cli.app.app", crash)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    err = capsys.readouterr().err
    assert caught.value.code == 1
    assert "Traceback" in err, "not a terminal: the log keeps everything"
    assert err.splitlines()[-1].startswith("anon-batch: unexpected error: KeyError: 'odd'. This is a bug;")

    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with pytest.raises(SystemExit) as caught:
        cli.main()
    err = capsys.readouterr().err
    assert caught.value.code == 1
    assert len(err.splitlines()) == 1
    log = Path(err[err.index("(") + 1 : err.rindex(")")])
    assert "KeyError" in log.read_text()
    assert log.stat().st_mode & 0o077 == 0
    log.unlink()


def test_sigterm_ends_with_75(tmp_path: Path) -> None:
    code = "import os, signal; from anon_batch import cli; from anon_batch.cli import app; import sys\n"
    code += "app.app = lambda **_: os.kill(os.getpid(), signal.SIGTERM)\n"
    code += "sys.argv = ['anon-batch', 'status', 'x']\ncli.main()"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, done.stderr) == (75, "anon-batch: terminated by SIGTERM; run the same command again\n")
