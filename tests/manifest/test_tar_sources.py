from __future__ import annotations

import gzip
import io
import json
import tarfile

import numpy as np
import pytest
import webdataset

from anon_batch.errors import ManifestError, ObjectNotFoundError, StorageError
from anon_batch.manifest import build_manifest, open_manifest, rows_from_table
from anon_batch.manifest.importers import range_file, tar_index
from anon_batch.manifest.importers.range_file import RangeFile
from anon_batch.storage import Storage


def build(storage, folder, *sources, **options):
    out = f"{folder}/out.parquet"
    report = build_manifest(storage, [str(s) for s in sources], out, **options)
    rows = [r for t in open_manifest(storage, out).iter_tables() for r in rows_from_table(t, 0)]
    return report, rows


def contents(storage, rows):
    return {r.image_id: storage.read(r.uri, r.offset, r.length) for r in rows}


@pytest.mark.parametrize("layout", [tarfile.PAX_FORMAT, tarfile.GNU_FORMAT])
@pytest.mark.parametrize("remote", [False, True])
def test_members_are_addressed_exactly(storage, tmp_path, bucket, make_tar, layout, remote):
    members = {
        "a.jpg": b"first",
        "./sub/b.JPEG": b"x" * 1000,
        f"{'long' * 40}/{'name' * 40}.png": b"third",
        "ünï.webp": b"4",
        "empty.gif": b"",
        "notes.txt": b"text",
        "._a.jpg": b"mac",
        "folder.jpg/readme": b"no",
    }
    folder = bucket if remote else str(tmp_path)
    storage.put(f"{folder}/set.tar", make_tar(members, layout))
    report, rows = build(storage, folder, f"{folder}/set.tar")
    expected = {
        n.removeprefix("./"): d for n, d in members.items() if n not in ("notes.txt", "._a.jpg", "folder.jpg/readme")
    }
    assert contents(storage, rows) == expected
    assert report.sources[0][1] == "tar"
    assert report.other_suffixes == {".txt": 1, "(no suffix)": 1}
    assert report.skipped_names == {
        "not_an_image": ("set.tar!notes.txt", "set.tar!folder.jpg/readme"),
        "system_file": ("set.tar!._a.jpg",),
    }
    assert report.images_count == len(expected)


def test_tars_in_a_tar_are_listed_without_unpacking(storage, tmp_path, make_tar):
    outer = make_tar(
        {f"n{c:08d}.tar": make_tar({f"n{c:08d}_{i}.JPEG": f"{c}-{i}".encode() for i in range(3)}) for c in range(4)}
        | {"deep/x.tar": make_tar({"y.tar": make_tar({"z.png": b"zzz"})})}
    )
    (tmp_path / "train.tar").write_bytes(outer)
    _, rows = build(storage, tmp_path, tmp_path / "train.tar")
    found = contents(storage, rows)
    assert found["n00000002/n00000002_1.JPEG"] == b"2-1"
    assert found["deep/x/y/z.png"] == b"zzz"
    assert len(found) == 13


def test_ids_from_several_tars_start_with_the_name_of_the_tar(storage, bucket, make_tar):
    for n in range(12):
        storage.put(f"{bucket}/shard-{n:03d}.tar", make_tar({"0.jpg": str(n).encode()}))
    for source, count in (
        (f"{bucket}/shard-{{000..009}}.tar", 10),
        (f"{bucket}/*.tar", 12),
        (bucket, 12),
        (f"{bucket}/shard-01?.tar", 2),
    ):
        _, rows = build(storage, "memory://bucket/out", source)
        assert len(rows) == count
        assert all(contents(storage, rows)[f"shard-{int(v):03d}/0.jpg"] == v for v in contents(storage, rows).values())
    with pytest.raises(ManifestError, match="no file matches"):
        build(storage, bucket, f"{bucket}/none-*.tar")
    with pytest.raises(ObjectNotFoundError):
        build(storage, bucket, f"{bucket}/shard-{{000..020}}.tar")


def test_links_and_sparse_files_do_not_count_as_images(storage, tmp_path, make_tar):
    with tarfile.open(tmp_path / "l.tar", "w") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.size = 3
        tar.addfile(info, io.BytesIO(b"abc"))
        for name, kind in (("hard.jpg", tarfile.LNKTYPE), ("soft.jpg", tarfile.SYMTYPE)):
            link = tarfile.TarInfo(name)
            link.type, link.linkname = kind, "a.jpg"
            tar.addfile(link)
        folder = tarfile.TarInfo("dir.jpg")
        folder.type = tarfile.DIRTYPE
        tar.addfile(folder)
    report, rows = build(storage, tmp_path, tmp_path / "l.tar")
    assert [r.image_id for r in rows] == ["a.jpg"]
    assert report.skipped_names == {"link": ("l.tar!hard.jpg", "l.tar!soft.jpg")}
    with tarfile.open(tmp_path / "s.tar", "w") as tar:
        info = tarfile.TarInfo("a.jpg")
        info.pax_headers = {
            "GNU.sparse.major": "1",
            "GNU.sparse.minor": "0",
            "GNU.sparse.name": "a.jpg",
            "GNU.sparse.realsize": "512",
        }
        body = b"1\n0\n3\n".ljust(512, b"\0") + b"abc"
        info.size = len(body)
        tar.addfile(info, io.BytesIO(body))
    with pytest.raises(ManifestError, match="sparse"):
        build(storage, tmp_path, tmp_path / "s.tar")


