"""Earlier versions that a bucket holds: they are listed, deleted for good, and never brought back by a deletion."""

from __future__ import annotations

import datetime as dt
from collections.abc import Iterator

import pytest
from servers import S3Server

from anon_batch.storage import ObjectVersion, Storage


@pytest.fixture
def bucket(moto: S3Server) -> Iterator[str]:
    name = moto.new_bucket()
    with moto.client() as client:
        client.put_bucket_versioning(Bucket=name, VersioningConfiguration={"Status": "Enabled"})
    return name


def _changed(storage: Storage, base: str) -> None:
    for data in (b"first", b"second"):
        storage.put(f"{base}/kept.json", data)
        storage.put(f"{base}/a/gone.jpg", data)
    storage.delete_many(base, ["a/gone.jpg"])
    storage.put(f"{base}s/neighbour", b"x")


def test_all_versions_below_a_prefix_are_found(moto: S3Server, bucket: str) -> None:
    storage, base = Storage(moto.config()), f"s3://{bucket}/out"
    _changed(storage, base)
    found = storage.versions(base) or ()
    assert sorted((own.key, own.is_marker, own.is_latest) for own in found) == [
        ("a/gone.jpg", False, False),
        ("a/gone.jpg", False, False),
        ("a/gone.jpg", True, True),
        ("kept.json", False, False),
        ("kept.json", False, True),
    ]
    assert [own.key for own in found if own.is_current] == ["kept.json"]
    assert [own.key for own in storage.versions(base, lambda own: own.is_current) or ()] == ["kept.json"]
    assert [own.key for own in storage.versions(f"{base}/kept.json") or ()] == ["", ""]


def test_deleted_versions_are_gone_and_the_current_object_stays(moto: S3Server, bucket: str) -> None:
    storage, base = Storage(moto.config()), f"s3://{bucket}/out"
    _changed(storage, base)
    old = storage.versions(base, lambda own: not own.is_current) or ()
    assert storage.delete_versions(base, old) == []
    assert storage.delete_versions(base, old) == [], "again is fine"
    assert [(own.key, own.is_latest) for own in storage.versions(base) or ()] == [("kept.json", True)]
    assert storage.read(f"{base}/kept.json") == b"second"
    assert storage.exists(f"{base}s/neighbour")


def test_a_locked_version_is_reported_and_stays_hidden(moto: S3Server) -> None:
    """Because the mark of the deletion stays too; without it every reader would find the locked version."""
    name = "locked-versions"
    with moto.client() as client:
        client.create_bucket(Bucket=name, ObjectLockEnabledForBucket=True)
        storage, base = Storage(moto.config()), f"s3://{name}/out"
        _changed(storage, base)
        first = next(own for own in storage.versions(base) or () if own.key == "a/gone.jpg" and not own.is_marker)
        until = dt.datetime.now(dt.UTC) + dt.timedelta(days=1)
        client.put_object_retention(
            Bucket=name,
            Key="out/a/gone.jpg",
            VersionId=first.version_id,
            Retention={"Mode": "COMPLIANCE", "RetainUntilDate": until},
        )
        old = storage.versions(base, lambda own: not own.is_current) or ()
        refused = storage.delete_versions(base, old)
    assert first in [own.version for own in refused], "of a store that names the key alone, all versions of the key"
    assert {own.version.key for own in refused} == {"a/gone.jpg"}
    assert all("AccessDenied" in own.why for own in refused)
    assert not storage.exists(f"{base}/a/gone.jpg")
    left = storage.versions(base) or ()
    assert sorted((own.key, own.is_marker) for own in left) == [
        ("a/gone.jpg", False),
        ("a/gone.jpg", True),
        ("kept.json", False),
    ]


def test_a_bucket_without_versions_and_a_local_disk(moto: S3Server, tmp_path: object) -> None:
    storage, base = Storage(moto.config()), f"s3://{moto.new_bucket()}/out"
    _changed(storage, base)
    assert [(own.key, own.is_current) for own in storage.versions(base) or ()] == [("kept.json", True)]
    assert storage.versions(f"s3://{moto.new_bucket()}-is-not-there/x") == ()
    assert Storage().versions(str(tmp_path)) is None


def test_a_version_says_what_readers_find() -> None:
    assert ObjectVersion("k", "1", is_marker=False, is_latest=True).is_current
    assert not ObjectVersion("k", "1", is_marker=True, is_latest=True).is_current
    assert not ObjectVersion("k", "1", is_marker=False).is_current
