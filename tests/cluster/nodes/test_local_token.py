"""A run that starts Ray itself needs no home directory, and its token is in no file, log or command line."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from misbehaving_plugin import SLOW
from releases import make_images, make_manifest, parts_count, start_cli, wait_until

from anon_batch.storage import Storage

pytestmark = pytest.mark.full
ROWS = 24


@pytest.fixture
def sessions() -> Iterator[Path]:
    """Where Ray keeps its logs; short, because it holds sockets."""
    folder = Path(tempfile.mkdtemp(prefix="ray-", dir="/tmp"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


def _token_of(process: psutil.Process) -> str | None:
    try:
        return process.environ().get("RAY_AUTH_TOKEN")
    except psutil.Error:
        return None


def test_no_home_and_no_trace_of_the_token(tmp_path: Path, sessions: Path) -> None:
    make_images(tmp_path / "images", ROWS, dict.fromkeys(range(ROWS), SLOW))
    make_manifest(tmp_path / "images", str(tmp_path / "m.parquet"))
    output, log = str(tmp_path / "out"), tmp_path / "log"
    job = f"run --manifest {tmp_path}/m.parquet --output {output} --detector misbehaving --method solid"
    settings = "--set engine.workers=1 --set engine.shard_rows=4"
    env = {"HOME": "/proc/nobody", "RAY_TMPDIR": str(sessions)}
    run = start_cli(*job.split(), *settings.split(), env=env, log=log)
    wait_until(lambda: run.poll() is not None or parts_count(Storage(), output) > 0, f"the first commit, see {log}")
    processes = psutil.Process(run.pid).children(recursive=True)
    tokens = {token for process in processes if (token := _token_of(process))}
    commands = " ".join(" ".join(process.cmdline()) for process in processes if process.is_running())
    assert run.wait(400) == 0, log.read_text()
    assert len(tokens) == 1, "all of Ray's processes have one token"
    [token] = tokens
    assert token not in commands + log.read_text()
    files = [path for path in [*sessions.rglob("*"), *tmp_path.rglob("*")] if path.is_file()]
    assert any(path.name.startswith("gcs_server") for path in files), "Ray's logs are elsewhere"
    assert [path for path in files if token.encode() in path.read_bytes()] == []
