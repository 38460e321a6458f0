"""A development kit of ILSVRC 2012 in miniature: the files that tell the classes of validation images, as the real one does."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
from scipy.io import savemat

WNIDS = {1: "n02119789", 2: "n01440764", 3: "n15075141"}  # the kit's numbers are not the places in the sorted list
_PARENT = (1001, "n00001740", "entity", 3)
_FIELDS = ("ILSVRC2012_ID", "WNID", "words", "gloss", "num_children", "children", "wordnet_height", "num_train_images")


def meta_mat(wnid_of: Mapping[int, str] = WNIDS, training_images: int = 1300) -> bytes:
    """Return `meta.mat`: the classes, then a synset that has children."""
    synsets = [(number, wnid, f"words of {wnid}", 0) for number, wnid in wnid_of.items()] + [_PARENT]
    rows = [
        (number, wnid, words, "gloss", children, np.arange(1.0, children + 1), 1.0, training_images)
        for number, wnid, words, children in synsets
    ]
    table = np.array(rows, dtype=[(name, "O") for name in _FIELDS]).reshape(-1, 1)
    sink = io.BytesIO()
    savemat(sink, {"synsets": table})
    return sink.getvalue()


def write_devkit(path: Path, truth: Sequence[int], wnid_of: Mapping[int, str] = WNIDS) -> Path:
    """Write the kit as it is downloaded, a `.tar.gz`; `truth` has the number of each validation image."""
    files = {
        "readme.txt": b"Development kit",
        "data/meta.mat": meta_mat(wnid_of),
        "data/ILSVRC2012_validation_ground_truth.txt": "".join(f"{number}\n" for number in truth).encode(),
    }
    with tarfile.open(path, "w:gz") as archive:
        for name, data in files.items():
            info = tarfile.TarInfo(f"ILSVRC2012_devkit_t12/{name}")
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
    return path
