"""Ground truth in the formats that datasets come with."""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np

from anon_batch.errors import ManifestError, ObjectNotFoundError
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.names import has_image_suffix
from anon_batch.records import DEFAULT_LABEL, GroundTruth
from anon_batch.storage import Storage

_FACE_CATEGORIES = {"face", "human face"}
_NAME_KEYS = ("image_id", "file", "file_name")
_BOX_KEYS = ("x1", "y1", "x2", "y2")


class _Box(NamedTuple):
    x1: float
    y1: float
    x2: float
    y2: float
    label: str = DEFAULT_LABEL
    ignore: bool = False
    keep: bool = False


class _Labelled(NamedTuple):
    """The boxes of an image, and the size that the file gives it."""

    boxes: list[_Box]
    size: tuple[int, int] | None = None


_Entries = dict[str, _Labelled]


def read_ground_truth(storage: Storage, uri: str, labels: LabelMap | None = None) -> dict[str, GroundTruth]:
    """Read a file of labelled regions.

    The format follows from the suffix and the content: `.json` is COCO when it has `images` and
    `annotations`, else a mapping from names to lists of boxes [x1, y1, x2, y2, ...], or a list of {"file":
    ..., "boxes": [...]}; a box may also be an object with x1, y1, x2, y2 and possibly label, ignore and keep; `.csv` has the
    columns image_id (or file, file_name), x1, y1, x2, y2 and possibly label, ignore and keep, and a line without coordinates
    for an image without regions; `.txt` is the format of WIDER FACE.

    The categories of COCO become labels: `face` for the only category, and for one that is called face; then the others are
    left out. Else each category is a label of its name.

    Args:
        storage: to read with.
        uri: of the file.
        labels: which labels to give instead.

    Returns:
        Image's name -> its regions, with the size that COCO or a list gives the image; an empty record means that it has
        none. Boxes without area are set to `ignore`.

    Raises:
        ManifestError: not one of these formats, or not a box; the message names the place.
        StorageError: it cannot be read.
    """
    suffix = posixpath.splitext(uri)[1].lower()
    readers = {".json": _from_json, ".csv": _from_csv, ".txt": _from_wider}
    if suffix not in readers:
        raise ManifestError(f"ground truth {uri}: expected .json, .csv or .txt (WIDER FACE)")
    try:
        text = storage.read(uri).decode("utf-8-sig")
    except ObjectNotFoundError:
        raise ManifestError(f"no ground truth at {uri}; check the address given with --ground-truth") from None
    except UnicodeDecodeError as exc:
        raise ManifestError(f"ground truth {uri}: not UTF-8 ({exc.reason} at byte {exc.start})") from None
    found = readers[suffix](text, f"ground truth {uri}", labels or LabelMap())
    if not found:
        raise ManifestError(f"ground truth {uri} names no image")
    return {name: _checked(*labelled, f"ground truth {uri}, {name}") for name, labelled in found.items()}


def _checked(boxes: Sequence[_Box], size: tuple[int, int] | None, where: str) -> GroundTruth:
    xyxy = np.array([box[:4] for box in boxes], np.float32).reshape(-1, 4)
    if not np.isfinite(xyxy).all():
        raise ManifestError(f"{where}: a coordinate is NaN or infinite")
    if (xyxy[:, 2] < xyxy[:, 0]).any() or (xyxy[:, 3] < xyxy[:, 1]).any():
        raise ManifestError(f"{where}: a box has x2 < x1 or y2 < y1; boxes are [x1, y1, x2, y2] in px")
    empty = (xyxy[:, 2] == xyxy[:, 0]) | (xyxy[:, 3] == xyxy[:, 1])
    ignore = np.array([box.ignore for box in boxes], np.bool_) | empty
    keep = np.array([box.keep for box in boxes], np.bool_)
    return GroundTruth(xyxy, ignore, tuple(box.label for box in boxes), keep, size)


def _labelled(boxes: Iterable[_Box], labels: LabelMap) -> list[_Box]:
    named = ((box, labels.get(box.label)) for box in boxes)
    return [box._replace(label=label) for box, label in named if label is not None]


def _from_json(text: str, where: str, labels: LabelMap) -> _Entries:
    try:
        data = json.loads(text)
    except ValueError as exc:
        raise ManifestError(f"{where}: not JSON ({exc})") from None
    if isinstance(data, dict) and isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list):
        return _from_coco(data, where, labels)
    if isinstance(data, dict):
        entries: Iterable[tuple[Any, Any, Any]] = [(name, boxes, {}) for name, boxes in data.items()]
    elif isinstance(data, list) and all(isinstance(e, dict) for e in data):
        entries = [(next((e[k] for k in _NAME_KEYS if k in e), None), e.get("boxes"), e) for e in data]
    else:
        raise ManifestError(
            f'{where}: expected {{"file.jpg": [[x1, y1, x2, y2], ...]}}, [{{"file": ..., "boxes": [...]}}] or COCO'
        )
    out: _Entries = {}
    for name, boxes, entry in entries:
        if not isinstance(name, str) or not isinstance(boxes, list):
            raise ManifestError(f"{where}: the entry {str(name)[:80]!r} has no name or no list of boxes")
        if name in out:
            raise ManifestError(f"{where}: {name!r} appears twice")
        out[name] = _Labelled(_labelled((_json_box(box, f"{where}, {name}") for box in boxes), labels), _size(entry))
    return out


def _size(entry: Mapping[str, Any]) -> tuple[int, int] | None:
    """Return `width` and `height` of an entry, where it has both as positive numbers."""
    sides = [entry.get("width"), entry.get("height")]
    if not all(isinstance(side, (int, float)) and 1 <= side < 2**31 for side in sides):
        return None
    return int(sides[0] or 0), int(sides[1] or 0)


