"""What buckets still hold of erased rows: it is listed, and deleted on request, and nothing else is."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import s3fs
from leaks import assert_public
from pipeline_fixtures import job, release, write_dataset
from servers import S3Server
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.errors import AnonBatchError

IDS = [f"folder/photo-{index}.png" for index in range(9)]
LAYOUTS = ["files", "webdataset", "parquet"]


def run_command(*args: object) -> tuple[int, Any]:
    done = CliRunner().invoke(app, [str(arg) for arg in args])
    if isinstance(done.exception, AnonBatchError):
        return int(done.exception.exit_code), str(done.exception)
    assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
    return done.exit_code, json.loads(done.stdout) if "--json" in args else done.output


@pytest.fixture
def server(moto: S3Server, monkeypatch: pytest.MonkeyPatch) -> Iterator[S3Server]:
    for name, value in moto.env.items():
        monkeypatch.setenv(name, value)
    s3fs.S3FileSystem.clear_instance_cache()
    yield moto
    s3fs.S3FileSystem.clear_instance_cache()


def _bucket(server: S3Server, client: Any, *, locked: bool = False) -> str:
    name = server.new_bucket() + ("-locked" if locked else "")
    if locked:
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
    else:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def _old(client: Any, bucket: str) -> list[tuple[str, str]]:
    held = client.list_object_versions(Bucket=bucket)
    old = [own for own in held.get("Versions", ()) if not own["IsLatest"]] + held.get("DeleteMarkers", [])
    return sorted((own["Key"], own["VersionId"]) for own in old)


@pytest.mark.parametrize("layout", [LAYOUTS[0], *(pytest.param(own, marks=pytest.mark.full) for own in LAYOUTS[1:])])
def test_earlier_versions_are_listed_and_purged(server: S3Server, tmp_path: Path, layout: str) -> None:
    with server.client() as client:
        bucket = _bucket(server, client)
        base = f"s3://{bucket}/a"
        write_dataset(base, IDS)
        release(job(base, "o", write__layout=layout, engine__shard_rows=4))
        client.put_object(Bucket=bucket, Key="a/o-neighbour/x", Body=b"1")
        client.put_object(Bucket=bucket, Key="a/o-neighbour/x", Body=b"2")
        before = _old(client, bucket)
        command = ("erase", f"{base}/o", "--ids", IDS[1], "--yes", "--json")
        code, said = run_command(*command)
        assert (code, said["version"]) == (0, 2)
        keys = {own["key"] for place in said["places"] for own in place["versions"]}
        assert [place["known"] for place in said["places"]] == ["asked", "asked"]
        assert "provenance/0000000000-4.parquet" in keys
        assert any(key.startswith("audit/0000000000-4-") for key in keys)
        assert any(key.startswith("rows/") for key in keys)
        assert ("images/folder/photo-1.png" in keys) == (layout == "files")
        assert any(key.startswith("shards/0000000000-4-") for key in keys) == (layout != "files")
        assert not [key for key in keys if "0000000004-" in key or key in ("run.json", "stats.json", "plan.json")]
        listed = client.get_object(Bucket=bucket, Key="a/o-ledger/survivors.json")["Body"].read()
        assert sum(len(place["versions"]) for place in json.loads(listed)["places"]) == sum(
            len(place["versions"]) for place in said["places"]
        )
        assert_public(listed, [IDS[1], "photo-1"])
        code, said = run_command(*command[:-1])
        assert "--purge-versions deletes them" in said
        code, said = run_command(*command, "--purge-versions")
        assert (code, [place["versions"] for place in said["places"]]) == (0, [[], []])
        left = _old(client, bucket)
        assert {key for key, _ in left} & {f"a/o/{key}" for key in keys} == set()
        assert [own for own in before if own not in left and "run.json" not in own[0]] == [
            own for own in before if own[0].removeprefix("a/o/").removeprefix("a/o-ledger/") in keys
        ]
        assert [key for key, _ in left].count("a/o-neighbour/x") == 1, "others are not touched"
        for key, version in left:  # whatever is left holds nothing of the row
            if key.startswith(("a/o/", "a/o-ledger/")) and version not in {v for _, v in _markers(client, bucket)}:
                data = client.get_object(Bucket=bucket, Key=key, VersionId=version)["Body"].read()
                assert_public(data, [IDS[1], "photo-1"])
        assert run_command("verify", f"{base}/o")[0] == 0


def _markers(client: Any, bucket: str) -> list[tuple[str, str]]:
    held = client.list_object_versions(Bucket=bucket)
    return [(own["Key"], own["VersionId"]) for own in held.get("DeleteMarkers", ())]


def test_what_a_lock_keeps_is_named(server: S3Server) -> None:
    with server.client() as client:
        bucket = _bucket(server, client, locked=True)
        base = f"s3://{bucket}/a"
        write_dataset(base, IDS)
        release(job(base, "o"))
        until = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
        retention = {"Mode": "COMPLIANCE", "RetainUntilDate": until}
        client.put_object_retention(Bucket=bucket, Key="a/o/images/folder/photo-1.png", Retention=retention)
        code, said = run_command("erase", f"{base}/o", "--ids", IDS[1], "--yes", "--purge-versions")
        assert code == 2
        assert "images/folder/photo-1.png, version" in said
        assert "AccessDenied" in said
        assert "2 earlier versions of what was erased" in said, "the image and the mark of its deletion"
        keys = [own["Key"] for own in client.list_objects_v2(Bucket=bucket, Prefix="a/o/images/")["Contents"]]
        assert "a/o/images/folder/photo-1.png" not in keys


def test_other_places_cannot_be_asked(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    release(job(str(tmp_path)))
    code, said = run_command("erase", tmp_path / "out", "--ids", IDS[1], "--yes", "--json", "--purge-versions")
    assert (code, [place["known"] for place in said["places"]]) == (0, ["local disk", "local disk"])
    listed = json.loads((tmp_path / "out-ledger/survivors.json").read_bytes())
    assert all(place["versions"] is None and "snapshots" in place["says"] for place in listed["places"])
    assert (tmp_path / "out-ledger/survivors.json").stat().st_mode & 0o777 == 0o600
