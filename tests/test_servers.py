"""What the rest of the tests and every run on S3 lean on, on real servers: conditional puts, retries, errors, encryption."""

from __future__ import annotations

import io
import pickle
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import s3fs
from faultproxy import FaultProxy
from racing_writers import race_to_create
from servers import S3Server

from anon_batch.errors import (
    AccessDeniedError,
    CredentialsError,
    ObjectExistsError,
    ObjectNotFoundError,
    StorageError,
    StorageFullError,
    TransientStorageError,
)
from anon_batch.storage import ObjectInfo, Storage

BODY = bytes(range(256)) * 1024


@pytest.fixture
def proxy(s3: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(s3.endpoint_url) as proxy:
        yield proxy


@pytest.fixture
def bucket(s3: S3Server) -> str:
    return f"s3://{s3.new_bucket()}"


def _through(proxy: FaultProxy, s3: S3Server, **more: object) -> Storage:
    return Storage(s3.config(options={"s3://": {**s3.options, "endpoint_url": proxy.url}}, **more))


def test_put_get_range_list_delete(s3: S3Server, bucket: str) -> None:
    storage = Storage(s3.config())
    uri = f"{bucket}/a/b c+%ü.bin"
    assert not storage.exists(uri)
    storage.put(uri, b"old")
    storage.put(uri, BODY)
    storage.put(f"{bucket}/a/empty", b"")
    storage.put(f"{bucket}/b", b"x")
    assert storage.exists(uri)
    assert storage.size(uri) == len(BODY)
    assert storage.read(uri) == BODY
    assert storage.read(uri, 5, 50) == BODY[5:55]
    assert storage.read(uri, len(BODY) - 3, 50) == BODY[-3:]
    assert storage.read(uri, len(BODY) + 5, 50) == b""
    assert storage.read(f"{bucket}/a/empty") == storage.read(f"{bucket}/a/empty", 0, 10) == b""
    assert list(storage.list(bucket)) == [
        ObjectInfo("a/b c+%ü.bin", len(BODY)),
        ObjectInfo("a/empty", 0),
        ObjectInfo("b", 1),
    ]
    assert [info.key for info in storage.list(f"{bucket}/a/")] == ["b c+%ü.bin", "empty"]
    assert list(storage.list(f"{bucket}/nothing")) == []
    with storage.open(uri) as file:
        file.seek(1000)
        assert file.read(10) == BODY[1000:1010]
    storage.delete(uri)
    storage.delete(uri)
    assert not storage.exists(uri)


def test_a_small_image_costs_one_request(s3: S3Server, bucket: str, proxy: FaultProxy) -> None:
    storage = _through(proxy, s3)
    calls: list[tuple[str, Callable[[], object]]] = [
        ("PUT", lambda: storage.put(f"{bucket}/x", BODY)),
        ("PUT", lambda: storage.put_if_absent(f"{bucket}/y", BODY)),
        ("GET", lambda: storage.read(f"{bucket}/x")),
        ("GET", lambda: storage.read(f"{bucket}/x", 10, 20)),
        ("HEAD", lambda: storage.size(f"{bucket}/x")),
        ("DELETE", lambda: storage.delete(f"{bucket}/x")),
    ]
    for method, call in calls:
        proxy.log.clear()
        call()
        assert [asked for asked, *_ in proxy.log] == [method]


def test_a_large_object_goes_in_parts(s3: S3Server, bucket: str) -> None:
    data = BODY * 480  # 120 MiB: s3fs cuts from 100 MiB on
    storage = Storage(s3.config())
    storage.put(f"{bucket}/large", data)
    assert storage.size(f"{bucket}/large") == len(data)
    assert storage.read(f"{bucket}/large") == data


def test_a_listing_costs_a_request_a_page_and_deletes_go_in_bulk(s3: S3Server, bucket: str, proxy: FaultProxy) -> None:
    storage = Storage(s3.config())
    keys = [f"{index // 1_020}/{index:05d}" for index in range(1_049)] + ["0-1"]  # "-" comes before "/"
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: storage.put(f"{bucket}/p/{key}", b"1"), keys))
    proxied = _through(proxy, s3)
    assert [info.key for info in proxied.list(f"{bucket}/p")] == sorted(keys)
    assert len(proxy.log) == 2
    proxy.log.clear()
    assert [info.key for info in proxied.list(f"{bucket}/p/1/")] == [f"{index:05d}" for index in range(1_020, 1_049)]
    assert list(proxied.list(f"{bucket}/p/1/01020")) == []
    assert list(proxied.list(f"{bucket}/p/nothing")) == []
    assert [method for method, *_ in proxy.log] == ["GET"] * 3
    assert all("list-type=2" in path for _, path, _ in proxy.log)
    assert list(proxied.list(f"{bucket}-nowhere/p")) == []
    proxy.log.clear()
    kept = ["0/00007", "1/01030"]
    proxied.delete_many(f"{bucket}/p", (key for key in ["nothing", *keys] if key not in kept))
    assert [method for method, *_ in proxy.log] == ["POST"] * 2
    assert [info.key for info in storage.list(f"{bucket}/p")] == kept


