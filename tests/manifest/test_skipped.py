"""What cannot be listed is named with its reason, the rest is listed, and the totals add up."""

from __future__ import annotations

import gzip
import io
import json
import os
import socket
import subprocess
import tarfile
import unicodedata
import zipfile
from collections import Counter
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from anon_batch.errors import ManifestError
from anon_batch.manifest import BuildReport, build_manifest, open_manifest, rows_from_table
from anon_batch.manifest.importers.classify import classify
from anon_batch.manifest.skip_reasons import SKIP_REASONS
from anon_batch.storage import Storage


def make(folder: Path, *names: str, data: bytes | None = None) -> None:
    for name in names:
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(name.encode() if data is None else data)


def build(folder: Path, *sources: object, **options: Any) -> tuple[BuildReport, list[str], dict[str, str]]:
    """Return the report, the listed ids and name -> reason as the list beside the manifest has it."""
    out = str(folder / "m.parquet")
    report = build_manifest(Storage(), [str(s) for s in sources], out, **options)
    rows = [row for table in open_manifest(Storage(), out).iter_tables() for row in rows_from_table(table, 0)]
    log = folder / "m.skipped.jsonl"
    lines = [json.loads(line) for line in log.read_text("ascii").splitlines()] if log.exists() else []
    assert Counter(line["reason"] for line in lines) == Counter(report.skipped)
    assert report.found_count >= len(rows) + len(lines)
    assert (report.skipped_uri is not None) == bool(lines)
    return report, [row.image_id for row in rows], {line["name"]: line["reason"] for line in lines}


def rows_of(folder: Path) -> list[dict[str, Any]]:
    rows: list[dict[str, Any]] = pq.read_table(folder / "m.parquet").to_pylist()
    return rows


@pytest.mark.parametrize(
    ("key", "what"),
    [
        *((name, "image") for name in ("a.jpg", "A.JPEG", "b.jpe", "c.JFIF", ".hidden.jpg", ".folder/a.jpg", "%2e.png")),
        *((name, "image") for name in ("CON.jpg", "dot./a.jpg", "a b.jpg", "e\u0301.jpg", "\U0001f600.webp", "n" * 246 + ".jpg")),
        *((name, "unsafe_name") for name in ("a//b.jpg", "/a.jpg", "a\\b.jpg", "a::b.jpg", "~a.jpg", "C:a.jpg", "../a.jpg")),
        *((name, "unsafe_name") for name in ("a\nb.jpg", "a\x7f.jpg", "a/./b.jpg", "n" * 260 + ".jpg", "d/" * 460 + "a.jpg")),
        *((name, "not_utf8") for name in ("a\udcff.jpg", "d\udcff/a.jpg", "t\udcff.tar")),
        *((name, "system_file") for name in ("._a.jpg", "__MACOSX/a.jpg", "x/Thumbs.db", "desktop.ini", "@eaDir/a.jpg/b.jpg")),
        *((name, "odd_suffix") for name in ("a.jpg ", "a.jpg.", "a.jpg~", "a.jpeg?w=1", "a.png.bak", "a.jpg_large", "a.jpg (1)")),
        *((name, "unsupported_image") for name in ("a.HEIC", "a.svg", "a.CR2", "a.jxl")),
        *((name, "unfinished") for name in ("a.jpg.part", "a.jpg.crdownload", ".partial-0123.jpg")),
        *((name, "pointer") for name in ("a.jpg.dvc", ".a.jpg.icloud", "a.lnk")),
        *((name, "compressed") for name in ("a.zip", "a.tar.gz", "a.TGZ", "a.tar.zst")),
        *((name, "not_an_image") for name in ("a", "a.txt", "jpg", ".jpg", "a.jpg.d/b")),
        ("folder/", "folder_marker"),
        ("x.skipped.jsonl", "manifest"),
        (".git/annex/objects/a.jpg", "version_control"),
        ("a.tar", "container"),
        ("a.CSV", "container"),
    ],
)  # fmt: skip
def test_a_name_tells_what_an_entry_is(key: str, what: str) -> None:
    assert classify(key) == what
    assert what in SKIP_REASONS or what in ("image", "container")


