"""Whole puts, put-if-absent, ranges, listings and the mapping of errors, on a local disk and in memory."""

from __future__ import annotations

import errno
import os
import pickle
import threading
import uuid
from pathlib import Path

import pytest

from anon_batch.config import StorageConfig
from anon_batch.errors import (
    AccessDeniedError,
    AnonBatchError,
    CredentialsError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StorageFullError,
    TransientStorageError,
)
from anon_batch.storage import PARTIAL_PREFIX, ObjectInfo, Storage, _translate, absolute, join

FAST = StorageConfig(retries=2, retry_wait_s=0)


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def test_put_read_size_exists_delete(base: str) -> None:
    storage, uri = Storage(FAST), join(base, "a/b c.bin")
    assert not storage.exists(uri)
    storage.put(uri, b"0123456789")
    storage.put(uri, b"abcdefghij")
    assert storage.exists(uri)
    assert storage.size(uri) == 10
    assert storage.read(uri) == b"abcdefghij"
    assert storage.read(uri, 3, 4) == b"defg"
    assert storage.read(uri, 8, 50) == b"ij"
    with storage.open(uri) as file:
        file.seek(5)
        assert file.read(2) == b"fg"
    storage.delete(uri)
    storage.delete(uri)
    with pytest.raises(ObjectNotFoundError, match=r"b c\.bin"):
        storage.read(uri)


def test_put_if_absent_refuses_other_bytes_and_finds_its_own(base: str) -> None:
    storage, uri = Storage(FAST), join(base, "commit")
    storage.put_if_absent(uri, b"first")
    storage.put_if_absent(uri, b"first")
    with pytest.raises(ObjectExistsError):
        storage.put_if_absent(uri, b"second")
    assert storage.read(uri) == b"first"


def test_of_racing_writers_one_wins(tmp_path: Path) -> None:
    storage, uri = Storage(FAST), str(tmp_path / "race")
    wins: list[int] = []

    def write(number: int) -> None:
        try:
            storage.put_if_absent(uri, b"%d" % number * 1000)
        except ObjectExistsError:
            return
        wins.append(number)

    threads = [threading.Thread(target=write, args=(n,)) for n in range(16)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(wins) == 1
    assert storage.read(uri) == b"%d" % wins[0] * 1000
    assert [info.key for info in storage.list(str(tmp_path))] == ["race"]


def test_list_is_recursive_and_ordered(base: str) -> None:
    storage = Storage(FAST)
    for key in ("b/2", "a/x/1", "a/10", "c"):
        storage.put(join(base, key), b"xy")
    expected = {ObjectInfo("a/10", 2), ObjectInfo("a/x/1", 2), ObjectInfo("b/2", 2), ObjectInfo("c", 2)}
    listed = list(storage.list(base))
    assert set(listed) == expected
    assert listed == list(storage.list(base))
    assert list(storage.list(join(base, "nothing"))) == []


def test_a_failed_put_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageFullError, match="no space left"):
        Storage(FAST).put(str(tmp_path / "x"), b"data")
    assert list(tmp_path.iterdir()) == []


def test_sweep_removes_what_a_killed_process_left(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / f"{PARTIAL_PREFIX}123").write_bytes(b"half")
    (tmp_path / "d" / "whole").write_bytes(b"whole")
    assert Storage(FAST).sweep_partials(str(tmp_path)) == 1
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["whole"]


def test_passing_faults_are_retried_and_then_said(tmp_path: Path) -> None:
    storage, calls = Storage(FAST), []

    def flaky() -> bytes:
        calls.append(1)
        if len(calls) < 3:
            raise ConnectionResetError("reset")
        return b"ok"

    assert storage._retry("s3://b/k", flaky) == b"ok"
    calls.clear()

    def broken() -> bytes:
        calls.append(1)
        raise ConnectionResetError("reset")

    with pytest.raises(TransientStorageError, match="ConnectionResetError"):
        storage._retry("s3://b/k", broken)
    assert len(calls) == 3


class _ClientError(Exception):
    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.response = {"Error": {"Code": code}}