def _json_box(box: Any, where: str) -> _Box:
    if not isinstance(box, dict):
        x1, y1, x2, y2 = _numbers(box, where)
        return _Box(x1, y1, x2, y2)
    label, ignore, keep = box.get("label", DEFAULT_LABEL), box.get("ignore", False), box.get("keep", False)
    if not isinstance(label, str) or not isinstance(ignore, bool) or not isinstance(keep, bool):
        raise ManifestError(f"{where}: {str(box)[:80]}: label must be text, ignore and keep true or false")
    x1, y1, x2, y2 = _numbers([box.get(key) for key in _BOX_KEYS], where)
    return _Box(x1, y1, x2, y2, label, ignore, keep)


def _numbers(box: Any, where: str) -> list[float]:
    four = box[:4] if isinstance(box, list) else ()
    if len(four) < 4 or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in four):
        raise ManifestError(f"{where}: {str(box)[:80]} is not a box of four numbers")
    return [float(v) for v in four]


def _from_coco(data: Mapping[str, Any], where: str, labels: LabelMap) -> _Entries:
    try:
        label_of = _coco_labels({c["id"]: str(c["name"]) for c in data.get("categories") or ()}, labels)
        names = {image["id"]: str(image["file_name"]) for image in data["images"]}
        if len(set(names.values())) < len(data["images"]):
            raise ManifestError(f"{where}: two entries of `images` have the same id or file_name")
        out = {str(image["file_name"]): _Labelled([], _size(image)) for image in data["images"]}
        for annotation in data["annotations"]:
            label = label_of[annotation["category_id"]] if label_of else labels.get(DEFAULT_LABEL)
            if label is None:
                continue
            x, y, w, h = _numbers(annotation["bbox"], f"{where}, image {annotation['image_id']}")
            ignored = bool(annotation.get("iscrowd") or annotation.get("ignore"))
            out[names[annotation["image_id"]]].boxes.append(_Box(x, y, x + w, y + h, label, ignored))
    except (KeyError, TypeError, AttributeError) as exc:
        raise ManifestError(f"{where}: not COCO, {type(exc).__name__}: {exc}") from None
    return out


def _coco_labels(categories: Mapping[Any, str], labels: LabelMap) -> dict[Any, str | None]:
    """Return category id -> label, None for a category to leave out."""
    if labels.label is not None or labels.categories:
        return {key: labels.get(name.strip()) for key, name in categories.items()}
    faces = {key for key, name in categories.items() if name.strip().casefold() in _FACE_CATEGORIES}
    if faces or len(categories) == 1:
        return {key: DEFAULT_LABEL if key in faces or not faces else None for key in categories}
    return {key: name.strip() for key, name in categories.items()}


def _from_csv(text: str, where: str, labels: LabelMap) -> _Entries:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    out: _Entries = {}
    try:
        header = reader.fieldnames or ()
        key = next((k for k in _NAME_KEYS if k in header), None)
        if key is None or any(k not in header for k in _BOX_KEYS):
            raise ManifestError(
                f"{where}: expected columns image_id (or file, file_name), x1, y1, x2, y2[, label, ignore, keep]"
            )
        for record in reader:
            boxes = out.setdefault(record[key] or "", _Labelled([])).boxes
            texts = [(record[k] or "").strip() for k in _BOX_KEYS]
            if any(texts):
                x1, y1, x2, y2 = (float(text) for text in texts)
                label = (record.get("label") or "").strip() or DEFAULT_LABEL
                box = _Box(x1, y1, x2, y2, label, _flag(record, "ignore"), _flag(record, "keep"))
                boxes += _labelled([box], labels)
    except (csv.Error, ValueError) as exc:
        raise ManifestError(f"{where}, line {reader.line_num}: {exc}") from None
    return out


def _flag(record: Mapping[str, str | None], name: str) -> bool:
    value = (record.get(name) or "").strip().lower()
    if value not in ("", "0", "1", "true", "false"):
        raise ValueError(f"{name} is {record[name]!r}, expected 0, 1, true or false")
    return value in ("1", "true")


def _from_wider(text: str, where: str, labels: LabelMap) -> _Entries:
    """Read WIDER FACE: name, count, then a line `x y w h blur expression illumination invalid occlusion pose` a face.

    A count of 0 is followed by one line of zeros (format: the readme of WIDER FACE's annotations).
    """
    lines = text.splitlines()
    out: _Entries = {}
    at = 0
    while at < len(lines):
        name = lines[at].strip()
        at += 1
        if not name:
            continue
        try:
            if not has_image_suffix(name) or name in out:
                raise ValueError("expected the name of an image that has not come before")
            count = int(lines[at])
            faces = [[float(v) for v in line.split()] for line in lines[at + 1 : at + 1 + count]]
            if count < 0 or len(faces) < count or any(len(f) < 4 for f in faces):
                raise ValueError(f"expected {count} lines of x y w h ...")
        except (ValueError, IndexError) as exc:
            raise ManifestError(f"{where}, line {at}, {name[:80]!r}: not WIDER FACE ({exc})") from None
        boxes = (_Box(f[0], f[1], f[0] + f[2], f[1] + f[3], DEFAULT_LABEL, len(f) > 7 and f[7] == 1) for f in faces)
        out[name] = _Labelled(_labelled(boxes, labels))
        at += 1 + count
        if count == 0 and at < len(lines) and set(lines[at].split()) == {"0"}:
            at += 1
    return out