def test_names_with_wildcards_and_odd_signs_are_names(s3: S3Server, bucket: str) -> None:
    storage = Storage(s3.config())
    odd = ["*", "[ab]", "a?", "<&>\"'", "ü+% b", "日本"]
    for key in ["a", "b", "ab", *odd]:
        storage.put(f"{bucket}/p/{key}", b"1")
    assert [info.key for info in storage.list(f"{bucket}/p")] == sorted(["a", "b", "ab", *odd])
    storage.delete_many(f"{bucket}/p", odd)
    assert [info.key for info in storage.list(f"{bucket}/p")] == ["a", "ab", "b"]
    storage.delete_many(bucket, ["p/a", "p/ab"])
    assert [info.key for info in storage.list(bucket)] == ["p/b"]


def test_bulk_deletes_are_retried_and_say_what_was_refused(s3: S3Server, bucket: str, proxy: FaultProxy) -> None:
    storage = _through(proxy, s3)
    keys = ["a", "b", "c"]
    for key in keys:
        storage.put(f"{bucket}/{key}", b"1")
    proxy.add("slowdown", method="POST", times=2)
    proxy.add("lost_ack", method="POST")
    storage.delete_many(bucket, keys)
    assert proxy.hits() == 3
    assert list(storage.list(bucket)) == []
    proxy.add("slowdown", method="POST", times=None)
    with pytest.raises(TransientStorageError):
        storage.delete_many(bucket, keys)


@pytest.mark.parametrize("code", ["NotImplemented", "MethodNotAllowed", "MalformedXML"])
def test_where_bulk_deletes_are_not_possible_keys_go_one_by_one(moto: S3Server, code: str) -> None:
    bucket = f"s3://{moto.new_bucket()}"
    with FaultProxy(moto.endpoint_url) as proxy:
        storage = _through(proxy, moto)
        for key in ("a", "b", "c"):
            storage.put(f"{bucket}/{key}", b"1")
        proxy.add("error", method="POST", status=400 if code == "MalformedXML" else 501, code=code, times=None)
        proxy.log.clear()
        storage.delete_many(bucket, ["a", "b", "nothing"])
        assert [method for method, *_ in proxy.log] == ["POST", "DELETE", "DELETE", "DELETE"]
        assert [info.key for info in storage.list(bucket)] == ["c"]