@pytest.mark.parametrize(("exc", "expected"), [
    (FileNotFoundError(), ObjectNotFoundError),
    (PermissionError("no"), AccessDeniedError),
    (FileExistsError(), ObjectExistsError),
    (OSError(errno.ENOSPC, ""), StorageFullError),
    (OSError(errno.EROFS, ""), StorageFullError),
    (OSError(errno.EBUSY, ""), TransientStorageError),
    (OSError(errno.EIO, ""), TransientStorageError),
    (OSError(errno.ENAMETOOLONG, ""), StorageError),
    (TimeoutError(), TransientStorageError),
    (ConnectionResetError(), TransientStorageError),
    (_ClientError("PreconditionFailed"), ObjectExistsError),
    (_ClientError("ExpiredToken"), CredentialsError),
    (_ClientError("SlowDown"), TransientStorageError),
    (RuntimeError("something new"), TransientStorageError),
    (NotImplementedError("append"), StorageError),
    (ValueError("embedded null byte"), StorageError),
    (OSError(errno.ELOOP, ""), StorageError),
])  # fmt: skip
def test_every_foreign_error_is_mapped(exc: Exception, expected: type[StorageError]) -> None:
    mapped = _translate(exc, "s3://bucket/key")
    assert type(mapped) is expected
    assert "s3://bucket/key" in str(mapped)


def test_a_412_behind_an_oserror_is_a_lost_race() -> None:
    """Ceph names no condition in its answer, so s3fs maps it to EINVAL."""
    wrapped = OSError(errno.EINVAL, "PreconditionFailed")
    wrapped.__cause__ = _ClientError("PreconditionFailed")
    assert type(_translate(wrapped, "s3://b/k")) is ObjectExistsError


def test_addresses() -> None:
    assert absolute("s3://b/k") == "s3://b/k"
    assert absolute("x/../y") == os.path.abspath("y")
    assert absolute("file:///tmp/a") == "/tmp/a"
    assert join("s3://b/", "/k") == "s3://b/k"
    assert join("memory://", "k") == "memory://k"
    with pytest.raises(StorageError, match="nope"):
        Storage(FAST).read("nope://x")


def test_a_listing_follows_links_once_and_skips_no_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    storage = Storage(FAST)
    storage.put(str(tmp_path / "real" / "a"), b"1")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "cycle").symlink_to(root)
    assert [info.key for info in storage.list(str(root))] == ["link/a"]

    def denied(path: str) -> None:
        raise PermissionError(errno.EACCES, "Permission denied", path)

    monkeypatch.setattr(os, "scandir", denied)
    with pytest.raises(AccessDeniedError, match="root"):
        list(storage.list(str(root)))


def test_the_longest_matching_prefix_gives_the_options() -> None:
    config = StorageConfig(
        options={"s3://": {"anon": True}, "s3://private/": {"key": "k", "secret": "s"}},
        sse="aws:kms",
        sse_kms_key_id="id",
    )
    options = Storage(config)._options("s3://private/x")
    assert options["key"] == "k"
    assert "anon" not in options
    assert options["s3_additional_kwargs"] == {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": "id"}
    assert Storage(config)._options("s3://other/x")["anon"] is True
    assert Storage(config)._options("/local") == {}


def test_errors_survive_pickling() -> None:
    def leaves(cls: type[AnonBatchError]) -> list[type[AnonBatchError]]:
        return [cls, *(leaf for sub in cls.__subclasses__() for leaf in leaves(sub))]

    for cls in leaves(AnonBatchError):
        again = pickle.loads(pickle.dumps(cls("what", "where")))
        assert type(again) is cls
        assert str(again) == str(cls("what", "where"))
    assert pickle.loads(pickle.dumps(Storage(FAST)))._config == FAST


def test_an_opened_object_seeks_and_notices_when_it_shrinks() -> None:
    storage, uri = Storage(FAST), f"memory://{uuid.uuid4().hex}/object"
    body = os.urandom(9 * 2**20)
    storage.put(uri, body)
    with storage.open(uri) as file:
        assert file.seek(-10, os.SEEK_END) == len(body) - 10
        assert file.read() == body[-10:]
        assert file.read(5) == b""
        file.seek(5 * 2**20)
        file.seek(-3, os.SEEK_CUR)
        assert file.read(6) == body[5 * 2**20 - 3 : 5 * 2**20 + 3]
        file.seek(0)
        assert file.read() == body
        file.seek(0)
        storage.put(uri, body[:100])
        with pytest.raises(StorageError, match="shorter"):
            file.read()
