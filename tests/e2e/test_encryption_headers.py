"""What the requests of real commands ask S3 to encrypt by: KMS never without a key, and nothing if the job says nothing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from faultproxy import FaultProxy
from releases import make_images, make_manifest, run_cli
from servers import S3Server

from anon_batch.storage import Storage, s3

ROOT = Path(__file__).parents[2]
ALGORITHM, KEY = "x-amz-server-side-encryption", "x-amz-server-side-encryption-aws-kms-key-id"
_PLAIN: tuple[str | None, str | None] = (None, None)


@pytest.fixture
def proxy(moto: S3Server) -> Iterator[FaultProxy]:
    with FaultProxy(moto.endpoint_url) as proxy:
        yield proxy


def _asked(proxy: FaultProxy) -> dict[str, set[tuple[str | None, str | None]]]:
    """Return bucket -> what the requests that begin an object there asked for; a part inherits from its upload."""
    found: dict[str, set[tuple[str | None, str | None]]] = {}
    for method, target, headers in proxy.requests:
        path, _, query = target.partition("?")
        begins = (method == "PUT" and "partNumber" not in query) or (method == "POST" and query.startswith("uploads"))
        asked = (headers.get(ALGORITHM), headers.get(KEY))
        assert begins or asked == _PLAIN, f"{method} {target} would be refused"
        if begins:
            found.setdefault(path.split("/")[1], set()).add(asked)
    return found


def _kms(key: str) -> dict[str, Any]:
    return {"s3_additional_kwargs": {"ServerSideEncryption": "aws:kms", "SSEKMSKeyId": key}}


def _nothing(access: dict[str, str], release: str, ledger: str) -> dict[str, Any]:
    return {"options": {"s3://": access}}


def _one_key(access: dict[str, str], release: str, ledger: str) -> dict[str, Any]:
    return {"options": {"s3://": access}, "sse": "aws:kms", "sse_kms_key_id": "one"}


def _two_keys(access: dict[str, str], release: str, ledger: str) -> dict[str, Any]:
    return {
        "options": {
            f"s3://{release}/": {**access, **_kms("of-the-release")},
            f"s3://{ledger}/": {**access, **_kms("of-the-ledger")},
        }
    }


@pytest.mark.parametrize(
    ("settings", "in_release", "in_ledger"),
    [
        (_nothing, _PLAIN, _PLAIN),
        pytest.param(_one_key, ("aws:kms", "one"), ("aws:kms", "one"), marks=pytest.mark.full),
        (_two_keys, ("aws:kms", "of-the-release"), ("aws:kms", "of-the-ledger")),
    ],
    ids=["default", "one key", "two keys"],
)
def test_a_run_asks_for_the_keys_of_its_job_alone(
    moto: S3Server,
    proxy: FaultProxy,
    tmp_path: Path,
    ray_address: str,
    settings: Callable[[dict[str, str], str, str], dict[str, Any]],
    in_release: tuple[str | None, str | None],
    in_ledger: tuple[str | None, str | None],
) -> None:
    make_images(tmp_path / "images", 3)
    make_manifest(tmp_path / "images", str(tmp_path / "m.parquet"))
    release, ledger = moto.new_bucket(), moto.new_bucket()
    storage = settings({**moto.options, "endpoint_url": proxy.url}, release, ledger)
    job = {
        "manifest": str(tmp_path / "m.parquet"),
        "output": f"s3://{release}/set",
        "ledger": f"s3://{ledger}/set",
        "detect": {"detectors": ["manifest"]},
        "anonymize": {"face": {"method": "solid"}},
        "engine": {"workers": 1},
        "storage": storage,
    }
    (tmp_path / "job.yaml").write_text(yaml.safe_dump(job))
    done = run_cli("run", str(tmp_path / "job.yaml"), "--address", ray_address)
    assert done.returncode == 0, done.stderr
    assert _asked(proxy) == {release: {in_release}, ledger: {in_ledger}}
    assert sum(f"/{ledger}/" in target for method, target, _ in proxy.requests if method == "PUT") > 2


@pytest.mark.parametrize("settings", [_nothing, _one_key, _two_keys], ids=["default", "one key", "two keys"])
def test_an_object_in_parts_asks_once_and_for_the_same(
    moto: S3Server,
    proxy: FaultProxy,
    monkeypatch: pytest.MonkeyPatch,
    settings: Callable[[dict[str, str], str, str], dict[str, Any]],
) -> None:
    monkeypatch.setattr(s3, "MULTIPART_BYTES", 12 * 2**20)
    monkeypatch.setattr(s3, "_PART_BYTES", 6 * 2**20)
    release, ledger = moto.new_bucket(), moto.new_bucket()
    config = moto.config(**settings({**moto.options, "endpoint_url": proxy.url}, release, ledger))
    storage = Storage(config)
    for bucket in (release, ledger):
        storage.put(f"s3://{bucket}/large", bytes(13 * 2**20))
    assert sum("partNumber" in target for _, target, _ in proxy.requests) == 6
    asked = _asked(proxy)
    assert set(asked) == {release, ledger}
    for bucket, [(algorithm, key)] in asked.items():
        assert (algorithm is None) == (key is None), bucket
        assert (algorithm is None) == (settings is _nothing)


@pytest.mark.parametrize("path", sorted((ROOT / "jobs").rglob("*.yaml")), ids=lambda path: path.name)
def test_no_shipped_job_asks_for_an_encryption(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert "sse" not in (document.get("storage") or {}), "the buckets' defaults decide"