def test_one_bad_name_does_not_refuse_the_folder(tmp_path: Path) -> None:
    make(tmp_path / "set", "ok.jpg", "a::b.jpg", "back\\slash.jpg", "new\nline.jpg", "notes.txt")
    with open(os.fsencode(tmp_path) + b"/set/latin\xe9.jpg", "wb"):
        pass
    report, ids, skipped = build(tmp_path, tmp_path / "set")
    assert ids == ["ok.jpg"]
    assert skipped == {
        "a::b.jpg": "unsafe_name",
        "back\\slash.jpg": "unsafe_name",
        "new\nline.jpg": "unsafe_name",
        "latin\udce9.jpg": "not_utf8",
        "notes.txt": "not_an_image",
    }
    assert report.found_count == 6
    assert report.skipped_names["unsafe_name"] == ("a::b.jpg", "back\\slash.jpg", "new\\nline.jpg"), "shown on one line"
    assert report.skipped_names["not_utf8"] == ("latin\\udce9.jpg",)


def test_links_loops_and_special_files(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    make(tmp_path, "set/a.jpg", "set/sub/b.jpg", "outside/c.jpg", "set/.git/annex/objects/X/k.jpg", "far/d.jpg")
    for name, target in {
        "dangling.jpg": "nowhere.jpg",
        "annexed.jpg": ".git/annex/objects/Y/gone.jpg",
        "here.jpg": ".git/annex/objects/X/k.jpg",
        "self.jpg": "self.jpg",
        "loop": ".",
        "sub/up": "..",
        "again": "sub",
        "out": "../outside",
        "file.jpg": "../far/d.jpg",
    }.items():
        (folder / name).symlink_to(target)
    os.mkfifo(folder / "pipe.jpg")
    with socket.socket(socket.AF_UNIX) as opened:
        opened.bind(str(folder / "sock.jpg"))
    report, ids, skipped = build(folder, folder)
    assert sorted(ids) == ["a.jpg", "file.jpg", "here.jpg", "out/c.jpg", "sub/b.jpg"]
    assert skipped == {
        "dangling.jpg": "dangling_link",
        "annexed.jpg": "dangling_link",
        "self.jpg": "link_loop",
        "loop/": "link_loop",
        "sub/up/": "link_loop",
        "again/": "listed_elsewhere",
        "pipe.jpg": "special_file",
        "sock.jpg": "special_file",
        ".git/": "version_control",
    }
    assert report.outside == (str(tmp_path / "far"), str(tmp_path / "outside")), "the job has to allow them"


def test_pointers_to_content_elsewhere(tmp_path: Path) -> None:
    make(tmp_path / "set", "real.jpg", data=b"x" * 130)
    make(tmp_path / "set", "lfs.jpg", data=b"version https://git-lfs.github.com/spec/v1\noid sha256:ab\nsize 5\n")
    make(tmp_path / "set", "annex.jpg", data=b"/annex/objects/SHA256E-s1--a.jpg\n")
    make(tmp_path / "set", "alias.jpg", data=b"book\0\0\0\0mark\0\0\0\0" + bytes(900))
    _, ids, skipped = build(tmp_path, tmp_path / "set")
    assert ids == ["real.jpg"]
    assert skipped == dict.fromkeys(("lfs.jpg", "annex.jpg", "alias.jpg"), "pointer")


def test_a_folder_without_permission_is_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "set", "a.jpg", "closed/b.jpg", "open/c.jpg")
    real = os.scandir

    def scandir(path: str) -> Any:
        if str(path).endswith("/closed"):
            raise PermissionError(13, "Permission denied", path)
        return real(path)

    monkeypatch.setattr(os, "scandir", scandir)
    _, ids, skipped = build(tmp_path, tmp_path / "set")
    assert ids == ["a.jpg", "open/c.jpg"]
    assert skipped == {"closed/": "unreadable"}


