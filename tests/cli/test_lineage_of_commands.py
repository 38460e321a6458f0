"""Commands that change a finished release send OpenLineage events; those that only look send none."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from openlineage_events import read_events, to_file
from pipeline_fixtures import job, release, write_dataset
from typer.testing import CliRunner

from anon_batch.cli.app import app

IDS = [f"Anna_{index}.png" for index in range(6)]


@pytest.fixture
def output(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    for name in [name for name in os.environ if name.startswith("OPENLINEAGE")]:
        monkeypatch.delenv(name)
    for name, value in to_file(tmp_path / "events.jsonl").items():
        monkeypatch.setenv(name, value)
    write_dataset(str(tmp_path), IDS)
    run = release(job(str(tmp_path), name="photos", run_key_file=None))
    assert invoke("keys", "new", "--sign", tmp_path / "key.pem") == 0
    return run.release.uri


def invoke(*args: object) -> int:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    return int(getattr(done.exception, "exit_code", done.exit_code))


def _ends(events: list[dict[str, Any]]) -> list[tuple[str, str]]:
    return [(event["job"]["name"], event["eventType"]) for event in events]


def test_release_erase_and_patch(output: str, tmp_path: Path) -> None:
    assert invoke("release", output, "--sign-key", tmp_path / "key.pem") == 0
    assert invoke("erase", output, "--ids", IDS[0], "--yes") == 0
    assert invoke("patch", output, "--retry", "truncated") == 0
    events = read_events(tmp_path / "events.jsonl")
    expected = [(f"photos.{name}", state) for name in ("release", "erase", "patch") for state in ("START", "COMPLETE")]
    assert _ends(events) == expected
    versions = [
        tuple(event[some][0]["facets"]["version"]["datasetVersion"] for some in ("inputs", "outputs"))
        for event in events
    ]
    assert versions == [("1", "1"), ("1", "1"), ("1", "1"), ("1", "2"), ("2", "2"), ("2", "2")]
    assert len({event["run"]["facets"]["parent"]["run"]["runId"] for event in events}) == 1
    assert len({event["run"]["runId"] for event in events}) == 3
    assert events[3]["outputs"][0]["outputFacets"]["outputStatistics"]["rowCount"] == 5
    assert "Anna" not in json.dumps(events)


def test_a_refused_release_fails(output: str, tmp_path: Path) -> None:
    next(Path(output, "images").iterdir()).unlink()
    assert invoke("release", output, "--sign-key", tmp_path / "key.pem") == 3
    events = read_events(tmp_path / "events.jsonl")
    assert _ends(events) == [("photos.release", "START"), ("photos.release", "FAIL")]
    assert "exit code 3" in events[1]["run"]["facets"]["errorMessage"]["message"]


def test_dry_runs_and_readers_send_nothing(output: str, tmp_path: Path) -> None:
    assert invoke("erase", output, "--ids", IDS[0], "--dry-run") == 0
    assert invoke("patch", output, "--retry", "truncated", "--dry-run") == 0
    assert invoke("status", output) == invoke("verify", output) == 0
    assert read_events(tmp_path / "events.jsonl") == []


def test_a_release_whose_figures_cannot_be_read_is_written_all_the_same(
    output: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError("Anna")

    monkeypatch.setattr("anon_batch.pipeline.lineage_datasets._quality", broken)
    done = CliRunner().invoke(app, ["release", output, "--sign-key", str(tmp_path / "key.pem")])
    assert done.exit_code == 0
    assert "an OpenLineage event was not sent: ValueError < broken" in done.stderr
    assert "Anna" not in done.stderr
