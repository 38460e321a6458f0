"""Sources on web servers: what a retry cannot help costs one request, and no message holds a query string."""

from __future__ import annotations

import datetime as dt
import pickle
import ssl
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import NameOID
from webfaults import WebFaults

from anon_batch.config import StorageConfig
from anon_batch.errors import (
    AccessDeniedError,
    ObjectNotFoundError,
    ObjectUnavailableError,
    StorageError,
    TruncatedObjectError,
)
from anon_batch.storage import Storage

BODY = bytes(range(256)) * 40
SECRET = "?X-Amz-Signature=CANARY&token=CANARY"


@pytest.fixture(scope="module")
def web() -> Iterator[WebFaults]:
    with WebFaults({"a.jpg": BODY, "empty.jpg": b""}) as web:
        yield web


def _storage(**more: float) -> Storage:
    return Storage(StorageConfig(**{"retries": 3, "retry_wait_s": 0.01, "retry_for_s": 5, **more}))


@pytest.mark.parametrize(
    ("path", "expected", "said", "requests"),
    [
        *((f"status/{code}/x", AccessDeniedError, "access denied", 1) for code in (401, 403, 407, 451, 511)),
        ("status/404/x", ObjectNotFoundError, "not found", 1),
        ("status/410/x", ObjectNotFoundError, "gone", 1),
        *(
            (f"status/{code}/x", StorageError, "refuses", 1)
            for code in (400, 402, 405, 406, 409, 411, 412 + 1, 414, 415, 417, 418, 421, 422, 426, 431, 501, 505)
        ),
        *((f"status/{code}/x", StorageError, "refuses", 1) for code in (498, 600, 999)),
        *((f"status/{code}/x", StorageError, "says not where", 1) for code in (300, 302, 305)),
        ("shifted/x", StorageError, "another range", 1),
        ("multipart/x", StorageError, "another range", 1),
        ("capped/x", StorageError, "a part of the range", 1),
        ("loop/x", StorageError, "circle", 10),
        ("ftp/x", StorageError, "not HTTP", 1),
        ("gzip/x", StorageError, "not encoded", 1),
        ("badlength/x", StorageError, "refuses", 1),
        ("short/x", TruncatedObjectError, "ended early", 2),
        *((f"status/{code}/x", ObjectUnavailableError, "tried 4 times", 4) for code in (408, 425, 500, 502, 503, 504)),
        *((f"status/{code}/x", ObjectUnavailableError, "tried 4 times", 4) for code in (520, 522, 529, 599)),
    ],
)
def test_an_answer_that_stays(
    web: WebFaults, path: str, expected: type[StorageError], said: str, requests: int
) -> None:
    before = web.requests(path)
    with pytest.raises(StorageError, match=said) as caught:
        _storage().read(web.url(path) + SECRET, 0, 1000)
    assert type(caught.value) is expected
    assert web.requests(path) - before == requests
    again = pickle.loads(pickle.dumps(caught.value))
    for error in (caught.value, again):
        assert "CANARY" not in f"{error} {error!r} {error.uri}"
        assert web.url(path) in str(error)


@pytest.mark.parametrize(
    ("path", "requests"),
    [
        ("cut/1/a.jpg", 2),
        ("drop/1/a.jpg", 2),
        ("whole/a.jpg", 1),
        *((f"then/{code}/2/a.jpg", 3) for code in (408, 425, 500, 502, 503, 504)),
        ("then/429/2/a.jpg", 3),
        ("wait/429/0/2/a.jpg", 3),
        ("wait/503/0/2/a.jpg", 3),
    ],
)
def test_an_answer_that_passes(web: WebFaults, path: str, requests: int) -> None:
    before = web.requests(path)
    assert _storage().read(web.url(path), 0, len(BODY) + 1) == BODY
    assert web.requests(path) - before == requests


def test_retry_after_is_waited_for(web: WebFaults) -> None:
    path = "wait/429/1/1/a.jpg"
    assert _storage(retries=0).read(web.url(path)) == BODY
    first, second = web.times[path]
    assert 1 <= second - first < 2.5


def test_a_server_that_ignores_ranges_is_no_source_of_wrong_bytes(web: WebFaults) -> None:
    storage = _storage()
    assert storage.read(web.url("whole/a.jpg"), 0, 10) == BODY[:10]
    with pytest.raises(StorageError, match="ignores ranges"):
        storage.read(web.url("whole/a.jpg"), 100, 10)
    assert storage.read(web.url("a.jpg"), 100, 10) == BODY[100:110]
    assert storage.read(web.url("empty.jpg"), 0, 10) == b""


@pytest.mark.parametrize("path", ["endless/x", "bomb/x"])
def test_no_more_is_kept_than_was_asked_for(web: WebFaults, path: str) -> None:
    before = psutil.Process().memory_info().rss
    assert _storage().read(web.url(path), 0, 10**6) == bytes(10**6)
    assert psutil.Process().memory_info().rss - before < 10**8
    assert web.requests(path) == 1


def test_a_stalled_body_is_given_up(web: WebFaults) -> None:
    storage = _storage(retries=1, timeout_s=0.3)
    with pytest.raises(ObjectUnavailableError, match="tried 2 times"):
        storage.read(web.url("stall/x") + SECRET)


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("http://127.0.0.1:1/x", "tried 2 times"),
        ("http://no-such-host.invalid/x", "no such host|tried 2 times"),  # EAI_AGAIN where no resolver answers
        ("http://[bad/x", "not an address"),
        ("http:///x", "not an address"),
        ("htp://host/x", "not an address"),
        ("https://127.0.0.1:{port}/x", "TLS"),
    ],
)
def test_an_address_that_leads_nowhere(web: WebFaults, uri: str, said: str) -> None:
    uri = uri.format(port=web.url("").rpartition(":")[2].rstrip("/")) if "{" in uri else uri
    with pytest.raises(StorageError, match=said) as caught:
        _storage(retries=1).read(uri + SECRET)
    assert "CANARY" not in str(caught.value)


def test_size_and_existence_tell_a_refusal_from_nothing(web: WebFaults) -> None:
    storage = _storage()
    assert storage.size(web.url("a.jpg")) == len(BODY)
    assert storage.exists(web.url("a.jpg"))
    assert not storage.exists(web.url("status/404/y"))
    with pytest.raises(AccessDeniedError, match="403"):
        storage.size(web.url("status/403/y"))
    with pytest.raises(AccessDeniedError):
        storage.exists(web.url("status/403/y"))
    with pytest.raises(StorageError, match="tried 4 times"):
        storage.exists(web.url("status/500/y"))
    with pytest.raises(ObjectNotFoundError):
        storage.size(web.url("status/404/y"))
    with pytest.raises(ObjectUnavailableError):  # a Parquet file or tar that holds images
        storage.open(web.url("status/500/z"))


def test_a_certificate_that_nobody_vouches_for_costs_one_try(web: WebFaults, tmp_path: Path) -> None:
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = dt.datetime.now(dt.UTC)
    builder = x509.CertificateBuilder(name, name, key.public_key(), 1, now, now + dt.timedelta(days=1))
    files = tmp_path / "cert.pem", tmp_path / "key.pem"
    files[0].write_bytes(builder.sign(key, hashes.SHA256()).public_bytes(Encoding.PEM))
    files[1].write_bytes(key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*files)
    with WebFaults({"a.jpg": BODY}, context) as secure:
        with pytest.raises(StorageError, match="certificate is not valid") as caught:
            _storage().read(secure.url("a.jpg").replace("http://", "https://") + SECRET)
        assert type(caught.value) is StorageError
        assert secure.requests("a.jpg") == 0
