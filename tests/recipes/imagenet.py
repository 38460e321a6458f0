"""Miniatures of ImageNet-1k in the four forms in which it is handed on, with its known oddities.

Sources of the forms: the archives of image-net.org as torchvision and TFDS read them; ILSVRC/imagenet-1k and timm/imagenet-1k-wds
on the Hugging Face Hub; face_annotations_ILSVRC.json as the code of "A Study of Face Obfuscation in ImageNet" reads it.
"""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import scipy.io
from recipes.photographs import Box, Photograph, photographs


class Synset(NamedTuple):
    """A class.

    Args:
        number: ILSVRC2012_ID, which the devkit's list of labels holds. It is in another order than the names.
        words: what the class is called.
    """

    number: int
    words: str


class Image(NamedTuple):
    """An image of the dataset: its name without class, the class, and which photograph it holds."""

    name: str
    wnid: str
    photograph: str


CLASSES = {
    "n01440764": Synset(2, "tench, Tinca tinca"),
    "n02105855": Synset(3, "Shetland sheepdog, Shetland sheep dog, Shetland"),
    "n04596742": Synset(1, "wok"),
}
PNG = "n02105855_2933"  # the only PNG of ImageNet, four channels, with the name of a JPEG
TRAIN = [
    Image("n01440764_10026", "n01440764", "plain"),
    Image("n01440764_10027", "n01440764", "bad_exif"),
    Image("n01440764_18", "n01440764", "lake"),
    Image("n02105855_10043", "n02105855", "turned"),
    Image(PNG, "n02105855", "png"),
    Image("n02105855_7", "n02105855", "cat"),
    Image("n04596742_12", "n04596742", "crowd"),
    Image("n04596742_3", "n04596742", "grey"),
    Image("n04596742_4225", "n04596742", "cmyk"),  # one of about 22
]
VAL = [
    Image("ILSVRC2012_val_00000001", "n04596742", "cup"),
    Image("ILSVRC2012_val_00000002", "n01440764", "plain"),
    Image("ILSVRC2012_val_00000003", "n02105855", "grey"),
    Image("ILSVRC2012_val_00000004", "n01440764", "cmyk"),  # in ImageNet ILSVRC2012_val_00019877
    Image("ILSVRC2012_val_00000005", "n04596742", "bad_exif"),
    Image("ILSVRC2012_val_00000006", "n02105855", "lake"),
]
TEST = [Image("ILSVRC2012_test_00000001", "", "rocket"), Image("ILSVRC2012_test_00000002", "", "plain")]
_SPLITS = {"train": TRAIN, "validation": VAL, "test": TEST}


def photograph(image: Image) -> Photograph:
    """Return what an image holds."""
    return photographs()[image.photograph]


def class_number(image: Image) -> int:
    """Return the number that loaders give the class of an image: the place of its name among all names; -1 without a class."""
    return sorted(CLASSES).index(image.wnid) if image.wnid else -1


def write_train(folder: Path) -> None:
    """Write `ILSVRC2012_img_train.tar`: a tar for each class, in which names begin with the class."""
    folder.mkdir(parents=True, exist_ok=True)
    inner = {}
    for wnid in CLASSES:
        buffer = io.BytesIO()
        _tar(buffer, {f"{own.name}.JPEG": photograph(own).data for own in TRAIN if own.wnid == wnid})
        inner[f"{wnid}.tar"] = buffer.getvalue()
    with (folder / "ILSVRC2012_img_train.tar").open("wb") as file:
        _tar(file, inner)


def write_val(folder: Path) -> None:
    """Write `ILSVRC2012_img_val.tar`, flat, and `ILSVRC2012_devkit_t12.tar.gz`, which tells the classes."""
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / "ILSVRC2012_img_val.tar").open("wb") as file:
        _tar(file, {f"{own.name}.JPEG": photograph(own).data for own in VAL})
    labels = "".join(f"{CLASSES[own.wnid].number}\n" for own in VAL)
    data = "ILSVRC2012_devkit_t12/data"
    members = {
        "ILSVRC2012_devkit_t12/readme.txt": b"ILSVRC2012 development kit\n",
        f"{data}/ILSVRC2012_validation_ground_truth.txt": labels.encode(),
        f"{data}/meta.mat": _synsets(),
    }
    with (folder / "ILSVRC2012_devkit_t12.tar.gz").open("wb") as file:
        _tar(file, members, "w:gz")