@pytest.mark.parametrize(
    ("code", "expected"),
    [
        ("AccessDenied", AccessDeniedError),
        ("InternalError", TransientStorageError),
        ("NoSuchKey", None),
    ],
)
def test_a_key_that_is_refused_in_bulk_is_an_error(
    moto: S3Server, monkeypatch: pytest.MonkeyPatch, code: str, expected: type[StorageError] | None
) -> None:
    storage, bucket = Storage(moto.config()), f"s3://{moto.new_bucket()}"
    real, asked = s3fs.S3FileSystem.call_s3, list[str]()

    def refusing(self: s3fs.S3FileSystem, method: str, **parameters: object) -> object:
        if method != "delete_objects":
            return real(self, method, **parameters)
        asked.append(method)
        return {"Errors": [{"Key": "b", "Code": code, "Message": "made on purpose"}]}

    monkeypatch.setattr(s3fs.S3FileSystem, "call_s3", refusing)
    if expected is None:
        storage.delete_many(bucket, ["a", "b"])
    else:
        with pytest.raises(expected, match=rf"{code}: made on purpose \(b\)"):
            storage.delete_many(bucket, ["a", "b"])
    assert len(asked) == (1 + 3 if expected is TransientStorageError else 1)


def test_the_second_creator_is_refused(s3: S3Server, bucket: str) -> None:
    storage, uri = Storage(s3.config()), f"{bucket}/commit"
    storage.put_if_absent(uri, b"first")
    storage.put_if_absent(uri, b"first")
    with pytest.raises(ObjectExistsError, match="commit"):
        storage.put_if_absent(uri, b"second")
    assert storage.read(uri) == b"first"


def test_of_racing_creators_one_wins(s3: S3Server, bucket: str) -> None:
    packed = pickle.dumps(Storage(s3.config()))
    for race in range(3):
        uri = f"{bucket}/race-{race}"
        wins = race_to_create(uri, lambda: pickle.loads(packed))
        assert wins == [Storage(s3.config()).read(uri)]


def test_a_lost_answer_is_no_lost_race(s3: S3Server, bucket: str, proxy: FaultProxy) -> None:
    storage = _through(proxy, s3)
    proxy.add("lost_ack", method="PUT", key="mine")
    storage.put_if_absent(f"{bucket}/mine", b"mine")
    assert proxy.hits("lost_ack") == 1
    assert [status for method, _, status in proxy.log if method == "PUT"] == ["lost_ack", 412]
    assert Storage(s3.config()).read(f"{bucket}/mine") == b"mine"

    Storage(s3.config()).put(f"{bucket}/theirs", b"theirs")
    proxy.add("lost_ack", method="PUT", key="theirs")
    with pytest.raises(ObjectExistsError):
        storage.put_if_absent(f"{bucket}/theirs", b"mine")


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "slowdown", "times": 3},
        {"fault": "error", "status": 500, "code": "InternalError", "times": 2},
        {"fault": "reset", "on": "request", "at": 70_000},
        {"fault": "reset", "on": "response", "at": 70_000},
        {"fault": "truncate", "on": "response", "at": 70_000, "times": 2},
        {"fault": "lost_ack"},
        {"fault": "blackhole", "delay_s": 0.1},
        {"fault": "stall", "on": "response", "at": 70_000, "delay_s": 0.3},
        {"fault": "latency", "delay_s": 0.3},
    ],
    ids=lambda fault: f"{fault['fault']}-{fault.get('on', '')}",
)
def test_passing_faults_do_no_harm(s3: S3Server, bucket: str, proxy: FaultProxy, fault: dict[str, object]) -> None:
    storage, uri = _through(proxy, s3), f"{bucket}/object"
    struck = 0
    if fault.get("on") != "response":
        proxy.add(**{"method": "PUT", **fault})
        struck += int(str(fault.get("times", 1)))
    storage.put(uri, BODY)
    if fault.get("on") != "request":
        proxy.add(**{"method": "GET", "key": "object", **fault})
        struck += int(str(fault.get("times", 1)))
    assert storage.read(uri) == BODY
    assert proxy.hits() == struck


