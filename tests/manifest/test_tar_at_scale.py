"""A tar of a thousand tars on Ceph, behind connections as slow as those to a bucket: read ahead, and one window at a time."""

from __future__ import annotations

import io
import resource
import tarfile
import time
from pathlib import Path

import pytest
from faultproxy import FaultProxy
from servers import S3Server

from anon_batch.manifest import build_manifest, open_manifest
from anon_batch.manifest.importers import range_file
from anon_batch.storage import Storage

pytestmark = pytest.mark.ceph
INNER, EACH, IMAGE_BYTES = 1000, 6, 110_000  # 666 MB; the real one has 1,300 images in each


def write_archive(path: Path) -> None:
    image = bytes(range(256)) * (IMAGE_BYTES // 256)
    with tarfile.open(path, "w") as outer:
        for number in range(INNER):
            sink = io.BytesIO()
            with tarfile.open(fileobj=sink, mode="w") as inner:
                for at in range(EACH):
                    info = tarfile.TarInfo(f"n{number:08d}_{at}.JPEG")
                    info.size = len(image)
                    inner.addfile(info, io.BytesIO(image))
            info = tarfile.TarInfo(f"n{number:08d}.tar")
            info.size = sink.tell()
            outer.addfile(info, io.BytesIO(sink.getvalue()))


def test_reading_ahead_is_several_times_as_fast_in_bounded_memory(
    ceph: S3Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_archive(tmp_path / "train.tar")
    bucket = ceph.new_bucket()
    with ceph.client() as client:
        client.upload_file(str(tmp_path / "train.tar"), bucket, "train.tar")
    with FaultProxy(ceph.endpoint_url) as proxy:
        proxy.add("slow", method="GET", times=None, bytes_per_s=40_000_000)  # of one connection
        storage = Storage(ceph.config(options={"s3://": {**ceph.options, "endpoint_url": proxy.url}}))
        seconds, tables = [], []
        for ahead in (0, range_file.MAX_AHEAD):
            monkeypatch.setattr(range_file, "MAX_AHEAD", ahead)
            before, start = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss, time.monotonic()
            report = build_manifest(storage, [f"s3://{bucket}/train.tar"], str(tmp_path / "m.parquet"))
            seconds.append(time.monotonic() - start)
            grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
            print(f"{ahead} windows ahead: {seconds[-1]:.1f} s, {grown:.0f} MiB more")
            assert report.images_count == INNER * EACH
            tables.append(next(open_manifest(storage, str(tmp_path / "m.parquet")).iter_tables(("image_id", "offset"))))
    assert tables[0].equals(tables[1])
    assert seconds[0] / seconds[1] > 2
    assert grown < 400  # 136 MiB of windows, and what 16 connections need