def damaged(data):
    """Ways in which a tar silently loses members when it is read with `tarfile` alone."""
    header = bytearray(data)
    header[1024:1100] = b"\xff" * 76
    second = data.index(b"b.jpg")
    return {
        "damaged header": bytes(header),
        "truncated": data[: second + 100],
        "end mark": data[:2048],
        "several tars": data + data,
        "truncated inside|not a tar": data[:700],
        "not a tar": b"hello" * 1000,
    }


@pytest.mark.parametrize("remote", [False, True])
@pytest.mark.parametrize("match", list(damaged(b"b.jpg")))
def test_a_tar_that_hides_members_is_refused(storage, tmp_path, bucket, make_tar, match, remote):
    folder = bucket if remote else str(tmp_path)
    data = make_tar({"a.jpg": b"a" * 400, "b.jpg": b"b" * 400})
    storage.put(f"{folder}/x.tar", damaged(data)[match])
    with pytest.raises(ManifestError, match=match):
        build(storage, folder, f"{folder}/x.tar")
    assert not storage.exists(f"{folder}/out.parquet")


def test_an_error_in_an_inner_tar_names_it(storage, tmp_path, make_tar):
    inner = make_tar({"a.jpg": b"a" * 400, "b.jpg": b"b" * 400})
    (tmp_path / "x.tar").write_bytes(make_tar({"ok.tar": inner, "bad.tar": inner[:2048]}))
    with pytest.raises(ManifestError, match=r"x\.tar!bad\.tar"):
        build(storage, tmp_path, tmp_path / "x.tar")


@pytest.mark.parametrize("name", ["x.tar.gz", "x.tgz", "x.tar"])
def test_the_error_about_compressed_tars_says_how_to_unpack(storage, tmp_path, make_tar, name):
    (tmp_path / name).write_bytes(gzip.compress(make_tar({"a.jpg": b"a"})))
    with pytest.raises(ManifestError, match="unpack it"):
        build(storage, tmp_path, tmp_path / name)


def test_names_that_are_not_utf8_are_refused(storage, tmp_path):
    with tarfile.open(tmp_path / "x.tar", "w", format=tarfile.GNU_FORMAT, encoding="latin-1") as tar:
        tar.addfile(tarfile.TarInfo("é.jpg"))
    with pytest.raises(ManifestError, match="not UTF-8"):
        build(storage, tmp_path, tmp_path / "x.tar")


class CountingStorage(Storage):
    def __init__(self):
        super().__init__()
        self.reads = []

    def read(self, uri, offset=None, length=None):
        self.reads.append((offset, length))
        return super().read(uri, offset, length)


@pytest.mark.parametrize(("member_bytes", "most_reads", "most_bytes"), [(20_000, 4, 9e6), (3_000_000, 12, 9e6)])
def test_headers_are_read_in_few_requests(bucket, make_tar, member_bytes, most_reads, most_bytes):
    storage = CountingStorage()
    data = make_tar({f"{i}.jpg": bytes(member_bytes) for i in range(400 if member_bytes < 2**20 else 10)})
    storage.put(f"{bucket}/x.tar", data)
    with RangeFile(storage, f"{bucket}/x.tar") as file:
        count = len(list(tar_index.iter_members(file)))
    assert count in (400, 10)
    assert len(storage.reads) <= most_reads
    assert sum(length for _, length in storage.reads) <= most_bytes


@pytest.fixture
def small_windows(monkeypatch):
    for name, size in (("WINDOW_BYTES", 4096), ("NEAR_BYTES", 1024), ("LONE_BYTES", 512)):
        monkeypatch.setattr(range_file, name, size)


def test_windows_are_read_ahead_once_each_and_give_the_same_bytes(bucket, small_windows):
    storage = CountingStorage()
    data = np.random.default_rng(1).integers(0, 256, 100_000, np.uint8).tobytes()
    storage.put(f"{bucket}/x", data)
    rng, at = np.random.default_rng(2), 0
    watched = []
    with RangeFile(storage, f"{bucket}/x", lambda uri, position, size: watched.append((position, size))) as file:
        while at < len(data):
            length = int(rng.integers(1, 900))
            assert file.read_at(at, length) == data[at : at + length]
            at += length
        assert file.read_at(len(data) - 5, 99) == data[-5:]
        assert file.read_at(len(data) + 5, 99) == b""
    assert sorted(storage.reads) == [(start, min(4096, 100_000 - start)) for start in range(0, 100_000, 4096)]
    assert watched == [(start, 100_000) for start in range(0, 100_000, 4096)]