def test_listings_and_ranges_are_retried(s3: S3Server, bucket: str, proxy: FaultProxy) -> None:
    storage = _through(proxy, s3)
    storage.put(f"{bucket}/p/object", BODY)
    proxy.add("slowdown", method="GET", key="list-type", times=2)
    assert [info.key for info in storage.list(f"{bucket}/p")] == ["object"]
    proxy.add("truncate", method="GET", key="p/object", at=50)
    assert storage.read(f"{bucket}/p/object", 1000, 5000) == BODY[1000:6000]
    proxy.add("slowdown", method="HEAD", times=2)
    assert storage.size(f"{bucket}/p/object") == len(BODY)
    proxy.add("slowdown", method="HEAD", times=2)
    assert storage.exists(f"{bucket}/p/object")
    proxy.add("slowdown", method="DELETE", times=2)
    storage.delete(f"{bucket}/p/object")
    assert proxy.hits() == 9
    assert not Storage(s3.config()).exists(f"{bucket}/p/object")


@pytest.mark.parametrize("retries", [0, 2])
def test_a_fault_that_stays_is_said_after_the_set_number_of_tries(
    s3: S3Server, bucket: str, proxy: FaultProxy, retries: int
) -> None:
    storage = _through(proxy, s3, retries=retries)
    proxy.add("slowdown", times=None)
    for number, call in enumerate(
        (
            lambda: storage.put(f"{bucket}/object", b"1"),
            lambda: storage.put_if_absent(f"{bucket}/object", b"1"),
            lambda: storage.read(f"{bucket}/object"),
            lambda: storage.size(f"{bucket}/object"),
            lambda: list(storage.list(f"{bucket}/p")),
        ),
        1,
    ):
        with pytest.raises(TransientStorageError, match=r"Service Unavailable|made on purpose"):
            call()
        assert proxy.hits() == number * (1 + retries)


def test_reads_of_an_opened_file_are_retried_and_raise_storage_errors(
    s3: S3Server, bucket: str, proxy: FaultProxy
) -> None:
    storage, buffer = _through(proxy, s3), io.BytesIO()
    pq.write_table(pa.table({"x": range(100_000)}), buffer, row_group_size=10_000)
    storage.put(f"{bucket}/object", BODY)
    storage.put(f"{bucket}/t.parquet", buffer.getvalue())
    proxy.add("truncate", method="GET", key="object", at=70_000)
    proxy.add("slowdown", method="GET", key="object")  # meets the second try
    with storage.open(f"{bucket}/object") as file:
        assert file.read() == BODY
    proxy.add("slowdown", method="GET", key="parquet", times=2)
    with storage.open(f"{bucket}/t.parquet") as file:
        assert pq.read_table(file)["x"].to_pylist() == list(range(100_000))
    assert proxy.hits() == 4
    proxy.add("slowdown", times=None, key="parquet", method="GET")
    with pytest.raises(TransientStorageError), storage.open(f"{bucket}/t.parquet") as file:
        pq.read_table(file)


def test_a_damaged_body_is_put_again(ceph: S3Server) -> None:
    """moto believes every body, so only the real server can refuse one."""
    uri = f"s3://{ceph.new_bucket()}/object"
    with FaultProxy(ceph.endpoint_url) as proxy:
        proxy.add("corrupt", method="PUT", on="request", at=1_000)
        _through(proxy, ceph).put(uri, BODY)
        assert proxy.hits("corrupt") == 1
    assert Storage(ceph.config()).read(uri) == BODY


def test_a_damaged_answer_is_read_again_where_the_store_keeps_a_checksum(moto: S3Server) -> None:
    uri = f"s3://{moto.new_bucket()}/object"
    with FaultProxy(moto.endpoint_url) as proxy:
        storage = _through(proxy, moto)
        storage.put(uri, BODY)
        proxy.add("corrupt", method="GET", at=1_000)
        assert storage.read(uri) == BODY
        assert proxy.hits("corrupt") == 1


