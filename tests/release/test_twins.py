"""A release is a twin of its source for loaders: the same splits, keys, order, columns, classes and their names."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
from folder_readers import image_folder, timm_folder, timm_hub
from PIL import Image
from twins import CLASSES, LOST, SPLITS, drawn, publish, write_folders, write_hub

datasets = pytest.importorskip("datasets")
LAYOUTS = ("files", "webdataset", "parquet")


@pytest.fixture(autouse=True)
def offline(monkeypatch, tmp_path):
    monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)


@pytest.fixture(scope="module")
def hub(tmp_path_factory):
    base = tmp_path_factory.mktemp("hub")
    write_hub(base / "src")
    for layout in LAYOUTS:
        publish(base, base / "src", layout)
    return base


@pytest.fixture(scope="module")
def folders(tmp_path_factory):
    base = tmp_path_factory.mktemp("folders")
    write_folders(base / "src")
    for layout in LAYOUTS:
        publish(base, base / "src", layout, gates__failed=0.5)
    return base


def keys(rows: Any) -> list[str]:
    return [image["path"] for image in rows.cast_column("image", datasets.Image(decode=False))["image"]]


def load(release: Path) -> Any:
    """Return the data set; of tars with the columns that others have, from their members."""
    found = datasets.load_dataset(str(release))
    if release.name != "webdataset":
        return found
    images = [name for name in next(iter(found.values())).column_names if name in ("jpg", "JPEG", "png")]
    for split, rows in found.items():
        assert rows["cls"][:] == rows.flatten()["json.label"][:]
        assert rows.features["cls"] == rows.features["json"]["label"]
        columns = {name: [own[name] for own in rows["json"]] for name in rows.features["json"]}
        for name in images:
            rows = rows.cast_column(name, datasets.Image(decode=False))
        columns["image"] = [next(filter(None, own)) for own in zip(*(rows[name] for name in images), strict=True)]
        features = {**rows.features["json"], "image": datasets.Image()}
        found[split] = datasets.Dataset.from_dict(columns, features=datasets.Features(features))
    return found


def check_twins(source: Any, twin: Any, lost: tuple[str, ...] = ()) -> None:
    """Check splits, order, columns with their features, values and pixels; `lost` are the images that were withheld."""
    assert set(twin) == set(source)
    for split, rows in source.items():
        kept = [at for at, key in enumerate(keys(rows)) if not key.endswith(lost or ("\0",))]
        assert len(kept) == len(rows) - len([key for key in lost if key.startswith(split)])
        rows = rows.select(kept)
        assert {name: twin[split].features.get(name) for name in rows.features} == dict(rows.features)
        for name in rows.column_names:
            if name != "image":
                assert twin[split][name][:] == rows[name][:], name
        for ours, own in zip(twin[split]["image"], rows["image"], strict=True):
            assert np.array_equal(np.asarray(ours), np.asarray(own))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_columns_of_the_hub_keep_splits_order_and_classes(hub, layout):
    check_twins(datasets.load_dataset(str(hub / "src")), load(hub / layout))


@pytest.mark.parametrize("layout", LAYOUTS)
def test_folders_of_classes_keep_splits_order_and_classes(folders, layout):
    source = datasets.load_dataset("imagefolder", data_dir=str(folders / "src"))
    assert source["train"].features["label"].names == sorted(CLASSES)
    check_twins(source, load(folders / layout), (LOST,))


def write_tar(path: Path, members: dict[str, bytes]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, "w") as tar:
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


@pytest.mark.parametrize(
    "texts",
    [
        {"cls": b"1", "txt": b"a cat"},
        {"cls": b"2", "caption": "an ð animal".encode(), "text": b"x"},
        {"json": b'{"size": 3}', "cls": b"1"},
        {},
    ],
    ids=lambda texts: "+".join(texts) or "nothing",
)
def test_shards_of_samples_have_the_columns_of_their_source(tmp_path, texts):
    for split, count in (("train", 6), ("val", 2)):
        members = {}
        for number in range(count):
            kind = "png" if number > 4 and "json" not in texts else "jpg"  # later than a loader looks for columns
            members[f"{number:03}.{kind}"] = drawn(number, {"png": "PNG", "jpg": "JPEG"}[kind])
            members.update((f"{number:03}.{name}", data) for name, data in texts.items())
        write_tar(tmp_path / f"src/set-{split}-0.tar", members)
    source = datasets.load_dataset(str(tmp_path / "src"), split="validation")
    twin = datasets.load_dataset(str(publish(tmp_path, tmp_path / "src", "webdataset")))
    assert {split: len(rows) for split, rows in twin.items()} == {"train": 6, "validation": 2}
    plain = [name for name in source.column_names if name not in ("jpg", "__url__")]
    assert {name: twin["validation"].features[name] for name in plain} == {
        name: source.features[name] for name in plain
    }
    assert {name: twin["validation"][name][:] for name in plain} == {name: source[name][:] for name in plain}
    assert keys_of(twin["train"]) == [f"{number:03}" for number in range(6)]


def keys_of(rows: Any) -> list[str]:
    return [key.rpartition("/")[2] for key in rows["__key__"]]


def test_folders_in_a_tar_are_classes(tmp_path):
    write_tar(tmp_path / "src.tar", {f"{name}/{number}.jpg": drawn(number) for name in "ba" for number in range(2)})
    rows = load(publish(tmp_path, tmp_path / "src.tar", "webdataset"))["train"]
    assert (rows.features["label"].names, rows["label"][:]) == (["a", "b"], [1, 1, 0, 0])


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_split_that_lost_all_images_does_not_stop_the_others(tmp_path, layout):
    for name in ("test/a/1.jpg", "test/it's #1: {x}/1.jpg", "val/a/1.jpg"):
        (tmp_path / "src" / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / "src" / name).write_bytes(drawn(1) if name.startswith("test") else b"no image")
    out = publish(tmp_path, tmp_path / "src", layout, gates__failed=0.5)
    assert {split: len(rows) for split, rows in load(out).items()} == {"test": 2}
    assert load(out)["test"].features["label"].names == ["a", "it's #1: {x}"]
    assert "| validation | 1 | 0 |" in (out / "README.md").read_text()


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_single_image_of_a_single_split(tmp_path, layout):
    (tmp_path / "src/test").mkdir(parents=True)
    (tmp_path / "src/test/1.jpg").write_bytes(drawn(1))
    found = datasets.load_dataset(str(publish(tmp_path, tmp_path / "src", layout)))
    assert {split: len(rows) for split, rows in found.items()} == {"test": 1}


@pytest.mark.parametrize("reader", [image_folder, timm_folder])
@pytest.mark.parametrize("split", ["train", "val", "test"])
def test_readers_of_folders_find_the_same(folders, reader, split):
    source, twin = reader(folders / "src" / split), reader(folders / "files/images" / split)
    assert twin.class_to_idx == source.class_to_idx
    assert twin.samples == [(path, number) for path, number in source.samples if f"{split}/{path}" != LOST]


@pytest.mark.parametrize("split", SPLITS)
def test_timm_reads_the_same_from_the_hub_and_from_a_release(hub, split, tmp_path):
    source, twin = (timm_hub(hub / name, split, tmp_path / name) for name in ("src", "parquet"))
    assert twin[0] == source[0]
    assert [label for _, label in twin[1]] == [label for _, label in source[1]]
    for (ours, _), (own, _) in zip(twin[1], source[1], strict=True):
        assert np.array_equal(np.asarray(Image.open(io.BytesIO(ours))), np.asarray(Image.open(io.BytesIO(own))))


def test_pandas_reads_provenance_shards_and_columns(hub, folders):
    provenance = pd.read_parquet(folders / "files/provenance")
    assert provenance["status"].value_counts().to_dict() == {"clean": 15, "failed": 1}
    assert provenance.groupby("split").size().to_dict() == {"train": 8, "validation": 4, "test": 4}
    shards = pd.read_parquet(hub / "parquet/shards")
    assert list(shards.columns[:4]) == ["image", "image_id", "synthetic", "label"]
    assert shards["caption"][0].startswith("test")
    train = pd.read_parquet(folders / "files/images/train/metadata.parquet")
    assert list(train["file_name"]) == [path for path, _ in sorted(timm_folder(folders / "files/images/train").samples)]


def _batches(pairs: list[tuple[Any, int]]) -> tuple[Any, Any]:
    import torch

    pixels = [
        np.asarray(Image.open(own).convert("RGB") if isinstance(own, Path) else own, np.float32) for own, _ in pairs
    ]
    return torch.tensor(np.stack(pixels) / 255).permute(0, 3, 1, 2), torch.tensor([label for _, label in pairs])


def _losses(batches: list[tuple[Any, Any]], classes: int, epochs: int = 12) -> list[float]:
    """Return the loss of a linear layer after each pass over the batches of images of 40 x 32 px."""
    import torch

    torch.manual_seed(0)
    network = torch.nn.Sequential(torch.nn.AvgPool2d(4), torch.nn.Flatten(), torch.nn.Linear(3 * 8 * 10, classes))
    steps = torch.optim.Adam(network.parameters(), 0.05)
    losses = []
    for _ in range(epochs):
        total = 0.0
        for images, labels in batches:
            loss = torch.nn.functional.cross_entropy(network(images), labels)
            steps.zero_grad()
            loss.backward()
            steps.step()
            total += float(loss.detach())
        losses.append(total / len(batches))
    return losses


@pytest.mark.parametrize("loader", ["datasets from parquet", "datasets from files", "image folder"])
def test_a_few_steps_of_training_learn_from_each_loader(hub, folders, loader):
    import torch

    if loader == "image folder":
        root = folders / "files/images/train"
        found = image_folder(root)
        pairs, classes = [(root / path, label) for path, label in found.samples], len(found.class_to_idx)
    else:
        rows = datasets.load_dataset(str(hub / loader.rpartition(" ")[2]), split="train")
        pairs, classes = [(row["image"], row["label"]) for row in rows], rows.features["label"].num_classes
    loading = torch.utils.data.DataLoader(pairs, batch_size=3, collate_fn=_batches)
    losses = _losses(list(loading), classes)
    assert losses[-1] < 0.5 * losses[0], losses
