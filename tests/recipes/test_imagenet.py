"""The recipes for ImageNet-1k in its four forms, executed on miniatures."""

from __future__ import annotations

import json
import sys
import types
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from folder_readers import image_folder, timm_folder
from recipes import imagenet
from recipes.checks import check_files, check_image, check_leaks, check_rows
from recipes.cloud import Cloud
from recipes.commands import load
from recipes.hub import load_dataset
from recipes.imagenet import CLASSES, TEST, TRAIN, VAL, class_number, photograph
from tar_readers import read_tars, read_wids, timm_wds

datasets = pytest.importorskip("datasets")  # before stand-ins of torchvision and timm, which it looks for
pytestmark = pytest.mark.filterwarnings("ignore:Corrupt EXIF data")  # as loaders meet them in ImageNet


@pytest.fixture
def loaders(monkeypatch: pytest.MonkeyPatch) -> None:
    """Offer readers as torchvision's and timm's are, because both are too large to be installed for tests."""
    for name in ("torchvision", "timm"):
        monkeypatch.setitem(sys.modules, name, types.ModuleType(name))
    folder = types.SimpleNamespace(ImageFolder=lambda root: image_folder(Path(root)))
    monkeypatch.setitem(sys.modules, "torchvision.datasets", folder)
    tars = types.SimpleNamespace(create_dataset=lambda _, root, split: timm_wds(Path(root), split).samples)
    monkeypatch.setitem(sys.modules, "timm.data", tars)


@pytest.mark.full
@pytest.mark.usefixtures("loaders")
def test_train(tmp_path: Path, cloud: Cloud) -> None:
    imagenet.write_train(tmp_path / "made/my-datasets/imagenet")
    imagenet.write_faces(tmp_path / "made/my-datasets/imagenet/face_annotations_ILSVRC.json")
    ids = {f"{own.wnid}/{own.name}.JPEG": photograph(own) for own in TRAIN}
    made = cloud.make("imagenet-train", tmp_path / "made")
    check_rows(made, list(ids))
    check_files(made, ids)
    check_leaks(made, ids.values(), ["train/n01440764"])
    assert [len(row["regions"]) for row in made.manifest()] == [len(photograph(own).faces) for own in TRAIN]
    [example] = load(made, tmp_path / "load")
    train = example.names["train"]
    assert train.class_to_idx == {wnid: at for at, wnid in enumerate(sorted(CLASSES))}
    assert timm_folder(made.release / "images").class_to_idx == train.class_to_idx
    assert train.samples == sorted((f"{own.wnid}/{own.name}.JPEG", class_number(own)) for own in TRAIN)
    rows = load_dataset(made.release, tmp_path / "cache")["train"]
    assert rows.features["label"].names == sorted(CLASSES)
    assert rows["label"][:] == [class_number(own) for own in TRAIN]


@pytest.mark.full
@pytest.mark.usefixtures("loaders")
def test_val(tmp_path: Path, cloud: Cloud) -> None:
    imagenet.write_val(tmp_path / "made/my-datasets/imagenet")
    imagenet.write_faces(tmp_path / "made/my-datasets/imagenet/face_annotations_ILSVRC.json")
    ids = {f"val/{own.wnid}/{own.name}.JPEG": photograph(own) for own in VAL}
    made = cloud.make("imagenet-val", tmp_path / "made")
    check_rows(made, list(ids))
    check_files(made, ids)
    check_leaks(made, ids.values(), ())
    [example] = load(made, tmp_path / "load")
    val = example.names["val"]
    assert val.class_to_idx == {wnid: at for at, wnid in enumerate(sorted(CLASSES))}
    assert dict(val.samples) == {f"{own.wnid}/{own.name}.JPEG": class_number(own) for own in VAL}
    rows = load_dataset(made.release, tmp_path / "cache")["validation"]
    assert rows["label"][:] == [class_number(own) for own in VAL]


