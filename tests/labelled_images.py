"""Labelled photographs, and the half of them on which thresholds are chosen."""

from __future__ import annotations

import hashlib
import json

import numpy as np

from anon_batch.records import Preview


def images_of(folder):
    """Yield (entry of boxes.json, image) of a folder of `external_data`."""
    from PIL import Image

    for entry in json.loads((folder / "boxes.json").read_text()):
        with Image.open(folder / "images" / entry["file"]) as file:
            pixels = np.asarray(file.convert("RGB"))
        yield entry, Preview(entry["file"], pixels)


def half_of(name):
    """Return 0 for the images on which thresholds and the like were chosen, 1 for the others."""
    return hashlib.sha256(name.encode()).digest()[0] % 2
