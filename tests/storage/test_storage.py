"""Atomic writes, put-if-absent, ranges, listings and the mapping of errors, on a local disk and in memory."""

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
    RowError,
    StorageError,
    StorageFullError,
    ThrottledError,
    TransientStorageError,
)
from anon_batch.reasons import REASONS
from anon_batch.storage import PARTIAL_PREFIX, ObjectInfo, Storage, absolute, join
from anon_batch.storage.faults import translate
from anon_batch.storage.s3 import list_below

FAST = StorageConfig(retries=2, retry_wait_s=0, retry_for_s=0)


@pytest.fixture(params=["local", "memory"])
def base(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    return str(tmp_path) if request.param == "local" else f"memory://{tmp_path.name}"


def test_put_read_size_exists_and_delete(base: str) -> None:
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


def test_put_if_absent_refuses_other_bytes_and_accepts_a_retry_of_its_own(base: str) -> None:
    storage, uri = Storage(FAST), join(base, "commit")
    storage.put_if_absent(uri, b"first")
    storage.put_if_absent(uri, b"first")
    with pytest.raises(ObjectExistsError):
        storage.put_if_absent(uri, b"second")
    assert storage.read(uri) == b"first"


def test_one_of_several_concurrent_put_if_absent_calls_succeeds(tmp_path: Path) -> None:
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


def test_delete_many_ignores_missing_objects(base: str) -> None:
    storage = Storage(FAST)
    keys = [f"d/{number}" for number in range(30)]
    for key in [*keys, "d/kept", "kept"]:
        storage.put(join(base, key), b"x")
    storage.delete_many(base, ["nothing", *keys[:20], "no/thing", keys[0]])
    storage.delete_many(join(base, "d"), (info.key for info in storage.list(join(base, "d")) if info.key != "kept"))
    storage.delete_many(base, [])
    assert {info.key for info in storage.list(base)} == {"d/kept", "kept"}


def test_a_failed_put_leaves_no_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(StorageFullError, match="no space left"):
        Storage(FAST).put(str(tmp_path / "x"), b"data")
    assert list(tmp_path.iterdir()) == []


def test_sweep_deletes_half_written_files_of_killed_processes(tmp_path: Path) -> None:
    (tmp_path / "d").mkdir()
    (tmp_path / "d" / f"{PARTIAL_PREFIX}123").write_bytes(b"half")
    (tmp_path / "d" / "whole").write_bytes(b"whole")
    assert Storage(FAST).sweep_partials(str(tmp_path)) == 1
    assert [p.name for p in (tmp_path / "d").iterdir()] == ["whole"]


def test_transient_errors_are_retried_and_then_raised(tmp_path: Path) -> None:
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


@pytest.mark.parametrize(
    ("exc", "expected"),
    [
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
        (_ClientError("SlowDown"), ThrottledError),
        (RuntimeError("something new"), TransientStorageError),
        (NotImplementedError("append"), StorageError),
        (ValueError("embedded null byte"), StorageError),
        (OSError(errno.ELOOP, ""), StorageError),
    ],
)
def test_every_foreign_error_is_mapped(exc: Exception, expected: type[StorageError]) -> None:
    mapped = translate(exc, "s3://bucket/key")
    assert type(mapped) is expected
    assert "s3://bucket/key" in str(mapped)


def test_an_oserror_caused_by_http_412_means_that_the_object_exists() -> None:
    """Ceph names no condition in its answer, so s3fs maps it to EINVAL."""
    wrapped = OSError(errno.EINVAL, "PreconditionFailed")
    wrapped.__cause__ = _ClientError("PreconditionFailed")
    assert type(translate(wrapped, "s3://b/k")) is ObjectExistsError


def test_addresses_are_joined_and_made_absolute() -> None:
    assert absolute("s3://b/k") == "s3://b/k"
    assert absolute("x/../y") == os.path.abspath("y")
    assert absolute("file:///tmp/a") == "/tmp/a"
    assert join("s3://b/", "/k") == "s3://b/k"
    assert join("memory://", "k") == "memory://k"
    with pytest.raises(StorageError, match="nope"):
        Storage(FAST).read("nope://x")


def test_a_listing_follows_links_once_and_raises_for_unreadable_folders(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    storage = Storage(FAST)
    storage.put(str(tmp_path / "real" / "a"), b"1")
    root = tmp_path / "root"
    root.mkdir()
    (root / "link").symlink_to(tmp_path / "real")
    (tmp_path / "real" / "cycle").symlink_to(root)
    (root / "nowhere").symlink_to(tmp_path / "not" / "there")
    (root / "itself").symlink_to(root / "itself")
    assert [info.key for info in storage.list(str(root))] == ["itself", "nowhere", "link/a"]

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

    reasons = {reason.status: code for code, reason in REASONS.items()}
    for cls in leaves(AnonBatchError):
        if cls is RowError:  # abstract
            continue
        error = cls(reasons[cls.status] if issubclass(cls, RowError) else "what", "where")
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is cls
        assert str(again) == str(error)
    assert pickle.loads(pickle.dumps(Storage(FAST)))._config == FAST


def test_an_opened_object_seeks_and_raises_if_it_shrinks() -> None:
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


def _page(*keys: str, **more: object) -> dict[str, object]:
    return {"Contents": [{"Key": key, "Size": len(key)} for key in keys], "IsTruncated": bool(more), **more}


def test_a_listing_that_is_cut_off_raises() -> None:
    asked: list[dict[str, str]] = []

    def listing(*pages: object) -> list[ObjectInfo]:
        remaining = list(pages)
        asked.clear()

        def call(**parameters: str) -> dict[str, object]:
            asked.append(dict(parameters))
            page = remaining.pop(0)
            if isinstance(page, Exception):
                raise page
            assert isinstance(page, dict)
            return page

        return list(list_below(call, "b", "p", "s3://b/p"))

    assert listing(_page("p/a", NextContinuationToken="1"), _page("p/b")) == [ObjectInfo("a", 3), ObjectInfo("b", 3)]
    assert asked == [{"Bucket": "b", "Prefix": "p/"}, {"Bucket": "b", "Prefix": "p/", "ContinuationToken": "1"}]
    assert listing(ObjectNotFoundError("no such bucket")) == []
    again = _page("p/a", NextContinuationToken="1")
    for pages, expected in (
        ((_page("p/a", IsTruncated=True),), StorageError),
        ((again, again), StorageError),
        ((again, ObjectNotFoundError("no such bucket")), ObjectNotFoundError),
    ):
        with pytest.raises(expected):
            listing(*pages)
    with pytest.raises(StorageError, match="no bucket"):
        list(Storage(FAST).list("s3://"))


def test_markers_of_folders_are_not_listed() -> None:
    entries = [("p/", 0), ("p/d/", 0), ("p/d/x", 0), ("p/e/", 5)]
    page = {"Contents": [{"Key": key, "Size": size} for key, size in entries]}
    assert list(list_below(lambda **_: page, "b", "p", "s3://b/p")) == [ObjectInfo("d/x", 0), ObjectInfo("e/", 5)]


@pytest.mark.parametrize(
    ("uri", "advice"), [("/a/b", "check the folder's permissions"), ("s3://a/b", "check the credentials and rights")]
)
def test_denied_access_says_what_to_check(uri: str, advice: str) -> None:
    assert advice in str(translate(PermissionError(13, "Permission denied"), uri))


def test_local_files_that_cannot_be_read_cost_one_try_and_no_wait(tmp_path: Path) -> None:
    storage = Storage(StorageConfig(retry_wait_s=30))
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").write_bytes(b"x")
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    (tmp_path / "dangling").symlink_to(tmp_path / "nothing")
    for name, expected, said in (
        ("pipe", StorageError, "not a regular file"),
        ("folder", StorageError, "a folder stands"),
        ("file/below", StorageError, "a file stands"),
        ("n" * 300, StorageError, "name is too long"),
        ("loop", StorageError, "too many links"),
        ("nul\0", StorageError, "not an address"),
        ("dangling", ObjectNotFoundError, "not found"),
        ("nothing", ObjectNotFoundError, "not found"),
    ):
        with pytest.raises(expected, match=said) as caught:
            storage.read(str(tmp_path / name))
        assert type(caught.value) is expected
    with pytest.raises(StorageError, match="not a regular file"):
        storage.read("/dev/zero", 0, 10)
