"""Three nodes on loopback without a token: a run survives the loss of one, and every command that uses Ray joins RAY_ADDRESS."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from misbehaving_plugin import SLOW
from ray_nodes import Nodes, ray_nodes
from releases import RUN_KEY, command, make_images, make_manifest, parts_count, release_of, run_cli, wait_until
from servers import S3Server

from anon_batch.storage import Storage

pytestmark = pytest.mark.full
ROWS = 40


@pytest.fixture(scope="module")
def nodes(moto: S3Server) -> Iterator[Nodes]:
    with ray_nodes(moto, token=None, isolated=False) as nodes:
        yield nodes


@pytest.fixture(scope="module")
def dataset(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set on a mount that all nodes share, and a laptop's release of it."""
    folder = tmp_path_factory.mktemp("open")
    make_images(folder / "images", ROWS, dict.fromkeys(range(ROWS), SLOW))
    make_manifest(folder / "images", str(folder / "m.parquet"))
    (folder / "key").write_bytes(RUN_KEY)
    done = run_cli(*arguments(folder, "laptop"), "--address", "local", "--set", "engine.workers=2")
    assert done.returncode == 0, done.stderr
    return folder


def arguments(folder: Path, name: str) -> list[str]:
    job = f"run --manifest {folder}/m.parquet --output {folder}/{name} --detector misbehaving --method solid"
    return [*job.split(), *f"--set engine.shard_rows=4 --set run_key_file={folder}/key".split()]


def test_a_run_without_an_address_joins_and_survives_the_loss_of_a_node(nodes: Nodes, dataset: Path) -> None:
    nodes.env["RAY_ADDRESS"] = nodes.address
    output, lost = str(dataset / "joined"), nodes.machines[1]
    with nodes.held():
        driver = nodes.driver(*arguments(dataset, "joined"), "--set", "engine.workers=3", log=dataset / "joined.log")
        wait_until(lambda: bool(lost.workers()), f"a worker on the machine that will be lost, see {dataset}/joined.log")
    wait_until(lambda: parts_count(Storage(), output) >= 3, f"3 commits, see {dataset}/joined.log")
    with nodes.held():
        lost.kill()
    assert driver.wait(400) == 0, (dataset / "joined.log").read_text()
    assert f"joins the Ray cluster at {nodes.address}, which RAY_ADDRESS names" in (dataset / "joined.log").read_text()
    assert release_of(Storage(), output) == release_of(Storage(), str(dataset / "laptop"))


@pytest.mark.parametrize("name", ["run", "patch"])
def test_a_command_whose_workers_never_fit_says_so(nodes: Nodes, dataset: Path, name: str) -> None:
    nodes.env["RAY_ADDRESS"] = nodes.address
    given = {
        "run": arguments(dataset, "big"),
        "patch": [
            "patch",
            f"{dataset}/laptop",
            "--set",
            "anonymize.face.expansion=1.3",
            f"--set=run_key_file={dataset}/key",
        ],
    }[name]
    done = nodes.on_head(command(*given, "--set", "engine.num_cpus=7"), 400)
    assert "joins the Ray cluster" in done.stderr, done.stderr + done.stdout
    assert "not even one worker fits" in " ".join(done.stderr.split())
    assert done.returncode == 2


def test_evaluate_joins_too(nodes: Nodes, dataset: Path) -> None:
    nodes.env["RAY_ADDRESS"] = nodes.address
    given = [
        "evaluate",
        f"{dataset}/laptop",
        "--scorer",
        "none",
        "--workers",
        "2",
        f"--set=models.cache={dataset}/models",
    ]
    done = nodes.on_head(command(*given), 400)
    assert done.returncode == 0, done.stderr
    assert "joins the Ray cluster" in done.stderr


def test_a_job_may_start_ray_all_the_same(nodes: Nodes, dataset: Path) -> None:
    """Inside a job of the cluster, whose environment leads Ray to that cluster in more than one way."""
    given = " ".join(command(*arguments(dataset, "alone"), "--address", "local", "--set", "engine.workers=1")[3:])
    name = nodes.call("post", "/api/jobs/", {"entrypoint": f"anon-batch {given}"})["submission_id"]
    ended = ("SUCCEEDED", "FAILED", "STOPPED")
    wait_until(lambda: nodes.call("get", f"/api/jobs/{name}")["status"] in ended, "the job to end", 400)
    log = nodes.call("get", f"/api/jobs/{name}/logs")["logs"]
    assert nodes.call("get", f"/api/jobs/{name}")["status"] == "SUCCEEDED", log
    assert "joins" not in log
    rows = release_of(Storage(), str(dataset / "alone"))
    assert json.dumps(rows, default=str) == json.dumps(release_of(Storage(), str(dataset / "laptop")), default=str)
