"""Ground truth of ILSVRC's faces: `face_annotations_ILSVRC.json`, a list of `{"url": ..., "bboxes": [{x0, y0, x1, y1}, ...]}`.

The boxes are in px of the image as it is stored. Those with x0 >= x1 or y0 >= y1 stand for nothing, as in the code that its
authors published with it, and are left out. The list has 1.4 million entries, which are read one by one.

Source: experiments/blurring.py of imagenet-face-obfuscation.
"""

from __future__ import annotations

import json
import math
import re
from array import array
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.truth.labelled import truth_table
from anon_batch.records import DEFAULT_LABEL

_KEYS = ("x0", "y0", "x1", "y1")
_SPACE = re.compile(r"[\s,]*")
_START = re.compile(r'\s*\[\s*\{[^{}\[\]]*("url"|"bboxes")')


def is_ilsvrc(text: str) -> bool:
    """Return whether a JSON text begins as the list of faces of ILSVRC does."""
    return _START.match(text[:4096]) is not None


class FaceTable(NamedTuple):
    """The table, and how many boxes were left out."""

    table: pa.Table
    void_count: int


def read_ilsvrc(text: str, where: str, labels: LabelMap) -> FaceTable:
    """Return a table of SCHEMA.

    Raises:
        ManifestError: an entry without `url` or `bboxes`, a box without its four numbers, or an image that comes twice.
    """
    names: dict[str, None] = {}
    counts, numbers = array("l"), array("f")
    label = labels.get(DEFAULT_LABEL)
    for entry in _entries(text, where):
        name, boxes = (entry.get("url"), entry.get("bboxes")) if isinstance(entry, dict) else (None, None)
        if not isinstance(name, str) or not isinstance(boxes, list):
            raise ManifestError(f"{where}: the entry {str(entry)[:80]!r} has no url or no bboxes")
        if name in names:
            raise ManifestError(f"{where}: {name!r} appears twice")
        names[name] = None
        counts.append(0 if label is None else len(boxes))
        for box in boxes if label is not None else ():
            numbers.extend(_corners(box, f"{where}, {name}"))
    corners = np.frombuffer(numbers, np.float32).reshape(-1, 4)
    sound = (corners[:, 2] > corners[:, 0]) & (corners[:, 3] > corners[:, 1])
    owners = np.repeat(np.arange(len(counts)), np.frombuffer(counts, np.int64))[sound]
    table = truth_table(list(names), owners, corners[sound], [label or DEFAULT_LABEL] * int(sound.sum()))
    return FaceTable(table, int((~sound).sum()))


def _entries(text: str, where: str) -> Iterator[Any]:
    decoder, at = json.JSONDecoder(), text.index("[") + 1
    try:
        while (at := _end_of_space(text, at)) < len(text) and text[at] != "]":
            entry, at = decoder.raw_decode(text, at)
            yield entry
        if at >= len(text):
            raise ManifestError(f"{where}: not JSON: it ends before the list does; fetch it again")
    except (ValueError, RecursionError) as exc:
        raise ManifestError(f"{where}: not JSON ({exc})") from None


def _end_of_space(text: str, at: int) -> int:
    found = _SPACE.match(text, at)
    return at if found is None else found.end()


def _corners(box: Any, where: str) -> list[float]:
    values = [box.get(key) for key in _KEYS] if isinstance(box, dict) else []
    numbers = [float(value) for value in values if isinstance(value, (int, float)) and math.isfinite(value)]
    if len(numbers) < len(_KEYS):
        raise ManifestError(f"{where}: {str(box)[:80]} is not a box of x0, y0, x1 and y1")
    return numbers
