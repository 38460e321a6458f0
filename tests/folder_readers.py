"""Readers of image folders, written after the definitions of the tools, because these are too large to be installed for tests.

`image_folder` does what `torchvision.datasets.ImageFolder` does, `timm_folder` and `timm_hub` what timm's `ReaderImageFolder` and
`ReaderHfds` do.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any, NamedTuple

_TORCHVISION = (".jpg", ".jpeg", ".png", ".ppm", ".bmp", ".pgm", ".tif", ".tiff", ".webp")
_TIMM = {".png", ".jpg", ".jpeg"}


class Samples(NamedTuple):
    """What a reader finds: class -> its number, and (path below the root, number of the class) in order."""

    class_to_idx: dict[str, int]
    samples: list[tuple[str, int]]


def image_folder(root: Path) -> Samples:
    """Read a folder whose folders are the classes, in the order of their names.

    Raises:
        FileNotFoundError: no class, or one without an image.
    """
    classes = sorted(entry.name for entry in os.scandir(root) if entry.is_dir())
    if not classes:
        raise FileNotFoundError(f"no class in {root}")
    numbers = {name: number for number, name in enumerate(classes)}
    found = []
    for name in classes:
        own = [
            (os.path.relpath(os.path.join(folder, file), root), numbers[name])
            for folder, _, files in sorted(os.walk(root / name, followlinks=True))
            for file in sorted(files)
            if file.lower().endswith(_TORCHVISION)
        ]
        if not own:
            raise FileNotFoundError(f"no image in {root / name}")
        found += own
    return Samples(numbers, found)


def timm_folder(root: Path) -> Samples:
    """Read all images below a folder; their classes are the names of the folders that they lie in, in natural order."""
    found = []
    for folder, _, files in os.walk(root, topdown=False, followlinks=True):
        label = os.path.basename(os.path.relpath(folder, root)) if folder != str(root) else ""
        found += [(os.path.join(folder, file), label) for file in files if os.path.splitext(file)[1].lower() in _TIMM]
    numbers = {name: number for number, name in enumerate(sorted({label for _, label in found}, key=_natural))}
    ordered = sorted(((path, numbers[label]) for path, label in found), key=lambda sample: _natural(sample[0]))
    return Samples(numbers, [(os.path.relpath(path, root), number) for path, number in ordered])


def timm_hub(path: Path, split: str, cache: Path) -> tuple[dict[str, int], list[tuple[bytes, int]]]:
    """Read a split of a data set; return class -> its number, and (file, number of the class) in order."""
    import datasets

    rows: Any = datasets.load_dataset(str(path), split=split, cache_dir=str(cache))
    rows = rows.cast_column("image", datasets.Image(decode=False))
    label = rows.info.features["label"]
    assert rows.info.splits[split].num_examples == len(rows)
    images = [row["image"]["bytes"] or Path(row["image"]["path"]).read_bytes() for row in rows]
    return {name: label.str2int(name) for name in label.names}, list(zip(images, rows["label"], strict=True))


def _natural(text: str) -> list[int | str]:
    return [int(part) if part.isdigit() else part for part in re.split(r"(\d+)", text.lower())]