def test_no_more_is_read_in_vain_than_was_read(bucket, small_windows):
    for stop in range(1, 40):
        storage = CountingStorage()
        storage.put(f"{bucket}/x", bytes(400_000))
        with RangeFile(storage, f"{bucket}/x") as file:
            for at in range(0, stop * 4096, 512):
                file.read_at(at, 512)
        assert stop <= len(storage.reads) <= min(2 * stop, stop + range_file.MAX_AHEAD)


def test_reads_anywhere_give_the_bytes_there(bucket, small_windows):
    storage = CountingStorage()
    data = np.random.default_rng(1).integers(0, 256, 60_000, np.uint8).tobytes()
    storage.put(f"{bucket}/x", data)
    rng = np.random.default_rng(3)
    with RangeFile(storage, f"{bucket}/x") as file:
        at = 0
        for _ in range(3000):
            at = int(rng.integers(0, 61_000)) if rng.random() < 0.3 else max(0, at + int(rng.integers(-2000, 5000)))
            length = int(rng.integers(0, 9000))
            assert file.read_at(at, length) == data[at : at + length]
            assert len(file._windows) <= range_file.MAX_AHEAD + 1


def test_a_fault_while_reading_ahead_is_reported_where_it_matters(bucket, small_windows):
    class Failing(CountingStorage):
        def read(self, uri, offset=None, length=None):
            if offset == 5 * 4096:
                raise StorageError("gone", uri)
            return super().read(uri, offset, length)

    storage = Failing()
    storage.put(f"{bucket}/x", bytes(100_000))
    with RangeFile(storage, f"{bucket}/x") as file:
        for at in range(0, 5 * 4096, 512):
            assert file.read_at(at, 512) == bytes(512)
        with pytest.raises(StorageError, match="gone"):
            file.read_at(5 * 4096, 512)


def test_webdataset_fields_pass_through(storage, tmp_path):
    with webdataset.ShardWriter(str(tmp_path / "set-%03d.tar"), maxcount=3, verbose=0) as sink:
        for n in range(7):
            sample = {
                "__key__": f"k{n:04d}",
                "jpg": f"image {n}".encode(),
                "cls": n,
                "json": {"n": n},
                "npy": b"x",
            }
            sink.write(
                {k: v for k, v in sample.items() if k != "npy"} | ({"seg.png": b"mask", "bin": b"b"} if n == 5 else {})
            )
    report, rows = build(storage, tmp_path, tmp_path / "set-{000..002}.tar")
    assert report.sources[0][1:] == ("webdataset", 8)
    by_id = {r.image_id: r for r in rows}
    row = by_id["set-001/k0004.jpg"]
    assert storage.read(row.uri, row.offset, row.length) == b"image 4"
    assert row.extra["cls"] == "4"
    assert json.loads(row.extra["json"]) == {"n": 4}
    assert by_id["set-001/k0005.seg.png"].extra["cls"] == "5"
    assert report.other_suffixes == {".bin": 1}
    assert report.extra_columns == ("cls", "json")


def test_webdataset_reports_everything_that_it_leaves_out(storage, tmp_path, make_tar):
    (tmp_path / "s.tar").write_bytes(
        make_tar(
            {
                "a.jpg": b"1",
                "a.txt": b"caption \xc3\xa9",
                "b.jpg": b"2",
                "b.txt": b"\xff\xfe",
                "c.txt": b"alone",
                "d.npy": b"n",
                "e.jpg": b"3",
            }
        )
    )
    report, rows = build(storage, tmp_path, tmp_path / "s.tar")
    assert {r.image_id: r.extra["txt"] for r in rows} == {
        "s/a.jpg": "caption é",
        "s/b.jpg": None,
        "s/e.jpg": None,
    }
    assert report.skipped_names == {"unused_field": ("s.tar!b.txt", "s.tar!c.txt"), "not_an_image": ("s.tar!d.npy",)}
    assert report.found_count == 7
    report, rows = build(storage, tmp_path, tmp_path / "s.tar", columns=())
    assert report.dropped_columns == ("txt",)
    assert rows[0].extra == {}
    report, rows = build(storage, tmp_path, tmp_path / "s.tar", kind="tar")
    assert {r.image_id for r in rows} == {"a.jpg", "b.jpg", "e.jpg"}
    assert report.skipped == {"not_an_image": 4}
