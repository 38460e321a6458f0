"""Status of a run: before, during and after it, and with damage."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path

import pytest
from pipeline_fixtures import job, process_all, write_dataset
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.errors import ConfigError, IntegrityError
from anon_batch.formats.release import Release
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.records import ShardSpec
from anon_batch.release.status import read_status
from anon_batch.storage import Storage, join


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    place = str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"
    write_dataset(place, [f"{n}.png" for n in range(8)])
    return place


def test_status_from_start_to_end(base: str, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = open_run(job(base), ())
    state = read_status(run.release)
    assert (state.state, state.total, state.done, state.statuses) == ("running", 8, 0, {})
    assert (state.images_per_s, state.left_s, state.last_commit_at) == (None, None, None)
    seconds = iter(range(60))
    monkeypatch.setattr("anon_batch.pipeline.commit.now", lambda: f"2024-01-01T00:00:{next(seconds) * 2:02}+00:00")
    processor = ShardProcessor(run)
    processor.process(ShardSpec(0, 4))
    processor.process(ShardSpec(4, 1))
    processor.process(ShardSpec(5, 1))
    state = read_status(run.release)
    assert (state.done, state.shards_count, state.statuses) == (6, 3, {"anonymized": 3, "clean": 3})
    assert state.images_per_s == pytest.approx(0.5)
    assert state.left_s == pytest.approx(4)
    assert state.last_commit_at == "2024-01-01T00:00:04+00:00"
    process_all(run)
    finalize(run)
    state = read_status(run.release)
    assert (state.state, state.done, state.run_id, state.name) == ("finished", 8, run.plan.run_id, "release")


def test_the_command_prints_text_and_json(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), [f"{n}.png" for n in range(8)])
    run, _ = open_run(job(str(tmp_path)), ())
    ShardProcessor(run).process(ShardSpec(0, 4))
    done = CliRunner().invoke(app, ["status", run.release.uri])
    assert done.exit_code == 0
    assert "not finished (running or interrupted; run the same command to resume)" in done.stdout
    assert "4 of 8 rows in 1 shard, rate unknown" in done.stdout
    assert "2 anonymized, 2 clean, 0 withheld, 0 failed" in done.stdout
    checked = CliRunner().invoke(app, ["verify", run.release.uri])
    assert checked.exit_code == 3
    assert checked.stderr.splitlines()[0].startswith(f"{run.release.uri}: not finished (running or interrupted;")
    said = json.loads(CliRunner().invoke(app, ["status", run.release.uri + "/", "--json"]).stdout)
    assert (said["done"], said["total"], said["state"], said["left_s"]) == (4, 8, "running", None)
    assert said["log"] is None


def test_the_command_names_the_last_log_of_the_driver(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), [f"{n}.png" for n in range(8)])
    run, _ = open_run(job(str(tmp_path), ledger=f"{tmp_path}/elsewhere"), ())
    for hour in (1, 2):
        run.ledger.put_driver_log(datetime(2026, 5, 4, hour, tzinfo=UTC), "abc", "it starts\n")
    file = tmp_path / "job.yaml"
    file.write_text(json.dumps({"manifest": "m", "output": "o", "ledger": f"{tmp_path}/elsewhere"}))
    assert "log " not in CliRunner().invoke(app, ["status", run.release.uri]).stdout
    done = CliRunner().invoke(app, ["status", run.release.uri, "--job", str(file)])
    assert f"log      {tmp_path}/elsewhere/logs/20260504T020000Z-abc.txt" in done.stdout


def test_a_damaged_part_is_named(base: str) -> None:
    run, _ = open_run(job(base), ())
    process_all(run)
    uri = join(run.release.uri, "provenance/0000000004-4.parquet")
    for data in (b"", b"damaged", Storage().read(join(run.release.uri, "provenance/0000000000-4.parquet"))):
        Storage().put(uri, data)
        with pytest.raises(IntegrityError, match="0000000004-4"):
            read_status(run.release)


def test_other_files_beside_the_parts_are_ignored(base: str) -> None:
    run, _ = open_run(job(base), ())
    for name in ("0000000000-0.parquet", ".partial-1", "notes.txt", "0000000000-04.parquet"):
        Storage().put(join(run.release.uri, f"provenance/{name}"), b"x")
    assert read_status(run.release).done == 0


def test_no_release(base: str) -> None:
    with pytest.raises(ConfigError, match="no release"):
        read_status(Release(Storage(), join(base, "nothing")))


@pytest.mark.parametrize("command", ["status", "verify", "report"])
def test_a_release_of_an_older_version_is_refused_with_advice(tmp_path: Path, command: str) -> None:
    write_dataset(str(tmp_path), ["a.png"])
    run, _ = open_run(job(str(tmp_path)), ())
    path = Path(run.release.uri, "run.json")
    path.write_text(json.dumps({**json.loads(path.read_text()), "format_version": 1}))
    done = CliRunner().invoke(app, [command, run.release.uri])
    assert isinstance(done.exception, ConfigError)
    assert "older version of anon-batch" in str(done.exception)
    assert "run the job again with a new output and a new ledger" in str(done.exception)
