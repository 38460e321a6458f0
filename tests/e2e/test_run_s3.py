"""The whole command line on S3: manifest, run, status and verify with AWS_* variables alone; the release equals a local one."""

from __future__ import annotations

import functools
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from faultproxy import FaultProxy
from releases import RUN_KEY, make_images, release_of, run_cli
from servers import S3Server

from anon_batch.storage import Storage

IMAGES = 12


@pytest.fixture(scope="module")
def images(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("images")
    make_images(folder, IMAGES)
    (folder / "class0" / "0002.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")
    return folder


@pytest.fixture(scope="module")
def truth(images: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One face for each image, for the detector `manifest`."""
    path = tmp_path_factory.mktemp("truth") / "faces.json"
    names = sorted(str(p.relative_to(images)) for p in images.rglob("*.png"))
    path.write_text(json.dumps({name: [[8, 8, 24, 24]] for name in names}))
    return path


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("key") / "run.key"
    path.write_bytes(RUN_KEY)
    return path


@pytest.fixture(scope="module", params=["moto", pytest.param("ceph", marks=pytest.mark.ceph)])
def server(request: pytest.FixtureRequest) -> S3Server:
    value = request.getfixturevalue(request.param)
    assert isinstance(value, S3Server)
    return value


@pytest.fixture(scope="module")
def bucket(server: S3Server, images: Path, truth: Path) -> str:
    """Holds the images and the manifest of them that the command line made."""
    bucket, storage = f"s3://{server.new_bucket()}", Storage(server.config())
    for path in images.rglob("*.png"):
        storage.put(f"{bucket}/photos/{path.relative_to(images)}", path.read_bytes())
    _manifest(f"{bucket}/photos", f"{bucket}/m.parquet", truth, server.env)
    return bucket


def _manifest(source: str, out: str, truth: Path, env: dict[str, str] | None = None) -> None:
    done = run_cli("manifest", source, "-o", out, "--ground-truth", str(truth), "--json", env=env)
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["images_count"] == IMAGES


def _run(manifest: str, output: str, key: Path, layout: str, *more: str, env: dict[str, str] | None = None) -> str:
    job = (
        f"--manifest {manifest} --output {output} --detector manifest --method solid --set write.layout={layout} --json"
    )
    engine = f"--set engine.workers=2 --set engine.shard_rows=5 --set run_key_file={key}"
    done = run_cli("run", *job.split(), *engine.split(), *more, env=env)
    assert done.returncode == 10, done.stderr
    statuses = json.loads(done.stdout)["statuses"]
    assert statuses == {"anonymized": IMAGES - 1, "clean": 0, "withheld": 0, "failed": 1}
    return done.stderr


@pytest.fixture(scope="module")
def local_release(
    images: Path, truth: Path, key: Path, tmp_path_factory: pytest.TempPathFactory, ray_address: str
) -> Callable[[str], dict[str, Any]]:
    """The release of the same images on a local disk, by layout; made once."""
    folder = tmp_path_factory.mktemp("local")
    _manifest(str(images), str(folder / "m.parquet"), truth)

    @functools.cache
    def make(layout: str) -> dict[str, Any]:
        allow = f"sources.allow=[{images}]"
        _run(str(folder / "m.parquet"), str(folder / layout), key, layout, "--address", ray_address, "--set", allow)
        return release_of(Storage(), str(folder / layout))

    return make


@pytest.mark.parametrize("layout", ["files", pytest.param("webdataset", marks=pytest.mark.full)])
def test_the_release_on_s3_equals_the_local_one(
    server: S3Server, bucket: str, key: Path, layout: str, local_release: Callable[[str], dict[str, Any]]
) -> None:
    output, storage = f"{bucket}/{layout}", Storage(server.config())
    _run(f"{bucket}/m.parquet", output, key, layout, env=server.env)
    assert release_of(storage, output) == local_release(layout)
    assert len(list(storage.list(f"{output}-ledger/audit"))) == 3

    status = run_cli("status", output, "--json", env=server.env)
    assert status.returncode == 0, status.stderr
    assert json.loads(status.stdout)["state"] == "finished"
    verdict = run_cli("verify", output, env=server.env)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr

    victim = next(info.key for info in storage.list(output) if info.key.startswith(("images/", "shards/")))
    storage.put(f"{output}/{victim}", storage.read(f"{output}/{victim}")[:-1] + b"?")
    verdict = run_cli("verify", output, env=server.env)
    assert verdict.returncode == 3, verdict.stdout + verdict.stderr
    assert victim in verdict.stdout + verdict.stderr


@pytest.mark.full
def test_faults_of_the_store_leave_no_trace_in_the_release(
    server: S3Server, bucket: str, key: Path, local_release: Callable[[str], dict[str, Any]]
) -> None:
    output = f"{bucket}/disturbed"
    with FaultProxy(server.endpoint_url) as proxy:
        proxy.add("lost_ack", method="PUT", key=r"disturbed/provenance/", times=1)
        proxy.add("slowdown", method="PUT", key=r"disturbed/images/", times=4)
        proxy.add("reset", method="GET", key=r"photos/", at=2_000, times=3)
        proxy.add("truncate", method="GET", key=r"photos/", at=2_000, times=2)
        proxy.add("reset", method="PUT", key=r"disturbed/images/", on="request", at=100, times=2)
        proxy.add("lost_ack", method="PUT", key=r"disturbed-ledger/audit/", times=1)
        proxy.add("latency", delay_s=0.05, times=None, probability=0.3)
        env = {**server.env, "AWS_ENDPOINT_URL": proxy.url}
        _run(f"{bucket}/m.parquet", output, key, "files", "--set", "storage.retry_wait_s=0.05", env=env)
        assert proxy.hits("lost_ack") == 2
        assert proxy.hits("slowdown") == 4
        assert proxy.hits("reset") == 5
        assert proxy.hits("truncate") == 2
        assert proxy.hits("latency") > 5
        [lost] = [key for _, key, what in proxy.log if what == "lost_ack" and "/provenance/" in key]
        puts = [key for method, key, _ in proxy.log if method == "PUT"]
        assert puts.count(lost) == 2, "the commit whose answer was lost was not tried again"
    assert release_of(Storage(server.config()), output) == local_release("files")
    verdict = run_cli("verify", output, env=server.env)
    assert verdict.returncode == 0, verdict.stdout + verdict.stderr


@pytest.mark.ceph
def test_wrong_credentials_end_the_run_at_once(ceph: S3Server, tmp_path: Path) -> None:
    bucket = f"s3://{ceph.new_bucket()}"
    Storage(ceph.config()).put(f"{bucket}/m.parquet", b"anything")
    env = {**ceph.env, "AWS_SECRET_ACCESS_KEY": "wrong"}
    for command in (
        ("run", "--manifest", f"{bucket}/m.parquet", "--output", f"{bucket}/out"),
        ("manifest", bucket, "-o", str(tmp_path / "m.parquet")),
        ("status", f"{bucket}/out"),
        ("verify", f"{bucket}/out"),
    ):
        done = run_cli(*command, env=env, timeout_s=60)
        assert done.returncode == 2, done.stdout + done.stderr
        assert "credentials" in done.stderr
        assert bucket in done.stderr
        assert "Traceback" not in done.stderr
