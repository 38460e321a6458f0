"""Ground truth in simple JSON and CSV."""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Mapping
from typing import Any

from anon_batch.errors import ManifestError
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.truth.labelled import Box, Entries, Labelled, with_labels
from anon_batch.records import DEFAULT_LABEL

_NAME_KEYS = ("image_id", "file", "file_name")
_BOX_KEYS = ("x1", "y1", "x2", "y2")


def read_json(data: Any, where: str, labels: LabelMap) -> Entries:
    """Read a mapping of names to lists of boxes, or a list of objects with `file` and `boxes`.

    Raises:
        ManifestError: neither, or not a box; names the image.
    """
    if isinstance(data, dict):
        entries: Iterable[tuple[Any, Any, Any]] = [(name, boxes, {}) for name, boxes in data.items()]
    elif isinstance(data, list) and all(isinstance(e, dict) for e in data):
        entries = [(next((e[k] for k in _NAME_KEYS if k in e), None), e.get("boxes"), e) for e in data]
    else:
        raise ManifestError(
            f'{where}: expected {{"file.jpg": [[x1, y1, x2, y2], ...]}}, [{{"file": ..., "boxes": [...]}}] or COCO'
        )
    out: Entries = {}
    for name, boxes, entry in entries:
        if not isinstance(name, str) or not isinstance(boxes, list):
            raise ManifestError(f"{where}: the entry {str(name)[:80]!r} has no name or no list of boxes")
        if name in out:
            raise ManifestError(f"{where}: {name!r} appears twice")
        out[name] = Labelled(with_labels((_json_box(box, f"{where}, {name}") for box in boxes), labels), size_of(entry))
    return out


def size_of(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return `width` and `height` of an entry, where it has both as positive numbers."""
    sides = [entry.get("width"), entry.get("height")]
    if not all(isinstance(side, (int, float)) and 1 <= side < 2**31 for side in sides):
        return None
    return int(sides[0] or 0), int(sides[1] or 0)


def _json_box(box: Any, where: str) -> Box:
    if not isinstance(box, dict):
        x1, y1, x2, y2 = four_numbers(box, where)
        return Box(x1, y1, x2, y2)
    label, ignore, keep = box.get("label", DEFAULT_LABEL), box.get("ignore", False), box.get("keep", False)
    if not isinstance(label, str) or not isinstance(ignore, bool) or not isinstance(keep, bool):
        raise ManifestError(f"{where}: {str(box)[:80]}: label must be text, ignore and keep true or false")
    x1, y1, x2, y2 = four_numbers([box.get(key) for key in _BOX_KEYS], where)
    return Box(x1, y1, x2, y2, label, ignore, keep)


def four_numbers(box: Any, where: str) -> list[float]:
    """Return the first four numbers of a list.

    Raises:
        ManifestError: it has fewer, or other values.
    """
    four = box[:4] if isinstance(box, list) else ()
    if len(four) < 4 or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in four):
        raise ManifestError(f"{where}: {str(box)[:80]} is not a box of four numbers")
    return [float(v) for v in four]


def read_csv(text: str, where: str, labels: LabelMap) -> Entries:
    """Read lines of an image's name and a box, or a name without a box.

    Raises:
        ManifestError: other columns, or not a box; names the line.
    """
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    out: Entries = {}
    try:
        header = reader.fieldnames or ()
        key = next((k for k in _NAME_KEYS if k in header), None)
        if key is None or any(k not in header for k in _BOX_KEYS):
            raise ManifestError(
                f"{where}: expected columns image_id (or file, file_name), x1, y1, x2, y2[, label, ignore, keep]"
            )
        for record in reader:
            boxes = out.setdefault(record[key] or "", Labelled([])).boxes
            texts = [(record[k] or "").strip() for k in _BOX_KEYS]
            if any(texts):
                x1, y1, x2, y2 = (float(text) for text in texts)
                label = (record.get("label") or "").strip() or DEFAULT_LABEL
                box = Box(x1, y1, x2, y2, label, _flag(record, "ignore"), _flag(record, "keep"))
                boxes += with_labels([box], labels)
    except (csv.Error, ValueError) as exc:
        raise ManifestError(f"{where}, line {reader.line_num}: {exc}") from None
    return out


def _flag(record: Mapping[str, str | None], name: str) -> bool:
    value = (record.get(name) or "").strip().lower()
    if value not in ("", "0", "1", "true", "false"):
        raise ValueError(f"{name} is {record[name]!r}, expected 0, 1, true or false")
    return value in ("1", "true")
