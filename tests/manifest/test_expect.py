from __future__ import annotations

import dataclasses

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from ilsvrc_devkit import meta_mat

from anon_batch.errors import ManifestError
from anon_batch.manifest import build_manifest
from anon_batch.manifest.expect import known

TRAIN = [f"n0144076{c}/n0144076{c}_{i}.JPEG" for c in range(2) for i in range(3)]
VALIDATION = [f"ILSVRC2012_val_{i:08d}.JPEG" for i in range(1, 9)]


@pytest.fixture
def check(storage, tmp_path):
    """Build a manifest of images with these ids."""

    def check(ids, *expected, **options):
        table = pa.table({"image_id": ids, "uri": [f"s3://b/{number}" for number in range(len(ids))]})
        pq.write_table(table, tmp_path / "ids.parquet")
        out = tmp_path / "out.parquet"
        out.unlink(missing_ok=True)
        try:
            return build_manifest(
                storage, [str(tmp_path / "ids.parquet")], str(out), expect=list(map(str, expected)), **options
            )
        except ManifestError:
            assert not out.exists()
            raise

    return check


@pytest.fixture
def miniature(monkeypatch):
    """Known datasets with fewer images."""
    small = {
        "imagenet-1k-train": {"total": 6, "classes": 2, "per_class": (2, 3)},
        "imagenet-1k-val": {"total": 8},
        "coco-2017-val": {"total": 2},
    }
    for name, changes in small.items():
        monkeypatch.setitem(known.DATASETS, name, dataclasses.replace(known.DATASETS[name], **changes))


@pytest.mark.parametrize(
    "ids",
    [
        VALIDATION,
        [f"val/n01/{name}" for name in reversed(VALIDATION)],
        [name.replace(".JPEG", "_n01440764.JPEG") for name in VALIDATION],
        [f"shard/{name.lower().replace('ilsvrc', 'ILSVRC').replace('.jpeg', '.jpg')}" for name in VALIDATION],
    ],
)
def test_a_whole_validation_set_is_as_expected(check, miniature, ids):
    assert check(ids, "imagenet-1k-val").expected == ("imagenet-1k-val",)


@pytest.mark.parametrize(
    ("ids", "message"),
    [
        (
            VALIDATION[:2] + VALIDATION[3:],
            r"7 images instead of 8; missing: ILSVRC2012_val_00000003\.JPEG\. Nothing is written",
        ),
        (
            [*VALIDATION[:7], "other.jpg"],
            r"missing: ILSVRC2012_val_00000008.JPEG; 1 image with a name of another kind: other.jpg",
        ),
        ([*VALIDATION, f"b/{VALIDATION[4]}"], r"9 images instead of 8; more than once: ILSVRC2012_val_00000005.JPEG"),
        (
            [*VALIDATION, "ILSVRC2012_val_00000009.JPEG", "ILSVRC2012_val_00000000.JPEG"],
            "2 images with a name of another kind: ILSVRC",
        ),
        (["ILSVRC2012_val_00000001.JPEG"], r"missing: (\w+\.JPEG, ){5}and 2 more"),
        ([f"ILSVRC2012_test_{i:08d}.JPEG" for i in range(1, 9)], "8 images with a name of another kind: .* and 3 more"),
    ],
)
def test_missing_and_surplus_validation_images_are_named(check, miniature, ids, message):
    with pytest.raises(ManifestError, match=message):
        check(ids, "imagenet-1k-val")


def test_training_images_are_counted_by_class(check, miniature):
    check(TRAIN, "imagenet-1k-train")
    check([name.rpartition("/")[2].replace(".JPEG", "_n01440760.JPEG") for name in TRAIN], "imagenet-1k-train")
    with pytest.raises(ManifestError, match=r"5 images instead of 6\. Nothing"):
        check(TRAIN[1:], "imagenet-1k-train")
    with pytest.raises(
        ManifestError, match="4 images instead of 6; a class has 2 to 3 images, but n01440760 has 1 image"
    ):
        check(TRAIN[2:], "imagenet-1k-train")
    with pytest.raises(ManifestError, match="classes: 1 instead of 2"):
        check(TRAIN[3:], "imagenet-1k-train")
    with pytest.raises(ManifestError, match=r"1 image with a name of another kind: n01440761/x.jpg"):
        check([*TRAIN[:5], "n01440761/x.jpg"], "imagenet-1k-train")


def test_the_kit_knows_how_many_training_images_each_class_has(check, miniature, tmp_path):
    wnids = {1: "n01440761", 2: "n01440760"}
    (tmp_path / "meta.mat").write_bytes(meta_mat(wnids, training_images=3))
    check(TRAIN, f"ilsvrc-devkit:{tmp_path}")
    with pytest.raises(
        ManifestError, match=r"expect ilsvrc-devkit:.*: class n01440760 has 2 images instead of 3\. Nothing"
    ):
        check(TRAIN[1:], f"ilsvrc-devkit:{tmp_path}")
    both = [*TRAIN, *VALIDATION]
    with pytest.raises(ManifestError, match="8 images with a name of another kind"):
        check(both, f"ilsvrc-devkit:{tmp_path}")
    check(both, f"ilsvrc-devkit:{tmp_path}", "imagenet-1k-train", "imagenet-1k-val")
    with pytest.raises(ManifestError, match=r"expected meta.mat in it"):
        check(TRAIN, f"ilsvrc-devkit:{tmp_path / 'none'}")