def test_a_tree_deeper_than_pythons_stack_is_walked(tmp_path: Path) -> None:
    make(tmp_path / "set", "a.jpg")
    here = os.open(tmp_path / "set", os.O_RDONLY)
    for _ in range(1200):
        os.mkdir("d", dir_fd=here)
        below = os.open("d", os.O_RDONLY, dir_fd=here)
        os.close(here)
        here = below
    os.close(os.open("deep.jpg", os.O_WRONLY | os.O_CREAT, dir_fd=here))
    os.close(here)
    try:
        _, ids, skipped = build(tmp_path, tmp_path / "set")
    finally:
        subprocess.run(["rm", "-r", str(tmp_path / "set")], check=True)  # because Python's own cannot delete it
    assert ids == ["a.jpg"]
    assert list(skipped.values()) == ["unsafe_name"], "the id would be longer than a store's key"


def _parquet(path: Path, **columns: Any) -> None:
    pq.write_table(pa.table(columns), path)


def test_a_folder_of_several_kinds_is_listed_whole(tmp_path: Path, make_tar: Any) -> None:
    folder = tmp_path / "set"
    make(folder, "photos/a.jpg", "remote.csv")
    (folder / "t.tar").write_bytes(make_tar({"in/b.jpg": b"b", "x.txt": b"t"}))
    _parquet(folder / "p.parquet", image=[{"bytes": b"c", "path": "c.jpg"}], length=[7])
    _parquet(folder / "numbers.parquet", n=[1])
    (folder / "broken.parquet").write_bytes(b"PAR1")
    (folder / "labels.csv").write_text("file_name,label\nphotos/a.jpg,1\n")
    (folder / "z.tar").write_bytes(gzip.compress(b"x" * 5000))
    with zipfile.ZipFile(folder / "w.zip", "w") as archive:
        archive.writestr("d.jpg", "d")
    report, ids, skipped = build(tmp_path, folder)
    assert ids == ["photos/a.jpg", "t/in/b.jpg", "c.jpg"]
    assert [(kind, count) for _, kind, count in report.sources] == [("files", 1), ("tar", 1), ("parquet", 1)]
    assert skipped == {
        "t.tar!x.txt": "not_an_image",
        "numbers.parquet": "no_images",
        "broken.parquet": "damaged",
        "labels.csv": "describes_others",
        "remote.csv": "no_images",
        "z.tar": "damaged",
        "w.zip": "compressed",
    }
    assert report.renamed_columns == {"length": "source_length"}


def test_a_folder_of_tar_parquet_and_table_without_images(tmp_path: Path, make_tar: Any) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    (folder / "00000.tar").write_bytes(make_tar({"k.jpg": b"k", "k.json": b"{}"}))
    _parquet(folder / "00000.parquet", url=["https://host/k.jpg"], sha256=["a" * 64])
    _parquet(folder / "more.parquet", url=["https://host/m.jpg"])
    (folder / "others.csv").write_text("file_name,label\nsomewhere/else.jpg,1\n")
    (folder / "list.csv").write_text("url,label\nhttps://host/n.jpg,1\n")
    _, ids, skipped = build(tmp_path, folder)
    assert ids == ["00000/k.jpg", "list/00000000.jpg", "more/00000000.jpg"]
    assert skipped == {"00000.parquet": "describes_others", "others.csv": "describes_others"}


def test_a_second_build_into_the_same_folder_lists_neither_the_manifest_nor_its_list(
    tmp_path: Path, make_tar: Any
) -> None:
    (tmp_path / "t.tar").write_bytes(make_tar({"a.jpg": b"a", "x.txt": b""}))
    first = build(tmp_path, tmp_path)[1]
    _, ids, skipped = build(tmp_path, tmp_path)
    assert ids == first == ["t/a.jpg"]
    assert skipped == {"t.tar!x.txt": "not_an_image", "m.parquet": "manifest", "m.skipped.jsonl": "manifest"}


def test_the_list_of_a_build_that_skips_nothing_is_deleted(tmp_path: Path) -> None:
    make(tmp_path / "set", "a.jpg", "b.txt")
    assert build(tmp_path, tmp_path / "set")[2] == {"b.txt": "not_an_image"}
    (tmp_path / "set/b.txt").unlink()
    assert build(tmp_path, tmp_path / "set")[2] == {}
    assert not (tmp_path / "m.skipped.jsonl").exists()


