"""A miniature of WIDER FACE as it is unpacked: drawn images, the file of labels, and the nested lists of eval_tools."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image
from scipy.io import savemat

INVALID = 7  # position of this attribute in a line of the labels
DIFFICULTIES = ("easy", "medium", "hard")


class Face(NamedTuple):
    """A labelled face: x, y, width, height in px, the difficulties in which it counts, and whether it is `invalid`."""

    xywh: tuple[int, int, int, int]
    counts: str = "easy medium hard"
    invalid: int = 0


Events = Mapping[str, Mapping[str, Sequence[Face]]]  # event -> name without suffix -> faces

EVENTS: Events = {
    "0--Parade": {
        "0_Parade_a_1": [Face((20, 30, 40, 40)), Face((100, 40, 10, 10), "hard")],
        "0_Parade_b_2": [Face((10, 10, 30, 30), "medium hard"), Face((70, 20, 30, 30)), Face((5, 80, 4, 4), "", 1)],
        "0_Parade_none_3": [],
    },
    "1--Handshaking": {"1_Handshaking_c_4": [Face((50, 50, 50, 50)), Face((3, 3, 0, 9), "")]},
}


def write_wider(root: Path, events: Events = EVENTS, size: tuple[int, int] = (160, 120)) -> Path:
    """Write `WIDER_val`, `wider_face_split` and `eval_tools/ground_truth` below a folder, and return it.

    Faces are white rectangles on black.
    """
    lines = []
    for event, images in events.items():
        folder = root / "WIDER_val/images" / event
        folder.mkdir(parents=True)
        for name, faces in images.items():
            pixels = np.zeros((size[1], size[0], 3), np.uint8)
            lines += [f"{event}/{name}.jpg", str(len(faces))]
            for face in faces:
                x, y, w, h = face.xywh
                pixels[y : y + h, x : x + w] = 255
                attributes = ["0"] * 6
                attributes[INVALID - 4] = str(face.invalid)
                lines.append(" ".join([*map(str, face.xywh), *attributes, ""]))  # as there, with a space at the end
            if not faces:
                lines.append("0 0 0 0 0 0 0 0 0 0 ")
            Image.fromarray(pixels).save(folder / f"{name}.jpg", quality=95)
    labels = root / "wider_face_split/wider_face_val_bbx_gt.txt"
    labels.parent.mkdir()
    labels.write_text("\n".join([*lines, ""]))
    write_lists(root / "eval_tools/ground_truth", events)
    return root


def write_lists(folder: Path, events: Events) -> None:
    """Write the four lists of eval_tools."""
    folder.mkdir(parents=True)
    names = {
        "event_list": column(list(events)),
        "file_list": column([column(list(images)) for images in events.values()]),
    }
    boxes = [column([_numbers([f.xywh for f in faces], 4) for faces in images.values()]) for images in events.values()]
    savemat(folder / "wider_face_val.mat", {**names, "face_bbx_list": column(boxes)})
    for difficulty in DIFFICULTIES:
        kept = [
            column([_numbers(_counted(faces, difficulty), 1) for faces in images.values()])
            for images in events.values()
        ]
        savemat(folder / f"wider_{difficulty}_val.mat", {**names, "gt_list": column(kept)})


def column(values: Sequence[object]) -> np.ndarray:
    """Return a column of cells, as MATLAB saves it."""
    out = np.empty((len(values), 1), object)
    for at, value in enumerate(values):
        out[at, 0] = value
    return out


def _counted(faces: Sequence[Face], difficulty: str) -> list[list[int]]:
    return [[at] for at, face in enumerate(faces, 1) if difficulty in face.counts.split()]


def _numbers(rows: Sequence[Sequence[int]], width: int) -> np.ndarray:
    """Return whole numbers without a sign, as the files have them; no rows are an empty matrix."""
    return np.array(rows, np.uint16).reshape(-1, width) if rows else np.zeros((0, 0), np.uint8)