def test_datasets_without_classes_are_counted(check, miniature):
    check(["val2017/000000000139.jpg", "000000000285.jpg"], "coco-2017-val")
    with pytest.raises(ManifestError, match="1 image instead of 2"):
        check(["000000000139.jpg"], "coco-2017-val")


def test_the_facts_about_public_datasets():
    assert {name: own.total for name, own in known.DATASETS.items()} == {
        "imagenet-1k-train": 1_281_167,
        "imagenet-1k-val": 50_000,
        "imagenet-1k-test": 100_000,
        "coco-2017-train": 118_287,
        "coco-2017-val": 5_000,
        "coco-2017-test": 40_670,
        "wider-face-train": 12_880,
        "wider-face-val": 3_226,
        "wider-face-test": 16_097,
    }
    assert known.DATASETS["imagenet-1k-train"].per_class == (732, 1300)


def test_a_file_of_ids(check, tmp_path):
    (tmp_path / "ids.txt").write_text("a/1.jpg\r\nb/2\n3.jpg\n")
    check(["a/1.jpg", "b/2.png", "c/3.JPEG"], tmp_path / "ids.txt")
    with pytest.raises(ManifestError, match=r"1 image missing: b/2; 2 images not expected: d/2.png, e/2.png"):
        check(["a/1.jpg", "d/2.png", "e/2.png", "c/3.JPEG"], tmp_path / "ids.txt")


@pytest.mark.parametrize("name", ["counts.json", "counts.csv"])
def test_a_file_of_numbers_by_folder(check, tmp_path, name):
    text = '{"a": 2, "b/": 1}' if name.endswith("json") else "folder,count,note\na,2,x\nb,1,y\n"
    (tmp_path / name).write_text(text)
    check(["x/a/1.jpg", "y/a/2.jpg", "b/3.jpg"], tmp_path / name)
    with pytest.raises(ManifestError, match="folder a has 1 image instead of 2, folder b has 0 images instead of 1"):
        check(["a/1.jpg"], tmp_path / name)
    with pytest.raises(ManifestError, match=r"folder c has 1 image instead of 0\. Nothing"):
        check(["a/1.jpg", "a/2.jpg", "b/3.jpg", "c/4.jpg"], tmp_path / name)
    (tmp_path / "paths.json").write_text('{"x/a": 1, "": 1}')
    check(["x/a/1.jpg", "2.jpg"], tmp_path / "paths.json")


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("imagenet-1k-vall", None, "did you mean imagenet-1k-val"),
        ("missing.txt", None, "there is no such file"),
        ("e.txt", "\n\n", "names no image"),
        ("e.json", "{}", "names no folder"),
        ("e.json", "[1]", "expected numbers by folder"),
        ("e.json", '{"a": true}', "expected numbers by folder"),
        ("e.json", '{"a": -1}', "expected numbers by folder"),
        ("e.json", "{", "not JSON"),
        ("e.csv", "a,b\n1,2\n", "expected the columns folder and count"),
        ("e.csv", "folder,count\na,1\na,2\n", "line 3: folder 'a' appears twice"),
        ("e.csv", "folder,count\na,many\n", "line 2"),
        ("e.txt", "a\na\n", "'a' in lines 1 and 2"),
    ],
)
def test_expectations_that_cannot_be_read(check, tmp_path, name, text, message):
    if text is not None:
        (tmp_path / name).write_text(text)
    with pytest.raises(ManifestError, match=message):
        check(["a.jpg", "b.jpg"], name if text is None and "." not in name else tmp_path / name)


def test_several_known_datasets_are_expected_together(check, miniature):
    both = [*TRAIN, *(f"val/{name}" for name in VALIDATION)]
    names = ("imagenet-1k-train", "imagenet-1k-val")
    assert check(both, *names).expected == names
    with pytest.raises(
        ManifestError, match=r"expect imagenet-1k-val: 7 images instead of 8; missing: .*_00000008\.JPEG"
    ):
        check(both[:-1], *names)
    with pytest.raises(ManifestError, match="expect imagenet-1k-train: 5 images instead of 6"):
        check(both[1:], *names)
    with pytest.raises(ManifestError, match=r"1 image with a name of another kind: cat\.jpg"):
        check([*both, "cat.jpg"], *names)


def test_splits_whose_names_are_alike_are_compared_by_their_total(check, miniature, monkeypatch):
    train = dataclasses.replace(known.DATASETS["coco-2017-train"], total=1)
    monkeypatch.setitem(known.DATASETS, "coco-2017-train", train)
    ids = ["train2017/000000000009.jpg", "val2017/000000000139.jpg", "val2017/000000000285.jpg"]
    splits = ("coco-2017-train", "coco-2017-val")
    assert check(ids, *splits).expected == splits
    assert check(ids[1:], "coco-2017-val", "coco-2017-val").images_count == 2
    with pytest.raises(ManifestError, match="expect coco-2017-train --expect coco-2017-val: 2 images instead of 3"):
        check(ids[1:], *splits)