def test_members_of_a_tar(tmp_path: Path, make_tar: Any) -> None:
    names = (
        "/abs.jpg",
        "../up.jpg",
        "a//b.jpg",
        "ok.jpg",
        "ok.jpg",
        "__MACOSX/._ok.jpg",
        "x.heic",
        "L" * 150 + "/m.png",
    )
    with tarfile.open(tmp_path / "t.tar", "w") as tar:
        for number, name in enumerate(names):
            info = tarfile.TarInfo(name)
            info.size = number + 1
            tar.addfile(info, io.BytesIO(bytes(number + 1)))
        for name, kind in (("soft.jpg", tarfile.SYMTYPE), ("hard.jpg", tarfile.LNKTYPE), ("dev.jpg", tarfile.CHRTYPE)):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, "ok.jpg"
            tar.addfile(info)
    report, ids, skipped = build(tmp_path, tmp_path / "t.tar")
    assert ids == ["ok.jpg", "L" * 150 + "/m.png"]
    row = rows_of(tmp_path)[0]
    assert row["length"] == 5, "the later member replaces the earlier one, as when it is unpacked"
    assert skipped == {
        "t.tar!/abs.jpg": "unsafe_name",
        "t.tar!../up.jpg": "unsafe_name",
        "t.tar!a//b.jpg": "unsafe_name",
        "ok.jpg": "duplicate_id",
        "t.tar!__MACOSX/._ok.jpg": "system_file",
        "t.tar!x.heic": "unsupported_image",
        "t.tar!soft.jpg": "link",
        "t.tar!hard.jpg": "link",
        "t.tar!dev.jpg": "special_file",
    }
    assert report.found_count == 11


def test_a_damaged_tar_among_several_costs_only_its_own_rest(tmp_path: Path, make_tar: Any) -> None:
    folder = tmp_path / "set"
    folder.mkdir()
    whole = make_tar({f"{n}.jpg": bytes(600) for n in range(4)})
    (folder / "a.tar").write_bytes(whole[:4000])
    (folder / "b.tar").write_bytes(whole)
    report, ids, skipped = build(tmp_path, folder)
    assert ids == ["a/0.jpg", "a/1.jpg", *(f"b/{n}.jpg" for n in range(4))]
    assert skipped == {"a.tar": "damaged"}
    assert "truncated" in json.loads((tmp_path / "m.skipped.jsonl").read_text())["detail"]
    assert report.found_count == 6 + 2 + 1
    with pytest.raises(ManifestError, match="--strict: 1 damaged"):
        build(tmp_path, folder, strict=True)


def test_rows_of_a_table(tmp_path: Path) -> None:
    rows = [
        {"image_id": "a.jpg", "uri": "a.jpg"},
        {"image_id": "../b.jpg", "uri": "b.jpg"},
        {"image_id": "a.jpg", "uri": "other.jpg"},
        {"image_id": "c.jpg", "uri": None},
        {"image_id": None, "uri": "d.jpg"},
        {"image_id": "x", "uri": "x"},
        {"image_id": "x.jpg", "uri": "x2"},
        {"image_id": "y.jpg/z.png", "uri": "z"},
        {"image_id": "y.jpg", "uri": "y"},
    ]
    (tmp_path / "l.jsonl").write_text("\n".join(map(json.dumps, rows)))
    report, ids, skipped = build(tmp_path, tmp_path / "l.jsonl")
    assert ids == ["a.jpg", "x.jpg", "y.jpg/z.png"]
    assert skipped == {
        "../b.jpg": "unsafe_name",
        "a.jpg": "duplicate_id",
        "c.jpg": "no_address",
        str(tmp_path / "d.jpg"): "no_address",
        "x": "same_output",
        "y.jpg": "same_output",
    }
    assert report.found_count == 9
    assert rows_of(tmp_path)[0]["uri"] == "a.jpg", "the first row of an id stays"


@pytest.mark.parametrize(
    ("names", "refused"), [(("a.jpg", "notes.txt", ".DS_Store"), False), (("a.jpg", "b::c.jpg"), True)]
)
def test_strict_refuses_what_may_be_an_image(tmp_path: Path, names: tuple[str, ...], refused: bool) -> None:
    make(tmp_path / "set", *names)
    if not refused:
        assert build(tmp_path, tmp_path / "set", strict=True)[1] == ["a.jpg"]
        return
    with pytest.raises(ManifestError, match=r"--strict: 1 unsafe_name .*the first: b::c\.jpg"):
        build(tmp_path, tmp_path / "set", strict=True)
    assert not list(tmp_path.glob("m.*"))


