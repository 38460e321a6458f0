"""A manifest of WIDER FACE from its file of labels alone."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from wider_miniature import write_wider

from anon_batch import cli
from anon_batch.config import StorageConfig
from anon_batch.errors import ManifestError
from anon_batch.manifest.build import build_manifest
from anon_batch.manifest.importers.wider import images_folder
from anon_batch.storage import Storage

LABELS = "wider_face_split/wider_face_val_bbx_gt.txt"


def test_labels_with_every_oddity(tmp_path: Path) -> None:
    root = write_wider(tmp_path / "wider")
    (root / "WIDER_val/images/0--Parade/0_Parade_a_1.jpg").unlink()
    (root / "WIDER_val/images/1--Handshaking/not_labelled.jpg").write_bytes(b"x")
    output = tmp_path / "wider.parquet"
    report = build_manifest(Storage(StorageConfig()), [str(root / LABELS)], str(output))
    rows = {row["image_id"]: row for row in pq.read_table(output).to_pylist()}
    assert list(rows) == [
        "0--Parade/0_Parade_b_2.jpg",
        "0--Parade/0_Parade_none_3.jpg",
        "1--Handshaking/1_Handshaking_c_4.jpg",
    ]
    faces = [
        [*(f[c] for c in ("x1", "y1", "x2", "y2")), f["ignore"]] for f in rows["0--Parade/0_Parade_b_2.jpg"]["regions"]
    ]
    assert faces == [[10, 10, 40, 40, False], [70, 20, 100, 50, False], [5, 80, 9, 84, True]]
    assert rows["0--Parade/0_Parade_none_3.jpg"]["regions"] == []
    empty = rows["1--Handshaking/1_Handshaking_c_4.jpg"]["regions"][1]
    assert (empty["x1"], empty["x2"], empty["ignore"]) == (3, 3, True)
    assert [row["event"] for row in rows.values()] == ["0--Parade", "0--Parade", "1--Handshaking"]
    assert not any(name.startswith("slice_") for name in rows["0--Parade/0_Parade_b_2.jpg"]), "61 events are too many"
    assert report.skipped == {"missing": 1}
    skipped = json.loads((tmp_path / "wider.skipped.jsonl").read_text())
    assert (skipped["name"], skipped["reason"]) == ("0--Parade/0_Parade_a_1.jpg", "missing")


def test_the_command_lists_the_images(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    labels = str(write_wider(tmp_path / "wider") / LABELS)
    monkeypatch.setattr(sys, "argv", ["anon-batch", "manifest", labels, "-o", str(tmp_path / "m.parquet"), "--json"])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert not ended.value.code
    report = json.loads(capsys.readouterr().out)
    assert (report["images_count"], report["labelled_count"], report["regions_count"]) == (4, 4, 7)


def test_images_that_are_elsewhere(tmp_path: Path) -> None:
    root = write_wider(tmp_path / "wider")
    (root / "WIDER_val").rename(root / "WIDER_validation")
    with pytest.raises(ManifestError, match=r"none of its 4 images .* unpack WIDER_val.zip"):
        build_manifest(Storage(StorageConfig()), [str(root / LABELS)], str(tmp_path / "m.parquet"))
    with pytest.raises(ManifestError, match="give the folder of images, and the file with --ground-truth"):
        images_folder("/data/labels.txt")


def test_a_label_file_that_is_not_there(tmp_path: Path) -> None:
    address = str(tmp_path / "wider_face_split/wider_face_val_bbx_gt.txt")
    with pytest.raises(
        ManifestError, match=r"no label file at .*; check the address, and unpack wider_face_split\.zip"
    ):
        build_manifest(Storage(), [address], str(tmp_path / "m.parquet"))
