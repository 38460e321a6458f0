from __future__ import annotations

import io
import tarfile

import pytest
from ilsvrc_devkit import WNIDS, meta_mat, write_devkit

from anon_batch.errors import ManifestError
from anon_batch.manifest.joins.devkit import read_classes

TRUTH = (1, 3, 2, 1)
EXPECTED = {f"ILSVRC2012_val_{at:08d}.JPEG": WNIDS[number] for at, number in enumerate(TRUTH, 1)}


def as_dict(table):
    return dict(zip(table.column("file_name").to_pylist(), table.column("wnid").to_pylist(), strict=True))


def test_the_kit_as_it_is_downloaded(storage, tmp_path):
    assert as_dict(read_classes(storage, str(write_devkit(tmp_path / "kit.tar.gz", TRUTH)))) == EXPECTED


@pytest.mark.parametrize("folder", ["", "data/"])
def test_the_kit_unpacked(storage, tmp_path, folder):
    with tarfile.open(write_devkit(tmp_path / "kit.tar.gz", TRUTH)) as archive:
        archive.extractall(tmp_path, filter="data")
    root = tmp_path / "ILSVRC2012_devkit_t12"
    assert as_dict(read_classes(storage, str(root if not folder else root / "data"))) == EXPECTED


def test_later_kits_have_a_list_instead(storage, tmp_path):
    (tmp_path / "ILSVRC2012_validation_ground_truth.txt").write_text("".join(f"{n}\n" for n in TRUTH))
    (tmp_path / "map_clsloc.txt").write_text("".join(f"{wnid} {n} some_name\n" for n, wnid in WNIDS.items()))
    assert as_dict(read_classes(storage, str(tmp_path))) == EXPECTED


def test_a_list_of_wnids(storage, tmp_path):
    (tmp_path / "labels.txt").write_text("".join(f"{WNIDS[n]}\n" for n in TRUTH))
    assert as_dict(read_classes(storage, str(tmp_path / "labels.txt"))) == EXPECTED


def test_a_solution_file(storage, tmp_path):
    lines = [f"{name.removesuffix('.JPEG')},{wnid} 85 1 499 272 {wnid} 1 2 3 4" for name, wnid in EXPECTED.items()]
    (tmp_path / "LOC_val_solution.csv").write_text("ImageId,PredictionString\n" + "\n".join(reversed(lines)) + "\n")
    assert as_dict(read_classes(storage, str(tmp_path / "LOC_val_solution.csv"))) == EXPECTED


def kit(tmp_path, **files):
    for name, data in files.items():
        (tmp_path / name.replace("__", ".")).write_bytes(data)
    return str(tmp_path)


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, "expected ILSVRC2012_validation_ground_truth.txt and meta.mat"),
        ({"ILSVRC2012_validation_ground_truth__txt": b"1\n"}, "and meta.mat"),
        ({"ILSVRC2012_validation_ground_truth__txt": b"4\n", "meta__mat": meta_mat()}, "has the class 4, which"),
        ({"ILSVRC2012_validation_ground_truth__txt": b"1001\n", "meta__mat": meta_mat()}, "has the class 1001, which"),
        ({"ILSVRC2012_validation_ground_truth__txt": b"one\n", "meta__mat": meta_mat()}, "expected one number a line"),
        ({"ILSVRC2012_validation_ground_truth__txt": b"1\n", "meta__mat": b"\x00" * 300}, "meta.mat cannot be read"),
        (
            {
                "ILSVRC2012_validation_ground_truth__txt": b"1\n",
                "meta__mat": meta_mat({1: "n02119789", 2: "n02119789"}),
            },
            "twice",
        ),
        ({"ILSVRC2012_validation_ground_truth__txt": b"1\n", "map_clsloc__txt": b"n02119789\n"}, "kit_fox"),
        ({"ILSVRC2012_validation_ground_truth__txt": b"\xff\xfe1", "meta__mat": meta_mat()}, "not UTF-8"),
    ],
)
def test_kits_that_cannot_be_read(storage, tmp_path, files, message):
    with pytest.raises(ManifestError, match=message):
        read_classes(storage, kit(tmp_path, **files))


@pytest.mark.parametrize(
    ("name", "data", "message"),
    [
        ("x.txt", b"490\n361\n", "A list of numbers says nothing"),
        ("x.csv", b"a,b\n1,2\n", "LOC_val_solution.csv"),
        ("x.tar.gz", b"no", "not a tar"),
        ("y.tar.gz", None, "there is no such file"),
    ],
)
def test_files_that_are_none(storage, tmp_path, name, data, message):
    if data is not None:
        (tmp_path / name).write_bytes(data)
    with pytest.raises(ManifestError, match=message):
        read_classes(storage, str(tmp_path / name))


def test_a_kit_is_not_unpacked_without_limit(storage, tmp_path, monkeypatch):
    monkeypatch.setattr("anon_batch.manifest.joins.devkit._MAX_BYTES", 1000)
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w:gz") as archive:
        info = tarfile.TarInfo("data/ILSVRC2012_validation_ground_truth.txt")
        info.size = 100_000
        archive.addfile(info, io.BytesIO(b"1" * 100_000))
    (tmp_path / "kit.tar.gz").write_bytes(sink.getvalue())
    with pytest.raises(ManifestError, match="expected ILSVRC2012"):
        read_classes(storage, str(tmp_path / "kit.tar.gz"))
