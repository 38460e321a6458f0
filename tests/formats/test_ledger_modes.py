"""Nobody but its owner can read a ledger on a local disk."""

from __future__ import annotations

import os
import pickle
import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from pipeline_fixtures import job, process_all, write_dataset

from anon_batch.errors import AccessDeniedError
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import open_run
from anon_batch.storage import Storage


@pytest.fixture(params=[0o000, 0o022, 0o077], ids=oct)
def umask(request: pytest.FixtureRequest) -> Iterator[int]:
    before = os.umask(request.param)
    yield request.param
    os.umask(before)


def modes(root: Path) -> dict[str, set[int]]:
    """Return the modes of all files and folders."""
    paths = [root, *root.rglob("*")]
    return {
        "files": {path.stat().st_mode & 0o777 for path in paths if path.is_file()},
        "folders": {path.stat().st_mode & 0o777 for path in paths if path.is_dir()},
    }


PRIVATE = {"files": {0o600}, "folders": {0o700}}


def test_a_ledger_is_private_whatever_the_umask_is(tmp_path: Path, umask: int) -> None:
    write_dataset(str(tmp_path), [f"a/{number}.png" for number in range(10)])
    run, _ = open_run(job(str(tmp_path), run_key_file=None), ())
    process_all(pickle.loads(pickle.dumps(run)))  # as in a worker
    assert modes(tmp_path / "out-ledger") == PRIVATE
    finalize(run)
    assert modes(tmp_path / "out-ledger") == PRIVATE
    assert (tmp_path / "out-ledger/run.key").exists()
    assert modes(tmp_path / "out") == {"files": {0o666 & ~umask}, "folders": {0o777 & ~umask}}


def test_an_existing_folder_with_a_wider_mode_is_tightened(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), ["a.png"])
    (tmp_path / "out-ledger/audit").mkdir(parents=True)
    os.chmod(tmp_path / "out-ledger", 0o777)
    process_all(open_run(job(str(tmp_path)), ())[0])
    assert modes(tmp_path / "out-ledger") == PRIVATE


def test_a_copied_ledger_is_tightened_on_resume(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), ["a.png", "b.png"])
    config = job(str(tmp_path))
    open_run(config, ())
    shutil.move(tmp_path / "out-ledger", tmp_path / "moved")
    for path in [tmp_path / "moved", *(tmp_path / "moved").rglob("*")]:
        os.chmod(path, 0o755 if path.is_dir() else 0o644)
    shutil.copytree(tmp_path / "moved", tmp_path / "out-ledger")
    run, resumed = open_run(config, ())
    assert resumed
    process_all(run)
    assert modes(tmp_path / "out-ledger") == PRIVATE


def test_a_ledger_that_cannot_be_tightened_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def denied(path: object, mode: int) -> None:
        raise PermissionError(1, "Operation not permitted", str(path))

    write_dataset(str(tmp_path), ["a.png"])
    (tmp_path / "out-ledger").mkdir(mode=0o755)
    monkeypatch.setattr(os, "chmod", denied)
    with pytest.raises(AccessDeniedError, match="the ledger cannot be written: access denied"):
        open_run(job(str(tmp_path)), ())


@pytest.mark.parametrize("umask", [0o022], indirect=True)
def test_a_neighbour_with_the_ledgers_name_as_prefix_is_not_private(tmp_path: Path, umask: int) -> None:
    storage = Storage()
    storage.keep_private(str(tmp_path / "out"))
    storage.put(str(tmp_path / "out/plan"), b"1")
    storage.put(str(tmp_path / "output/image"), b"1")
    assert (tmp_path / "out/plan").stat().st_mode & 0o777 == 0o600
    assert (tmp_path / "output/image").stat().st_mode & 0o777 == 0o644
