"""The 24 faults of a store, on the way of whole runs: the same release in the end, or the row ends with the right reason."""

from __future__ import annotations

import hashlib
import io
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, NamedTuple

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from faultproxy import FaultProxy
from pipeline_fixtures import Silent, image_bytes, job, release, write_dataset
from releases import release_of
from servers import S3Server

from anon_batch.config import StorageConfig
from anon_batch.errors import (
    AnonBatchError,
    ObjectUnavailableError,
    RunStoppedError,
    StorageError,
    TransientStorageError,
)
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.release import Release
from anon_batch.manifest.compare_columns import READ_ROWS
from anon_batch.pipeline import rounds
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.release.verify import verify
from anon_batch.storage import Storage, s3

IDS = [f"{folder}/{number}.png" for number in range(4) for folder in ("a", "b")]
BYTES = len(image_bytes(6))
VICTIM = r"/src/a/3\.png"  # image 6 of IDS
OUTPUT = r"/out/images/a/3\.png"
COMMIT = r"/out/provenance/"
LEDGER = r"out-ledger/"


class Place(NamedTuple):
    """A bucket with the dataset, the proxy before it, and the release of an undisturbed run."""

    server: S3Server
    base: str
    folder: Path
    proxy: FaultProxy
    expected: dict[str, Any]
    is_moto: bool

    @property
    def sends_checksums(self) -> bool:
        """Whether the server is moto, which sends the CRC32 that came with an object, a whole range included."""
        return self.is_moto

    def storage(self, **more: Any) -> Storage:
        return Storage(self.server.config(**more))

    def faulty(self, **more: Any) -> Storage:
        options = {"s3://": {**self.server.options, "endpoint_url": self.proxy.url}}
        return Storage(self.server.config(options=options, **more))

    def open(self, output: str = "out", **more: Any) -> Run:
        """Open a run whose storage is behind the proxy."""
        keys = {
            "storage.options": {"s3://": {**self.server.options, "endpoint_url": self.proxy.url}},
            "storage.retries": 3,
            "storage.retry_wait_s": 0.02,
            "storage.retry_for_s": 5,
            "storage.timeout_s": 0.5,
            "gates.failed": 1.0,
            "gates.withheld": 1.0,
            **more,
        }
        return open_run(job(self.base, output, **keys), ())[0]

    def run(self, **more: Any) -> Run:
        """Run the job to its end as the driver does, without Ray."""
        run = self.open(**more)
        processor = ShardProcessor(run)
        rounds.drive(run, Silent(), lambda specs: map(processor.process, specs))
        finalize(run)
        return run

    def release(self) -> dict[str, Any]:
        return release_of(self.storage(), f"{self.base}/out")

    def reasons(self) -> dict[str, str]:
        """Return image id -> reason of the rows without an output."""
        self.check_whole()
        return {row["image_id"]: row["reason"] for row in self.release()["rows"] if row["reason"] is not None}

    def check_whole(self) -> None:
        """Verify the release behind the proxy's back."""
        storage = self.storage()
        *_, last = verify(Release(storage, f"{self.base}/out"), Ledger(storage, f"{self.base}/out-ledger"))
        assert last.faults == []


@pytest.fixture(scope="module", params=["moto", pytest.param("ceph", marks=pytest.mark.ceph)])
def server(request: pytest.FixtureRequest) -> S3Server:
    value = request.getfixturevalue(request.param)
    assert isinstance(value, S3Server)
    return value


