"""`anon-batch patch`: what it says, exit codes, and what other commands make of it. Shards are processed without Ray."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from patch_fixtures import private_files, review, rows_of
from pipeline_fixtures import job, process_all, release, write_dataset

from anon_batch import cli
from anon_batch.cluster import patching
from anon_batch.formats.verdicts_json import DrawnBox
from anon_batch.pipeline.run import Run

IDS = [f"a b/it's {index}.png" for index in range(6)]
BOX = DrawnBox(14, 6, 22, 16)
Main = Callable[..., tuple[int, str, str]]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    """Exit code, output, errors of the entry point."""
    monkeypatch.setattr(patching, "process_shards", lambda run, *_: process_all(run))

    def call(*args: object) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["anon-batch", *map(str, args)])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), said.out, " ".join(said.err.split())

    return call


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_dataset(str(tmp_path), IDS)
    return release(job(str(tmp_path), detect__detectors=[{"name": "manifest", "labels": ["x"]}]))


def _args(run: Run, *more: object) -> list[object]:
    return ["patch", run.release.uri, "--set", f"run_key_file={run.config.run_key_file}", *more]


def test_a_patch_says_what_it_did_and_signs_off_the_version_before(main: Main, run: Run, tmp_path: Path) -> None:
    key = tmp_path / "sign.pem"
    main("keys", "new", "--sign", key)
    assert main("release", run.release.uri, "--sign-key", key)[0] == 0
    review(run, {IDS[1]: [BOX], IDS[3]: []})
    code, out, err = main(*_args(run, "--verdicts", "--set", "detect.detectors=[manifest]", "--dry-run"))
    assert (code, "4 of 6 rows would be done again: 3 for other detections, 1 for boxes that people drew" in out) == (
        0,
        True,
    )
    assert "1 image marked as showing something missed, without a box" in err
    assert (Path(run.release.uri) / "README.md").exists()
    code, out, _ = main(*_args(run, "--verdicts", "--set", "detect.detectors=[manifest]"))
    assert code == 0
    assert "setting  detect.detectors: was" in out
    assert "4 rows changed (4 anonymized)" in out
    assert f"release  {run.release.uri}, version 2" in out
    assert not (Path(run.release.uri) / "README.md").exists()
    assert main("verify", run.release.uri)[0] == 0
    assert main("release", run.release.uri, "--sign-key", key)[0] == 0
    card = (Path(run.release.uri) / "README.md").read_text()
    assert "changed 4, other detections 3, found by review 1, anonymized 4" in card
    assert '\\"labels\\": null' in (Path(run.release.uri) / "report/report.json").read_text(), (
        "the settings of version 2"
    )
    recorded = json.loads((Path(run.release.uri) / "run.json").read_text())
    assert recorded["config"]["detect"]["detectors"][0]["labels"] == ["x"], "the settings of version 1"
    code, out, _ = main("verify", run.release.uri, "--no-ledger", "--key", key.with_suffix(".pem.pub"))
    assert code == 0, out
    code, out, _ = main(*_args(run, "--verdicts"))
    assert (code, "nothing to change" in out, "no version was made" in out) == (0, True, True)
    assert (Path(run.release.uri) / "README.md").exists()


def test_json_is_one_document(main: Main, run: Run) -> None:
    code, out, err = main(*_args(run, "--set", "detect.detectors=[manifest]", "--json"))
    said = json.loads(out)
    assert (code, err) == (0, "")
    assert (said["version"], said["touched"], said["statuses"]) == (2, {"detections": 3}, {"anonymized": 3})
    assert said["gates_passed"] is True


def test_a_gate_that_the_new_version_exceeds_returns_10(main: Main, run: Run, tmp_path: Path) -> None:
    review(run, {IDS[1]: [BOX]})
    (tmp_path / "src" / IDS[1]).unlink()
    code, out, _ = main(*_args(run, "--verdicts"))
    assert (code, "gate     EXCEEDED failed" in out) == (10, True)
    assert rows_of(run)[1]["reason"] == "source_not_found"


def test_wrong_use_is_explained(main: Main, run: Run, tmp_path: Path) -> None:
    for args, words in (
        (["patch", run.release.uri], "say what to do again"),
        (["patch", run.release.uri, "--verdicts"], "run_key_file"),
        (["patch", tmp_path / "none", "--verdicts"], "no release here"),
        (["patch", run.release.uri, "--verdicts", "--ledger", tmp_path / "none"], "none: name it with --ledger"),
        (_args(run, "--retry", "poisoned"), "Did you mean 'poison'"),
        (_args(run, "--set", "write.layout=parquet"), "write.layout: was"),
        (_args(run, "--set", "detect.detectors=[nothing]"), "nothing"),
    ):
        code, _, err = main(*args)
        assert (code, words in err) == (2, True), err
        assert "--no-ledger" not in err, "patch has no such option"
    assert private_files(run) == []


def test_rows_of_a_job_file_must_be_those_of_the_run(main: Main, run: Run, tmp_path: Path) -> None:
    text = "name: release\nmanifest: {0}/m.parquet\noutput: {0}/other\nrun_key_file: {0}/key\ndetect: {{detectors: [manifest]}}\n"
    (tmp_path / "job.yaml").write_text(text.format(tmp_path) + "anonymize: {face: {method: solid}}\n")
    code, out, _ = main("patch", run.release.uri, "--job", tmp_path / "job.yaml", "--dry-run")
    assert (code, "3 of 6 rows would be done again: 3 for other detections" in out) == (0, True)
    write_dataset(str(tmp_path), IDS[:-1])
    code, _, err = main("patch", run.release.uri, "--job", tmp_path / "job.yaml", "--dry-run")
    assert (code, "manifest row count: was 6, is 5" in err) == (2, True)
