"""A reader of WIDER FACE as `torchvision.datasets.WIDERFace` is one. torchvision is too large to be installed for tests."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

_ATTRIBUTES = ("blur", "expression", "illumination", "invalid", "occlusion", "pose")  # in the order of the file


class WIDERFace:
    """(image, target) of a split below `ROOT/widerface`, in the order of the label file.

    `target["bbox"]` has a row x, y, width, height for each face; an image without faces has the file's row of zeros.

    Args:
        root: the folder.
        split: train or val.
    """

    def __init__(self, root: Path, split: str) -> None:
        base = root / "widerface"
        lines = (base / f"wider_face_split/wider_face_{split}_bbx_gt.txt").read_text().splitlines()
        self._images = base / f"WIDER_{split}/images"
        self._entries: list[tuple[str, np.ndarray]] = []
        at = 0
        while at < len(lines):
            name, count = lines[at].rstrip(), int(lines[at + 1])
            at += 2
            faces = [[int(value) for value in line.split()] for line in lines[at : at + max(count, 1)]]
            self._entries.append((name, np.array(faces)))
            at += max(count, 1)

    def __len__(self) -> int:
        return len(self._entries)

    def __iter__(self) -> Iterator[tuple[Image.Image, dict[str, Any]]]:
        for name, labels in self._entries:
            attributes = zip(_ATTRIBUTES, labels[:, 4:].T, strict=True)
            with Image.open(self._images / name) as image:
                yield image, {"bbox": labels[:, :4], **dict(attributes)}