def write_faces(path: Path) -> None:
    """Write `face_annotations_ILSVRC.json`: every image of train and val, many without a box, and a box that is upside down.

    Boxes are in px of the stored image: that of the image with an EXIF orientation is at another place of the upright one.
    """
    entries: list[dict[str, Any]] = []
    for own in TRAIN + VAL:
        faces = [_stored(box, photograph(own)) if own.photograph == "turned" else box for box in photograph(own).faces]
        boxes = [dict(zip(("x0", "y0", "x1", "y1"), map(float, box), strict=True)) for box in faces]
        folder = f"train/{own.wnid}" if own in TRAIN else "val"
        entries.append({"url": f"{folder}/{own.name}.JPEG", "bboxes": boxes})
    entries[2]["bboxes"] = [{"x0": 90.0, "y0": 40.0, "x1": 30.0, "y1": 80.0}]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(entries))


def _stored(box: Box, turned: Photograph) -> Box:
    """Return a box of the upright image as one of the stored image, whose EXIF orientation is 6."""
    x1, y1, x2, y2 = box
    return y1, turned.size[0] - x2, y2, turned.size[0] - x1


def write_hub(folder: Path) -> None:
    """Write the Parquet files of ILSVRC/imagenet-1k: train, validation, and test with the label -1."""
    import datasets

    names = [CLASSES[wnid].words for wnid in sorted(CLASSES)]
    features = datasets.Features({"image": datasets.Image(), "label": datasets.ClassLabel(names=names)})
    (folder / "data").mkdir(parents=True)
    for split, images in _SPLITS.items():
        for at, part in enumerate(parts := [images[::2], images[1::2]]):
            rows = {
                "image": [{"bytes": photograph(own).data, "path": hub_name(own)} for own in part],
                "label": [class_number(own) for own in part],
            }
            name = f"{split}-{at:05d}-of-{len(parts):05d}.parquet"
            datasets.Dataset.from_dict(rows, features=features).to_parquet(folder / "data" / name)


def hub_name(image: Image) -> str:
    """Return the name of an image on the Hub, which ends with its class."""
    return "_".join(filter(None, (image.name, image.wnid))) + ".JPEG"


def write_wds(folder: Path) -> None:
    """Write the shards of timm/imagenet-1k-wds with `_info.json`: `.cls`, `.jpg` and `.json`, the classes mixed."""
    folder.mkdir(parents=True)
    splits = {}
    for split, digits in (("train", 4), ("validation", 2)):
        images = sorted(_SPLITS[split], key=lambda own: own.name[::-1])
        shards = {f"imagenet1k-{split}-{at:0{digits}d}.tar": images[at::2] for at in range(2)}
        for name, shard in shards.items():
            members = {}
            for own in shard:
                width, height = photograph(own).size
                given = {"filename": wds_filename(own), "height": height, "label": class_number(own), "width": width}
                members[f"{own.name}.cls"] = str(class_number(own)).encode()
                members[f"{own.name}.jpg"] = photograph(own).data
                members[f"{own.name}.json"] = json.dumps(given).encode()
            with (folder / name).open("wb") as file:
                _tar(file, members)
        lengths = [len(shard) for shard in shards.values()]
        splits[split] = {
            "name": split,
            "filenames": list(shards),
            "shard_lengths": lengths,
            "num_samples": sum(lengths),
        }
    (folder / "_info.json").write_text(json.dumps({"splits": splits}))


def wds_filename(image: Image) -> str:
    """Return what `.json` calls `filename`."""
    return f"{image.wnid}/{image.name}.JPEG"


def _tar(file: Any, members: Mapping[str, bytes], mode: str = "w") -> None:
    with tarfile.open(fileobj=file, mode=mode) as tar:  # type: ignore[call-overload]
        for name, data in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))


def _synsets() -> bytes:
    """Return meta.mat: a column of structs, the classes first, then synsets above them."""
    rows = [(own.number, wnid, own.words, 0) for wnid, own in CLASSES.items()]
    rows = [*sorted(rows), (len(rows) + 1, "n00001740", "entity", len(rows))]
    fields = (
        "ILSVRC2012_ID",
        "WNID",
        "words",
        "gloss",
        "num_children",
        "children",
        "wordnet_height",
        "num_train_images",
    )
    synsets = np.zeros((len(rows), 1), [(name, object) for name in fields])
    for at, (number, wnid, words, children) in enumerate(rows):
        below = np.arange(1, children + 1, dtype=np.uint16)[None] if children else np.zeros((1, 0), np.uint8)
        trained = sum(own.wnid == wnid for own in TRAIN)
        synsets[at, 0] = (number, wnid, words, "what it is", children, below, int(children > 0), trained)
    buffer = io.BytesIO()
    scipy.io.savemat(buffer, {"synsets": synsets}, do_compression=True)
    return buffer.getvalue()