@pytest.fixture(scope="module")
def local(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """The dataset on a local disk, and the release of an undisturbed run."""
    base = tmp_path_factory.mktemp("local")
    write_dataset(str(base), IDS)
    release(job(str(base)))
    return base, release_of(Storage(), str(base / "out"))


@pytest.fixture
def place(
    request: pytest.FixtureRequest,
    server: S3Server,
    local: tuple[Path, dict[str, Any]],
    monkeypatch: pytest.MonkeyPatch,
) -> Iterator[Place]:
    monkeypatch.setattr(rounds, "_PAUSE_AFTER_ERRORS_S", 0)
    folder, expected = local
    base, storage = f"s3://{server.new_bucket()}", Storage(server.config())
    for name in ("key", *(f"src/{image_id}" for image_id in IDS)):
        storage.put(f"{base}/{name}", (folder / name).read_bytes())
    _put_manifest(storage, base, folder)
    with FaultProxy(server.endpoint_url) as proxy:
        yield Place(server, base, folder, proxy, expected, "moto" in request.node.name)


def _put_manifest(storage: Storage, base: str, folder: Path, *, digests: bool = False) -> None:
    table = pq.read_table(folder / "m.parquet")
    table = table.set_column(1, "uri", pa.array([f"{base}/src/{image_id}" for image_id in IDS]))
    if digests:
        found = [hashlib.sha256((folder / "src" / image_id).read_bytes()).hexdigest() for image_id in IDS]
        table = table.append_column("sha256", pa.array(found))
    buffer = io.BytesIO()
    pq.write_table(table, buffer)
    storage.put(f"{base}/m.parquet", buffer.getvalue())


Rule = Mapping[str, Any]
INTERNAL = {"fault": "error", "status": 500, "code": "InternalError"}


def _get(**rule: Any) -> Rule:
    return {"method": "GET", "key": VICTIM, **rule}


def _put(**rule: Any) -> Rule:
    return {"method": "PUT", "key": OUTPUT, **rule}


QUICK = ("1 SlowDown three times on PUT", "7 ", "17 lost answer to the commit", "3 first", "GET 500", "22 PUT")


def _lanes(scenarios: Mapping[str, Any]) -> list[Any]:
    """Return the scenarios as parameters; all but a few are for the full lane."""
    return [
        pytest.param(*(value if isinstance(value, tuple) else (value,)), id=name, marks=_lane(name))
        for name, value in scenarios.items()
    ]


def _lane(name: str) -> list[pytest.MarkDecorator]:
    return [] if name.startswith(QUICK) else [pytest.mark.full]


PASSING: dict[str, Rule] = {
    "1 SlowDown three times on PUT": _put(fault="slowdown", times=3),
    "1 SlowDown three times on the commit": _put(fault="slowdown", times=3, key=COMMIT),
    "2 SlowDown three times on GET": _get(fault="slowdown", times=3),
    "4 500 twice on GET": _get(**INTERNAL, times=2),
    "5 500 twice on PUT": _put(**INTERNAL, times=2),
    "5 500 twice on the commit": _put(**INTERNAL, times=2, key=COMMIT),
    "6 reset before the body of a GET": _get(fault="reset", at=0),
    "6 reset before the body of a PUT": _put(fault="reset", at=0, on="request"),
    "7 reset in the body": _get(fault="reset", at=BYTES // 2),
    "8 reset before the last byte": _get(fault="reset", at=BYTES - 1),
    "9 reset in an upload": _put(fault="reset", at=100, on="request", times=2),
    "9 reset in the upload of the commit": _put(fault="reset", at=100, on="request", key=COMMIT),
    "10 body cut short with a clean close": _get(fault="truncate", at=BYTES // 2, times=2),
    "11 stall past the read timeout": _get(fault="stall", at=BYTES // 2, delay_s=1.5),
    "12 stall of an upload": _put(fault="stall", at=100, on="request", delay_s=1.5),
    "13 no answer at all to a GET": _get(fault="blackhole", delay_s=1.5),
    "13 no answer at all to a PUT": _put(fault="blackhole", delay_s=1.5),
    "15 one flipped byte where the manifest has a sha256": _get(fault="corrupt", at=BYTES // 2),
    "16 lost answer to a plain PUT": _put(fault="lost_ack"),
    "17 lost answer to the commit": _put(fault="lost_ack", key=COMMIT),
    "17 lost answer to the marker of an attempt": _put(fault="lost_ack", key=LEDGER + "attempts/"),
    "17 lost answer to the plan": _put(fault="lost_ack", key=LEDGER + "plan"),
    "20 LIST fails twice": {"fault": "slowdown", "method": "GET", "key": "list-type=2", "times": 2},
    "24 latency on every request": {"fault": "latency", "delay_s": 0.05, "times": None},
}


@pytest.mark.parametrize("fault", _lanes(PASSING))
def test_a_fault_that_passes_leaves_no_trace(place: Place, fault: Rule) -> None:
    if fault["fault"] == "corrupt":
        _put_manifest(place.storage(), place.base, place.folder, digests=True)
    place.proxy.add(**fault)
    place.run()
    assert place.proxy.hits() >= (fault.get("times", 1) or 10)
    place.check_whole()
    assert place.release() == place.expected


def test_3_a_few_refusals_of_every_request_leave_no_trace(place: Place) -> None:
    place.proxy.add("slowdown", times=6)
    place.run()
    assert place.proxy.hits("slowdown") == 6
    assert place.release() == place.expected


@pytest.mark.full
def test_3_a_storm_on_every_request_leaves_no_trace(place: Place) -> None:
    place.proxy.add("slowdown", times=None)
    end = threading.Timer(30, place.proxy.clear)
    end.start()
    place.run(**{"storage.retry_for_s": 60})
    end.join()
    assert place.proxy.hits("slowdown") > 5
    assert place.release() == place.expected


@pytest.mark.full
def test_14_one_flipped_byte_where_the_manifest_has_no_digest(place: Place) -> None:
    """moto sends a checksum. Ceph sends none, but a PNG carries checksums of its own; a JPEG could change without a trace."""
    place.proxy.add("corrupt", method="GET", key=VICTIM, at=BYTES // 2)
    place.run()
    assert place.reasons() == ({} if place.sends_checksums else {"a/3.png": "decode"})


# name -> rule, requests that it may cost, reason on moto, reason on Ceph
LONELY: dict[str, tuple[Rule, int, str]] = {
    "GET 500": (_get(**INTERNAL), 4, "source_unreadable"),
    "GET reset": (_get(fault="reset", at=100), 4, "source_unreadable"),
    "GET truncated": (_get(fault="truncate", at=100), 4, "source_truncated"),
    "GET corrupted": (_get(fault="corrupt", at=BYTES // 2), 2, "source_changed"),
    "GET AccessDenied": (_get(fault="error", status=403, code="AccessDenied"), 1, "source_denied"),
    "GET InvalidObjectState": (_get(fault="error", status=403, code="InvalidObjectState"), 1, "source_unreadable"),
    "GET KMS": (_get(fault="error", status=400, code="KMS.DisabledException"), 1, "source_denied"),
    "GET NoSuchKey": (_get(fault="error", status=404, code="NoSuchKey"), 1, "source_not_found"),
    "GET PermanentRedirect": (_get(fault="error", status=301, code="PermanentRedirect"), 2, "source_unreadable"),
    "22 PUT AccessDenied": (_put(fault="error", status=403, code="AccessDenied"), 1, "write"),
    "PUT 500": (_put(**INTERNAL), 4, "write"),
    "PUT KeyTooLongError": (_put(fault="error", status=400, code="KeyTooLongError"), 1, "write"),
}


@pytest.mark.parametrize(("rule", "requests", "reason"), _lanes(LONELY))
def test_a_fault_of_one_object_that_stays_ends_its_row_alone(
    place: Place, rule: Rule, requests: int, reason: str
) -> None:
    if rule["fault"] == "corrupt":
        _put_manifest(place.storage(), place.base, place.folder, digests=True)
        if place.sends_checksums:
            requests, reason = 4, "source_unreadable"
    place.proxy.add(**{"times": None, **rule})
    place.run()
    assert place.reasons() == {"a/3.png": reason}
    if rule["method"] == "PUT" and rule.get("code") == INTERNAL["code"]:
        assert place.proxy.hits() >= requests  # where nothing else is written meanwhile, it is tried for `retry_for_s`
    else:  # botocore may ask for the region
        assert 0 <= requests - place.proxy.hits() <= (rule.get("code") == "PermanentRedirect")
    reads = Counter(target for method, target, _ in place.proxy.log if method == "GET" and "/src/" in target)
    neighbours = sum(count for target, count in reads.items() if not target.endswith("/a/3.png"))
    compared = READ_ROWS if rule["fault"] == "corrupt" else 0  # before the run, with the manifest's digests
    # One of the others is read for its first byte, to see who is at fault.
    assert neighbours <= len(IDS) + compared, "neighbours were read again"
    rest = {key: value for key, value in place.expected["images"].items() if key != "images/a/3.png"}
    assert place.release()["images"] == rest


STAYING: dict[str, tuple[Rule, type[AnonBatchError], int, str]] = {
    "3 first writes": ({"fault": "slowdown", "method": "PUT"}, TransientStorageError, 75, "send fewer requests"),
    "3 sources": ({"fault": "slowdown", "method": "GET", "key": "/src/"}, TransientStorageError, 75, "send fewer"),
    "3 images": ({"fault": "slowdown", "method": "PUT", "key": "/images/"}, TransientStorageError, 75, "send fewer"),
    "3 commits": ({"fault": "slowdown", "method": "PUT", "key": COMMIT}, TransientStorageError, 75, "send fewer"),
    "3 the end": ({"fault": "slowdown", "method": "PUT", "key": "stats.json"}, TransientStorageError, 75, "send fewer"),
    "20 LIST": ({"fault": "slowdown", "method": "GET", "key": "list-type"}, TransientStorageError, 75, "send fewer"),
    "5 all PUT": ({**INTERNAL, "method": "PUT", "key": "/images/"}, TransientStorageError, 75, "wait until"),
    "21 expired": (
        {"fault": "error", "status": 400, "code": "ExpiredToken", "method": "GET", "key": "/src/"},
        RunStoppedError,
        2,
        "renew them",
    ),
    "22 commits denied": (
        {"fault": "error", "status": 403, "code": "AccessDenied", "method": "PUT", "key": COMMIT},
        RunStoppedError,
        2,
        "check the credentials and rights",
    ),
    "23 bucket gone": (
        {"fault": "error", "status": 404, "code": "NoSuchBucket", "method": "PUT"},
        StorageError,
        2,
        "no such bucket",
    ),
}


@pytest.mark.parametrize(("rule", "kind", "code", "said"), _lanes(STAYING))
def test_a_store_that_fails_as_a_whole_ends_the_run_with_advice_and_it_resumes(
    place: Place, rule: Rule, kind: type[AnonBatchError], code: int, said: str
) -> None:
    place.proxy.add(**{"times": None, **rule})
    with pytest.raises(kind, match=said) as caught:
        place.run(**{"storage.retry_for_s": 0.3, "storage.retries": 1})
    assert int(caught.value.exit_code) == code
    assert "[Errno" not in str(caught.value)
    place.proxy.clear()
    place.run()
    assert place.release() == place.expected


@pytest.mark.full
def test_13_a_store_that_answers_nobody_any_more_fails_no_row(place: Place) -> None:
    run = place.open(**{"storage.retry_for_s": 0.3, "storage.retries": 1})
    processor = ShardProcessor(run)
    place.proxy.add("blackhole", method="GET", delay_s=1.0, times=None)
    with pytest.raises(TransientStorageError, match="wait until"):
        rounds.drive(run, Silent(), lambda specs: map(processor.process, specs))
    place.proxy.clear()
    place.run()
    assert place.release() == place.expected


@pytest.mark.full
def test_23_a_bucket_of_sources_that_disappears_fails_their_rows(place: Place) -> None:
    place.proxy.add("error", status=404, code="NoSuchBucket", method="GET", key="/src/b/", times=None)
    place.run()
    assert place.reasons() == dict.fromkeys((name for name in IDS if name.startswith("b/")), "source_not_found")


def test_21_credentials_that_somebody_renewed_are_loaded_again(
    place: Place, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    keys = tmp_path / "credentials"
    keys.write_text(
        f"[default]\naws_access_key_id = {place.server.access_key}\naws_secret_access_key = {place.server.secret_key}\n"
    )
    monkeypatch.setenv("AWS_SHARED_CREDENTIALS_FILE", str(keys))
    storage = Storage(place.server.config(options={"s3://": {"endpoint_url": place.proxy.url}}))
    assert storage.size(f"{place.base}/src/a/3.png") == BYTES
    place.proxy.add("error", status=400, code="ExpiredToken", method="GET", times=1)
    assert len(storage.read(f"{place.base}/src/a/3.png")) == BYTES
    place.proxy.add("error", status=400, code="ExpiredToken", method="GET", times=None)
    with pytest.raises(StorageError, match="renew them"):
        storage.read(f"{place.base}/src/a/3.png")


@pytest.fixture
def small_parts(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """An object of three parts, of the least size that stores take."""
    monkeypatch.setattr(s3, "MULTIPART_BYTES", 10 * 2**20)
    monkeypatch.setattr(s3, "_PART_BYTES", 5 * 2**20)
    return bytes(range(256)) * (11 * 2**12)


@pytest.mark.full
@pytest.mark.parametrize(
    "rule",
    [
        {"fault": "lost_ack", "method": "POST", "key": "uploadId"},  # 18
        {"fault": "slowdown", "method": "PUT", "key": "partNumber=2", "times": 3},
        {"fault": "reset", "method": "PUT", "key": "partNumber=2", "on": "request", "at": 2**20},
        {"fault": "slowdown", "method": "POST", "key": "uploads", "times": 2},
        {"fault": "slowdown", "method": "POST", "key": "uploadId", "times": 2},
    ],
    ids=["18 lost answer to the end", "a part is throttled", "a part is reset", "the begin", "the end"],
)
def test_faults_of_an_upload_in_parts_that_pass(place: Place, small_parts: bytes, rule: Rule) -> None:
    uri = f"{place.base}/large"
    place.proxy.add(**rule)
    place.faulty().put(uri, small_parts)
    assert place.storage().read(uri) == small_parts
    puts = [target for method, target, _ in place.proxy.log if method == "PUT" and "partNumber=3" in target]
    assert len(puts) == (2 if rule["fault"] == "lost_ack" and place.server.access_key and _is_gone(place) else 1)
    assert _uploads(place) == []


def _is_gone(place: Place) -> bool:
    """Return whether the server forgot the upload whose end it had confirmed."""
    return [status for method, target, status in place.proxy.log if method == "POST" and "uploadId" in target].count(
        404
    ) == 1


@pytest.mark.full
@pytest.mark.parametrize("code", ["InternalError", "AccessDenied"])
def test_19_a_part_that_fails_for_good_leaves_nothing(place: Place, small_parts: bytes, code: str) -> None:
    uri, status = f"{place.base}/large", 500 if code == "InternalError" else 403
    place.storage().put(uri, b"old")
    place.proxy.add("error", status=status, code=code, method="PUT", key="partNumber=2", times=None)
    with pytest.raises(StorageError) as caught:
        place.faulty(retry_for_s=1).put(uri, small_parts)
    assert isinstance(caught.value, ObjectUnavailableError) == (status == 500)
    assert place.storage().read(uri) == b"old"
    assert _uploads(place) == []


def _uploads(place: Place) -> list[Any]:
    with place.server.client() as client:
        found: list[Any] = client.list_multipart_uploads(Bucket=place.base[5:]).get("Uploads", [])
    return found


@pytest.mark.full
@pytest.mark.parametrize("times", [2, None])
def test_20_a_listing_that_fails_in_the_middle_is_whole_or_an_error(place: Place, times: int | None) -> None:
    keys = [f"{number:04d}" for number in range(1_010)]
    with ThreadPoolExecutor(16) as pool:
        list(pool.map(lambda key: place.storage().put(f"{place.base}/p/{key}", b"1"), keys))
    place.proxy.add("slowdown", method="GET", key="continuation-token", times=times)
    listing = place.faulty().list(f"{place.base}/p")
    if times is None:
        with pytest.raises(TransientStorageError):
            list(listing)
    else:
        assert [info.key for info in listing] == keys


@pytest.mark.full
def test_two_minutes_of_throttling_are_survived_by_every_call_with_default_settings(
    place: Place, small_parts: bytes
) -> None:
    options = {"s3://": {**place.server.options, "endpoint_url": place.proxy.url}}
    storage, base = Storage(StorageConfig(options=options)), place.base
    calls: dict[str, Callable[[], object]] = {
        "read": lambda: len(storage.read(f"{base}/src/a/3.png")),
        "size": lambda: storage.size(f"{base}/src/a/3.png"),
        "list": lambda: [info.key for info in storage.list(f"{base}/src/b")],
        "put": lambda: storage.put(f"{base}/new/put", b"1"),
        "create": lambda: storage.put_if_absent(f"{base}/new/created", b"2"),
        "parts": lambda: storage.put(f"{base}/new/large", small_parts),
    }
    place.proxy.add("slowdown", times=None)
    end = threading.Timer(120, place.proxy.clear)
    end.start()
    with ThreadPoolExecutor(len(calls)) as pool:
        found = dict(zip(calls, pool.map(lambda call: call(), calls.values()), strict=True))
    end.join()
    assert place.proxy.hits("slowdown") >= 6 * 12
    assert (found["read"], found["size"], found["list"]) == (BYTES, BYTES, [f"{number}.png" for number in range(4)])
    stored = {info.key: info.size_bytes for info in place.storage().list(f"{base}/new")}
    assert stored == {"put": 1, "created": 1, "large": len(small_parts)}