def test_names_that_other_systems_cannot_keep_are_counted(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "é.jpg") for form in ("NFC", "NFD"))
    make(tmp_path / "set", "a.jpg", "A.JPG", nfc, nfd, "con.png", "d /x.jpg", "q?.jpg")
    report, ids, _ = build(tmp_path, tmp_path / "set")
    assert (len(ids), report.equal_count, report.reserved_count) == (7, 2, 3)


@pytest.mark.parametrize(("disk", "label"), [("NFD", "NFC"), ("NFC", "NFD")])
def test_labels_and_tables_find_names_with_other_accents(tmp_path: Path, disk: Any, label: Any) -> None:
    name = "straße/café é.jpg"
    make(tmp_path / "set", unicodedata.normalize(disk, name), "other.jpg")
    asked = unicodedata.normalize(label, name)
    (tmp_path / "faces.json").write_text(json.dumps({asked: [[1, 2, 3, 4]]}))
    report, ids, _ = build(tmp_path, tmp_path / "set", ground_truth=str(tmp_path / "faces.json"))
    assert report.labelled_count == 1
    assert unicodedata.normalize(disk, name) in ids, "the real name stays"
    (tmp_path / "set/list.csv").write_text(f"path\n{asked}\n", encoding="utf-8")
    build(tmp_path, tmp_path / "set/list.csv")
    [row] = rows_of(tmp_path)
    assert (tmp_path / "set" / row["uri"]).exists()


def test_labels_of_windows_and_twins(tmp_path: Path) -> None:
    nfc, nfd = (unicodedata.normalize(form, "d/é.jpg") for form in ("NFC", "NFD"))
    make(tmp_path / "set", "d/a.jpg", "d/b.jpg", nfc, nfd)
    labels = {"d\\a.jpg": [[1, 2, 3, 4]], "./d/b.jpg": [], nfc: [[5, 6, 7, 8]]}
    (tmp_path / "faces.json").write_text(json.dumps(labels))
    report, _, _ = build(tmp_path, tmp_path / "set", ground_truth=str(tmp_path / "faces.json"))
    rows = {r["image_id"]: r["regions"] for r in rows_of(tmp_path)}
    assert rows["d/a.jpg"][0]["x1"] == 1
    assert rows["d/b.jpg"] == []
    assert rows[nfc][0]["x1"] == 5
    assert rows[nfd] is None, "the twin is another image"
    assert report.unmatched_count == 0


def test_columns_that_describe_other_files(tmp_path: Path) -> None:
    make(tmp_path / "set", *(f"{n}.jpg" for n in range(6)))
    lines = ["path,sha256,length,note"] + [f"{n}.jpg,{'ab' * 32},{n},x" for n in range(6)]
    (tmp_path / "set/list.csv").write_text("\n".join(lines) + "\n")
    with pytest.raises(ManifestError, match=r"column `sha256` describes other files.*Use --ignore sha256, or --rename"):
        build(tmp_path, tmp_path / "set/list.csv")
    report, ids, _ = build(tmp_path, tmp_path / "set/list.csv", renames={"sha256": None})
    assert (len(ids), report.renamed_columns, report.dropped_columns) == (6, {"length": "source_length"}, ("sha256",))
    report, _, _ = build(tmp_path, tmp_path / "set/list.csv", renames={"sha256": "digest", "note": None})
    assert set(report.extra_columns) == {"digest", "source_length"}
    with pytest.raises(ManifestError, match=r"no column `sha` to rename or ignore; did you mean `sha256`"):
        build(tmp_path, tmp_path / "set/list.csv", renames={"sha": None})


def test_digests_of_another_kind_are_no_sha256(tmp_path: Path) -> None:
    (tmp_path / "l.csv").write_text("url,sha256\nhttps://h/a.jpg,d41d8cd98f00b204e9800998ecf8427e\n")
    report, _, _ = build(tmp_path, tmp_path / "l.csv")
    assert report.renamed_columns == {"sha256": "source_sha256"}
