"""SIGKILL the driver, an actor, a node of three; crash and hang a worker by its data. The release is that of an undisturbed
run. Only the driver is killed on S3 too, because the other deaths do not depend on the store."""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
from misbehaving_plugin import CRASH, HANG, RAISE, SLOW
from openlineage_events import read_events, to_file
from ray.cluster_utils import Cluster
from releases import (
    RUN_KEY,
    actors_of,
    make_images,
    make_manifest,
    parts_count,
    release_of,
    run_cli,
    start_cli,
    wait_until,
)
from servers import S3Server

from anon_batch.config import StorageConfig
from anon_batch.storage import Storage, join

ROWS = 60


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images that take 50 ms each, so that there is a middle of the run to kill in."""
    folder = tmp_path_factory.mktemp("kills")
    make_images(folder / "images", ROWS, dict.fromkeys(range(ROWS), SLOW))
    make_manifest(folder / "images", str(folder / "m.parquet"))
    (folder / "key").write_bytes(RUN_KEY)
    return folder


@pytest.fixture(params=["local", pytest.param("moto", marks=pytest.mark.full)])
def place(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[str, Storage, dict[str, str]]:
    """Base address, storage that reaches it, environment for processes that write there."""
    if request.param == "local":
        return str(tmp_path), Storage(), {}
    moto: S3Server = request.getfixturevalue("moto")
    options = {
        "endpoint_url": moto.endpoint_url,
        "key": moto.env["AWS_ACCESS_KEY_ID"],
        "secret": moto.env["AWS_SECRET_ACCESS_KEY"],
    }
    return f"s3://{moto.new_bucket()}", Storage(StorageConfig(options={"s3://": options})), dict(moto.env)


def _args(images: Path, output: str, *more: str, detector: str = "misbehaving") -> list[str]:
    job = f"run --manifest {images}/m.parquet --output {output} --detector {detector} --method solid"
    return [*job.split(), *f"--set run_key_file={images}/key --set engine.shard_rows=4".split(), *more]


@pytest.fixture(scope="module")
def undisturbed(images: Path, ray_address: str) -> dict[str, Any]:
    done = run_cli(*_args(images, str(images / "undisturbed"), "--set", "engine.workers=2", "--address", ray_address))
    assert done.returncode == 0, done.stderr
    return release_of(Storage(), str(images / "undisturbed"))


def _check(storage: Storage, output: str, undisturbed: dict[str, Any], env: dict[str, str]) -> None:
    assert release_of(storage, output) == undisturbed
    verdict = run_cli("verify", output, env=env)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


def test_sigkill_of_the_driver(
    images: Path, undisturbed: dict[str, Any], place: tuple[str, Storage, dict[str, str]], tmp_path: Path
) -> None:
    base, storage, env = place
    output, log, events = join(base, "out"), tmp_path / "log", tmp_path / "events.jsonl"
    env = {**env, **to_file(events)}
    for wanted in (2, 6):  # twice, at different points
        driver = start_cli(*_args(images, output, "--set", "engine.workers=2"), env=env, log=log)
        wait_until(lambda want=wanted: parts_count(storage, output) >= want, f"{wanted} commits, see {log}")  # type: ignore[misc]
        actors = actors_of(driver.pid)
        os.kill(driver.pid, signal.SIGKILL)
        driver.wait()
        wait_until(lambda workers=actors: not any(w.is_running() for w in workers), "Ray to end with its driver")  # type: ignore[misc]
        assert parts_count(storage, output) < ROWS // 4
        state = json.loads(run_cli("status", output, "--json", env=env).stdout)
        assert state["state"] == "running"
        assert 0 < state["done"] < ROWS
        assert f"of job 'release' {'starts' if wanted == 2 else 'resumes'}: " in storage.read(state["log"]).decode()
    done = run_cli(*_args(images, output, "--set", "engine.workers=2"), env=env)
    assert done.returncode == 0, done.stderr
    assert "resumes" in done.stderr
    _check(storage, output, undisturbed, env)
    sent = read_events(events)
    assert [event["eventType"] for event in sent] == ["START", "START", "START", "COMPLETE"]
    assert len({event["run"]["runId"] for event in sent}) == 3
    assert len({event["run"]["facets"]["parent"]["run"]["runId"] for event in sent}) == 1


@pytest.mark.full
def test_sigkill_of_an_actor(images: Path, undisturbed: dict[str, Any], tmp_path: Path) -> None:
    output = str(tmp_path / "out")
    driver = start_cli(*_args(images, output, "--set", "engine.workers=2"), log=tmp_path / "log")
    wait_until(lambda: parts_count(Storage(), output) >= 2, "2 commits")
    victims = actors_of(driver.pid)
    assert victims
    victims[0].kill()
    assert driver.wait(timeout=240) == 0, (tmp_path / "log").read_text()
    _check(Storage(), output, undisturbed, {})


@pytest.fixture
def cluster(monkeypatch: pytest.MonkeyPatch) -> Iterator[Cluster]:
    from releases import PLUGINS

    monkeypatch.setenv("PYTHONPATH", str(PLUGINS))
    monkeypatch.setenv("RAY_health_check_initial_delay_ms", "500")
    monkeypatch.setenv("RAY_health_check_period_ms", "300")
    monkeypatch.setenv("RAY_health_check_failure_threshold", "3")
    made = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    yield made
    made.shutdown()


@pytest.mark.full
def test_loss_of_a_node_of_three(images: Path, undisturbed: dict[str, Any], tmp_path: Path, cluster: Cluster) -> None:
    nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    output = str(tmp_path / "out")
    args = _args(images, output, "--address", cluster.address, "--set", "engine.workers=3")
    driver = start_cli(*args, log=tmp_path / "log")
    wait_until(lambda: parts_count(Storage(), output) >= 2, "2 commits")
    cluster.remove_node(nodes[0], allow_graceful=False)
    assert driver.wait(timeout=300) == 0, (tmp_path / "log").read_text()
    _check(Storage(), output, undisturbed, {})


@pytest.mark.full
def test_rows_that_kill_or_hang_their_worker_cost_themselves_alone(tmp_path: Path) -> None:
    make_images(tmp_path / "images", 20, {5: CRASH, 13: HANG, 17: RAISE})
    make_manifest(tmp_path / "images", str(tmp_path / "m.parquet"))
    (tmp_path / "key").write_bytes(RUN_KEY)
    output = str(tmp_path / "out")
    more = ("--set", "engine.workers=2", "--set", "engine.attempts=2", "--set", "engine.row_timeout_s=3", "--json")
    done = run_cli(*_args(tmp_path, output, *more), timeout_s=500)
    assert done.returncode == 10, done.stderr
    fates = {row["image_id"]: (row["status"], row["reason"]) for row in release_of(Storage(), output)["rows"]}
    assert fates["class1/0005.png"] == ("failed", "poison")
    assert fates["class1/0013.png"] == ("failed", "poison")
    assert fates["class1/0017.png"] == ("withheld", "detect")
    assert sum(fate == ("anonymized", None) for fate in fates.values()) == 17
    assert run_cli("verify", output).returncode == 0


@pytest.mark.full
@pytest.mark.parametrize(("sent", "exit_code"), [(signal.SIGINT, 130), (signal.SIGTERM, 75)])
def test_a_signal_ends_the_run_which_resumes(
    images: Path, undisturbed: dict[str, Any], tmp_path: Path, sent: signal.Signals, exit_code: int
) -> None:
    output, log = str(tmp_path / "out"), tmp_path / "log"
    driver = start_cli(*_args(images, output, "--set", "engine.workers=2"), log=log)
    wait_until(lambda: parts_count(Storage(), output) >= 2, "2 commits")
    driver.send_signal(sent)
    assert driver.wait(timeout=120) == exit_code, log.read_text()
    assert "resume" in log.read_text()
    assert "Traceback" not in log.read_text()
    [kept] = Path(f"{output}-ledger/logs").iterdir()
    assert f"exit code {exit_code}: " in kept.read_text().splitlines()[-1]
    done = run_cli(*_args(images, output, "--set", "engine.workers=2"))
    assert done.returncode == 0, done.stderr
    _check(Storage(), output, undisturbed, {})


@pytest.mark.full
@pytest.mark.parametrize("wait_s", [0.0, 0.5])
def test_sigterm_while_ray_starts(images: Path, tmp_path: Path, wait_s: float) -> None:
    output, log = str(tmp_path / "out"), tmp_path / "log"
    driver = start_cli(*_args(images, output, "--set", "engine.workers=1"), log=log)
    wait_until(lambda: bool(psutil.Process(driver.pid).children()), "the first process of Ray")
    time.sleep(wait_s)
    driver.send_signal(signal.SIGTERM)
    assert driver.wait(timeout=120) == 75, log.read_text()
    assert "terminated by SIGTERM; run the same command again to resume" in log.read_text()