def test_wrong_credentials_are_named(ceph: S3Server) -> None:
    uri = f"s3://{ceph.new_bucket()}/object"
    Storage(ceph.config()).put(uri, b"1")
    for wrong in ({"secret": "wrong"}, {"key": "nobody"}):
        storage = Storage(ceph.config(options={"s3://": {**ceph.options, **wrong}}))
        for call in (storage.read, storage.size, storage.exists, storage.open):
            with pytest.raises(CredentialsError, match=r"no valid credentials.*renew them.*object"):
                call(uri)
        with pytest.raises(CredentialsError):
            storage.put(uri, b"2")
        with pytest.raises(CredentialsError):
            list(storage.list(uri))


def test_no_credentials_at_all(moto: S3Server) -> None:
    storage = Storage(moto.config(options={"s3://": {"endpoint_url": moto.endpoint_url}}))
    with pytest.raises(CredentialsError, match="credentials"):
        storage.read("s3://bucket/object")


@pytest.mark.parametrize(
    ("status", "code", "expected", "said"),
    [
        (400, "ExpiredToken", CredentialsError, "renew"),
        (403, "SignatureDoesNotMatch", CredentialsError, "renew"),
        (403, "RequestTimeTooSkewed", CredentialsError, "renew"),
        (403, "AccessDenied", AccessDeniedError, "rights"),
        (403, "QuotaExceeded", StorageFullError, "quota"),
        (501, "NotImplemented", StorageError, "cannot do this"),
        (400, "InvalidBucketName", StorageError, "refuses"),
    ],
)
def test_errors_that_no_retry_can_fix_are_not_retried(
    moto: S3Server, status: int, code: str, expected: type[StorageError], said: str
) -> None:
    uri = f"s3://{moto.new_bucket()}/object"
    with FaultProxy(moto.endpoint_url) as proxy:
        storage = _through(proxy, moto)
        proxy.add("error", status=status, code=code, times=None)
        calls: list[Callable[[], object]] = [
            lambda: storage.put(uri, b"1"),
            lambda: storage.put_if_absent(uri, b"1"),
            lambda: storage.read(uri),
            lambda: storage.delete(uri),
        ]
        for number, call in enumerate(calls, 1):
            with pytest.raises(expected, match=said) as caught:
                call()
            assert type(caught.value) is expected
            listing = code == "AccessDenied" and number >= 3  # whether the object that may not be read is there
            assert proxy.hits() == number + listing
        if status in (400, 403):  # asked by HEAD, whose refusal has no code
            with pytest.raises(expected, match=said):
                storage.size(uri)


def test_what_is_not_there(s3: S3Server, bucket: str) -> None:
    storage = Storage(s3.config())
    for uri in (f"{bucket}/nothing", f"{bucket}-nowhere/object"):
        for call in (storage.read, storage.size, storage.open):
            with pytest.raises(ObjectNotFoundError, match=uri):
                call(uri)
        assert not storage.exists(uri)
    for put in (storage.put, storage.put_if_absent):
        with pytest.raises(ObjectNotFoundError, match="nowhere"):
            put(f"{bucket}-nowhere/object", b"1")


def test_encryption_is_asked_for_and_done(moto: S3Server) -> None:
    bucket = moto.new_bucket()
    for sse, key in (("AES256", None), ("aws:kms", "some-key"), (None, None)):
        storage = Storage(moto.config(sse=sse, sse_kms_key_id=key))
        storage.put(f"s3://{bucket}/put", BODY)
        storage.put_if_absent(f"s3://{bucket}/create-{sse}", BODY)
        with moto.client() as client:
            for name in ("put", f"create-{sse}"):
                head = client.head_object(Bucket=bucket, Key=name)
                assert head.get("ServerSideEncryption") == sse
                assert head.get("SSEKMSKeyId", "").endswith(key or "")
        assert storage.read(f"s3://{bucket}/put") == BODY


def test_the_environment_alone_leads_to_the_server(s3: S3Server, bucket: str, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3.env.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    try:
        Storage().put(f"{bucket}/object", b"by name")
    finally:
        s3fs.S3FileSystem.clear_instance_cache()  # or the next server's environment would find this one's client
    assert Storage(s3.config()).read(f"{bucket}/object") == b"by name"
