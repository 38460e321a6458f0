"""Keys of a bucket that cannot be listed cost no other key."""

from __future__ import annotations

import json
import unicodedata

import pyarrow.parquet as pq
from servers import S3Server

from anon_batch.manifest import build_manifest
from anon_batch.storage import Storage, join

NFD = unicodedata.normalize("NFD", "é.jpg")
LISTED = [
    "a.jpg",
    "A.JPG",
    "sub/b.jpe",
    "sp ace+&.jpg",
    "a%20b.jpg",
    "%2e%2e/c.jpg",
    "q?x=1.jpg",
    "h#1.jpg",
    "s*[1].jpg",
    NFD,
]
SKIPPED = {
    "a//b.jpg": "unsafe_name",
    "/lead.jpg": "unsafe_name",
    "back\\slash.jpg": "unsafe_name",
    "x::y.jpg": "unsafe_name",
    "~home.jpg": "unsafe_name",
    "n" * 260 + ".jpg": "unsafe_name",
    "a.jpg/": "folder_marker",
    "marker/": "folder_marker",
    "lfs.jpg": "pointer",
    "x.heic": "unsupported_image",
    "y.jpg ": "odd_suffix",
    "notes.txt": "not_an_image",
    ".git/k.jpg": "version_control",
}


def test_one_bad_key_does_not_refuse_the_bucket(moto: S3Server) -> None:
    bucket = moto.new_bucket()
    bodies = {key: f"body of {key}".encode() for key in (*LISTED, *SKIPPED)}
    bodies["marker/"] = b""
    bodies["lfs.jpg"] = b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n"
    with moto.client() as client:
        for key, body in bodies.items():
            client.put_object(Bucket=bucket, Key=f"set/{key}", Body=body)
        client.put_object(Bucket=bucket, Key="set/", Body=b"")
    storage = Storage(moto.config())
    report = build_manifest(storage, [f"s3://{bucket}/set"], f"s3://{bucket}/out/m.parquet")
    lines = storage.read(f"s3://{bucket}/out/m.skipped.jsonl").decode("ascii").splitlines()
    assert {line["name"]: line["reason"] for line in map(json.loads, lines)} == SKIPPED
    with storage.open(f"s3://{bucket}/out/m.parquet") as file:
        rows = pq.read_table(file).to_pylist()
    assert sorted(row["image_id"] for row in rows) == sorted(LISTED)
    assert all(storage.read(row["uri"]) == bodies[row["image_id"]] for row in rows)
    assert report.found_count == len(LISTED) + len(SKIPPED)
    assert report.skipped_uri == join(f"s3://{bucket}", "out/m.skipped.jsonl")
