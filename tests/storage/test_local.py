"""Local files while another driver, which finished the same run, sweeps temporary files."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from anon_batch.errors import ObjectExistsError, ObjectNotFoundError
from anon_batch.storage import Storage, local


@pytest.fixture
def swept(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """Number of sweeps to come, each after a temporary file was written."""
    left = [1]

    def sweeping(act: str) -> None:
        original = getattr(os, act)

        def swept_first(source: Path, target: Path) -> None:
            if left[0] > 0:
                left[0] -= 1
                assert local.sweep_partials(source.parent) == 1
            original(source, target)

        monkeypatch.setattr(os, act, swept_first)

    sweeping("link")
    sweeping("replace")
    return left


def test_a_swept_temporary_file_is_written_again(tmp_path: Path, swept: list[int]) -> None:
    Storage().put_if_absent(f"{tmp_path}/part", b"mine")
    assert (tmp_path / "part").read_bytes() == b"mine"
    swept[0] = 2
    Storage().put(f"{tmp_path}/image", b"pixels")
    assert (tmp_path / "image").read_bytes() == b"pixels"
    assert sorted(os.listdir(tmp_path)) == ["image", "part"]


def test_the_commit_of_the_driver_that_swept_counts(tmp_path: Path, swept: list[int]) -> None:
    (tmp_path / "part").write_bytes(b"theirs")
    with pytest.raises(ObjectExistsError):
        Storage().put_if_absent(f"{tmp_path}/part", b"mine")


def test_a_folder_that_is_swept_all_the_time_ends_in_an_error(tmp_path: Path, swept: list[int]) -> None:
    swept[0] = 99
    with pytest.raises(ObjectNotFoundError):
        Storage().put(f"{tmp_path}/image", b"pixels")
