"""Kill the driver and a worker while faces are found, crash workers by an image: the persons are those of an undisturbed pass."""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest
from drawn_people import PAUSE_S, Scene, crowd, write_people
from drawn_recogniser import drawn_recogniser
from releases import actors_of, run_cli, start_cli, wait_until

pytestmark = pytest.mark.full
SCENES: list[Scene] = [*([(number % 10, 40)] for number in range(20)), *crowd(40)]
COMPLIANCE = ("controller", "legal_basis", "art9_basis", "dpia_reference", "retention")


@pytest.fixture(scope="module")
def people(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = write_people(tmp_path_factory.mktemp("identify") / "data", SCENES)
    (folder / "persons.key").write_bytes(bytes(range(32)))
    drawn_recogniser(folder / "drawn.onnx")
    return folder


def job(people: Path, output: Path, **more: object) -> str:
    keys = {
        "manifest": str(people / "m.parquet"),
        "output": str(output),
        "detect": {"detectors": ["drawn_people"]},
        "anonymize": {"face": {"method": "swap"}},
        "identity": {
            "scope": "dataset",
            "source": "cluster",
            "embedder": str(people / "drawn.onnx"),
            "key_file": str(people / "persons.key"),
            **more,
        },
        "compliance": dict.fromkeys(COMPLIANCE, "stated"),
        "engine": {"shard_rows": 4, "workers": 2},
    }
    file = output.parent / f"{output.name}.json"
    file.write_text(json.dumps(keys))
    return str(file)


def persons(output: Path) -> bytes:
    return Path(f"{output}-ledger/persons.parquet").read_bytes()


@pytest.fixture(scope="module")
def undisturbed(people: Path) -> bytes:
    """By one worker, in the process of the command."""
    output = people / "undisturbed"
    done = run_cli("identify", job(people, output), "--set", "engine.workers=null")
    assert done.returncode == 0, done.stderr
    return persons(output)


def parts(output: Path) -> int:
    return len(list(Path(f"{output}-ledger/faces").glob("*.sealed")))


def test_killed_driver(people: Path, undisturbed: bytes, ray_address: str, tmp_path: Path) -> None:
    output = tmp_path / "out"
    command = ["identify", job(people, output), "--address", ray_address]
    run = start_cli(*command, env={PAUSE_S: "0.1"}, log=tmp_path / "log")
    wait_until(lambda: parts(output) >= 3, "some parts")
    os.kill(run.pid, signal.SIGKILL)
    run.wait()
    before = parts(output)
    assert 3 <= before < 15
    done = run_cli(*command)
    assert done.returncode == 0, done.stderr
    assert persons(output) == undisturbed
    left = {path.name for path in Path(f"{output}-ledger").rglob("*") if path.is_file() and path.parts[-3] != "rows"}
    assert left == {"persons.parquet", "persons.json"}


def test_killed_worker(people: Path, undisturbed: bytes, tmp_path: Path) -> None:
    output = tmp_path / "out"
    run = start_cli("identify", job(people, output), env={PAUSE_S: "0.2"}, log=tmp_path / "log")
    wait_until(lambda: parts(output) >= 2, "some parts")
    actors_of(run.pid, "FaceActor")[0].kill()
    assert run.wait(400) == 0, (tmp_path / "log").read_text()
    assert persons(output) == undisturbed


def test_an_image_that_ends_its_worker_costs_itself_alone(ray_address: str, tmp_path: Path) -> None:
    people = write_people(tmp_path / "data", [[(1, 40)], [(1, 40)], [(2, 40)]], crashes=[2])
    (people / "persons.key").write_bytes(bytes(range(32)))
    drawn_recogniser(people / "drawn.onnx")
    output = tmp_path / "out"
    given = {"threshold": 0.8, "max_false_pairs": None}
    done = run_cli("identify", job(people, output, **given), "--address", ray_address, "--json")
    assert done.returncode == 0, done.stderr
    said = json.loads(done.stdout)
    assert said["unread"] == {"poison": 1}
    assert said["persons"] == 1