@pytest.mark.full
def test_hub(tmp_path: Path, cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> None:
    source = tmp_path / "made/my-datasets/imagenet-hf"
    imagenet.write_hub(source)
    imagenet.write_faces(tmp_path / "made/my-datasets/imagenet/face_annotations_ILSVRC.json")
    made = cloud.make("imagenet-hf", tmp_path / "made")
    splits = {"train": TRAIN, "validation": VAL, "test": TEST}
    order = {split: [*images[::2], *images[1::2]] for split, images in splits.items()}
    check_rows(made, [f"{split}/{imagenet.hub_name(own)}" for split in sorted(order) for own in order[split]])
    check_leaks(made, map(photograph, TRAIN + VAL + TEST), ())
    files = sorted((made.release / "shards").glob("*.parquet"))
    lengths = [pq.read_metadata(path).num_rows for path in sorted((source / "data").glob("*.parquet"))]
    assert [pq.read_metadata(path).num_rows for path in files] == lengths
    found = load_dataset(made.release, tmp_path / "cache")
    before = load_dataset(source, tmp_path / "cache")
    assert set(found) == set(before)
    by_id = {row["image_id"]: row for row in made.rows()}
    for split, images in order.items():
        assert found[split].features["label"] == before[split].features["label"]
        assert found[split]["label"][:] == before[split]["label"][:]
        undecoded = found[split].cast_column("image", datasets.Image(decode=False))
        for own, row in zip(images, undecoded, strict=True):
            check_image(photograph(own), row["image"]["bytes"], by_id[row["image_id"]])
    assert before["test"]["label"][:] == [-1, -1]
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    [example] = load(made, tmp_path / "load")
    names = [CLASSES[wnid].words for wnid in sorted(CLASSES)]
    lines = [f"{split} {len(images)} {names}" for split, images in splits.items()]
    assert sorted(example.printed) == sorted([*lines, str(found["validation"][0]["image"].size)])


@pytest.mark.full
@pytest.mark.usefixtures("loaders")
def test_wds(tmp_path: Path, cloud: Cloud) -> None:
    source = tmp_path / "made/my-datasets/imagenet-wds"
    imagenet.write_wds(source)
    imagenet.write_faces(tmp_path / "made/my-datasets/imagenet/face_annotations_ILSVRC.json")
    made = cloud.make("imagenet-wds", tmp_path / "made")
    tars = sorted(source.glob("*.tar"))
    published = sorted((made.release / "shards").glob("*.tar"))
    assert len(published) == len(tars)
    images = {own.name: own for own in TRAIN + VAL}
    ids = [f"{tar.stem}/{sample['__key__']}.jpg" for tar in tars for sample in read_tars([tar])]
    check_rows(made, ids)
    check_leaks(made, map(photograph, TRAIN + VAL), ())
    rows = iter(made.rows())
    for ours, own in zip(published, tars, strict=True):
        for new, old in zip(read_tars([ours]), read_tars([own]), strict=True):
            assert (new["__key__"], new["cls"]) == (old["__key__"], old["cls"])
            given = json.loads(old["json"])
            assert given.pop("filename") == imagenet.wds_filename(images[old["__key__"]])
            assert json.loads(new["json"]) == given
            check_image(photograph(images[old["__key__"]]), new["jpg"], next(rows))
    for split in ("train", "validation"):
        before, after = timm_wds(source, split), timm_wds(made.release, split)
        assert [label for _, label in after.samples] == [label for _, label in before.samples]
        assert after.num_samples == before.num_samples
    timm, tuples = load(made, tmp_path / "load")
    assert timm.printed == [f"train {len(TRAIN)}", f"validation {len(VAL)}"]
    assert len(tuples.printed) == len(TRAIN)
    rows = load_dataset(made.release, tmp_path / "cache")
    assert {split: len(own) for split, own in rows.items()} == {"train": len(TRAIN), "validation": len(VAL)}
    assert rows["train"]["cls"][:] == [label for _, label in timm_wds(source, "train").samples]
    keys = [sample["__key__"] for sample in read_wids(made.release / "wids.json", tmp_path / "wids")]
    assert keys == [sample["__key__"] for tar in tars for sample in read_tars([tar])]
