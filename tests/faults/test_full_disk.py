"""A disk that is really full: a small tmpfs holds release and ledger."""

from __future__ import annotations

import subprocess
from collections.abc import Generator, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_fixtures import Silent, job, release, verdict, write_dataset
from releases import release_of

from anon_batch.errors import RunStoppedError, StorageFullError
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.rounds import drive
from anon_batch.pipeline.run import open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.storage import Storage

pytestmark = pytest.mark.full
ENOUGH = "4m"


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        subprocess.run(mount, check=True, capture_output=True)
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("only root can mount a tmpfs")
    yield folder
    subprocess.run(["umount", str(folder)], check=True)


def _run(config: Any) -> Any:
    run, _ = open_run(config, ())
    processor = ShardProcessor(run)

    def dispatch(specs: Iterable[ShardSpec]) -> Generator[ShardResult]:
        for spec in specs:
            yield processor.process(spec)

    drive(run, Silent(), dispatch)
    finalize(run)
    return run


def test_a_full_disk_stops_the_run_which_resumes_when_there_is_room(tmp_path: Path, disk: Path) -> None:
    write_dataset(str(tmp_path), [f"{number:02d}.png" for number in range(40)])
    release(job(str(tmp_path), output="undisturbed"))
    config = job(str(tmp_path), output="disk/out")
    stopped = []
    for size in ("64k", "96k", "128k", "192k"):
        subprocess.run(["mount", "-o", f"remount,size={size}", str(disk)], check=True)
        with pytest.raises(
            (RunStoppedError, StorageFullError), match="no space left; free some or choose another place"
        ) as full:
            _run(config)
        stopped.append(full.type)
    assert RunStoppedError in stopped, "in the middle of the run"
    subprocess.run(["mount", "-o", f"remount,size={ENOUGH}", str(disk)], check=True)
    run = _run(config)
    assert verdict(run).faults == []
    assert release_of(Storage(), str(disk / "out")) == release_of(Storage(), str(tmp_path / "undisturbed"))
