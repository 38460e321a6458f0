"""Ground truth in the formats that data sets come with, and its attachment to images.

A ground-truth file is held in memory as one (N, 5) float32 array a picture: x1, y1, x2, y2 in px of the
upright picture, and 1 where the face is to be ignored.
"""

from __future__ import annotations

import csv
import io
import json
import posixpath
from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import numpy.typing as npt

from anon_batch.errors import ManifestError
from anon_batch.manifest.names import has_image_suffix
from anon_batch.storage import Storage

FaceRows = npt.NDArray[np.float32]

_FACE_CATEGORIES = {"face", "human face"}
_NAME_KEYS = ("image_id", "file", "file_name")
_BOX_KEYS = ("x1", "y1", "x2", "y2")


def read_ground_truth(storage: Storage, uri: str) -> dict[str, FaceRows]:
    """Reads a file of labelled faces.

    The format follows from the suffix and the content: `.json` is COCO when it has `images` and
    `annotations`, else a mapping from names to lists of boxes [x1, y1, x2, y2, ...] or a list of {"file":
    ..., "boxes": [...]}; `.csv` has the columns image_id (or file, file_name), x1, y1, x2, y2 and possibly
    ignore, and a line without coordinates for a picture without faces; `.txt` is the format of WIDER FACE.

    Returns:
        Picture's name -> (N, 5) faces; (0, 5) says that it has none. Boxes of no area are marked to be
        ignored.

    Raises:
        ManifestError: not one of these formats, or a box that is none; names the place.
        StorageError: it cannot be read.
    """
    suffix = posixpath.splitext(uri)[1].lower()
    readers = {".json": _from_json, ".csv": _from_csv, ".txt": _from_wider}
    if suffix not in readers:
        raise ManifestError(f"ground truth {uri}: expected .json, .csv or .txt (WIDER FACE)")
    try:
        text = storage.read(uri).decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ManifestError(f"ground truth {uri}: not UTF-8 ({exc.reason} at byte {exc.start})") from None
    found = readers[suffix](text, f"ground truth {uri}")
    if not found:
        raise ManifestError(f"ground truth {uri} names no picture")
    return {name: _checked(boxes, name, uri) for name, boxes in found.items()}


def _checked(boxes: list[tuple[float, ...]], name: str, uri: str) -> FaceRows:
    rows = np.asarray(boxes, np.float32).reshape(-1, 5)
    if not np.isfinite(rows).all():
        raise ManifestError(f"ground truth {uri}, {name}: a coordinate is NaN or infinite")
    if (rows[:, 2] < rows[:, 0]).any() or (rows[:, 3] < rows[:, 1]).any():
        raise ManifestError(
            f"ground truth {uri}, {name}: a box has x2 < x1 or y2 < y1; boxes are [x1, y1, x2, y2] in px"
        )
    rows[(rows[:, 2] == rows[:, 0]) | (rows[:, 3] == rows[:, 1]), 4] = 1
    return rows


def _from_json(text: str, where: str) -> dict[str, list[tuple[float, ...]]]:
    try:
        data = json.loads(text)
    except ValueError as exc:
        raise ManifestError(f"{where}: not JSON ({exc})") from None
    if isinstance(data, dict) and isinstance(data.get("images"), list) and isinstance(data.get("annotations"), list):
        return _from_coco(data, where)
    if isinstance(data, dict):
        pairs: Iterable[tuple[Any, Any]] = data.items()
    elif isinstance(data, list) and all(isinstance(e, dict) for e in data):
        pairs = [(next((e[k] for k in _NAME_KEYS if k in e), None), e.get("boxes")) for e in data]
    else:
        raise ManifestError(
            f'{where}: expected {{"file.jpg": [[x1, y1, x2, y2], ...]}}, [{{"file": ..., "boxes": [...]}}] or COCO'
        )
    out: dict[str, list[tuple[float, ...]]] = {}
    for name, boxes in pairs:
        if not isinstance(name, str) or not isinstance(boxes, list):
            raise ManifestError(f"{where}: the entry {str(name)[:80]!r} has no name or no list of boxes")
        if name in out:
            raise ManifestError(f"{where}: {name!r} appears twice")
        out[name] = [(*_numbers(b, f"{where}, {name}"), 0.0) for b in boxes]
    return out


def _numbers(box: Any, where: str) -> list[float]:
    four = box[:4] if isinstance(box, list) else ()
    if len(four) < 4 or not all(isinstance(v, (int, float)) and not isinstance(v, bool) for v in four):
        raise ManifestError(f"{where}: {str(box)[:80]} is no box of four numbers")
    return [float(v) for v in four]


def _from_coco(data: Mapping[str, Any], where: str) -> dict[str, list[tuple[float, ...]]]:
    try:
        categories = data.get("categories") or ()
        chosen = {c["id"] for c in categories if str(c["name"]).strip().casefold() in _FACE_CATEGORIES}
        names = {image["id"]: str(image["file_name"]) for image in data["images"]}
        if len(set(names.values())) < len(data["images"]):
            raise ManifestError(f"{where}: two entries of `images` have the same id or file_name")
        out: dict[str, list[tuple[float, ...]]] = {name: [] for name in names.values()}
        for label in data["annotations"]:
            if chosen and label.get("category_id") not in chosen:
                continue
            x, y, w, h = _numbers(label["bbox"], f"{where}, image {label['image_id']}")
            ignored = bool(label.get("iscrowd") or label.get("ignore"))
            out[names[label["image_id"]]].append((x, y, x + w, y + h, float(ignored)))
    except (KeyError, TypeError, AttributeError) as exc:
        raise ManifestError(f"{where}: not COCO, {type(exc).__name__}: {exc}") from None
    return out


def _from_csv(text: str, where: str) -> dict[str, list[tuple[float, ...]]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    out: dict[str, list[tuple[float, ...]]] = {}
    try:
        header = reader.fieldnames or ()
        key = next((k for k in _NAME_KEYS if k in header), None)
        if key is None or any(k not in header for k in _BOX_KEYS):
            raise ManifestError(f"{where}: expected columns image_id (or file, file_name), x1, y1, x2, y2[, ignore]")
        for record in reader:
            boxes = out.setdefault(record[key] or "", [])
            texts = [(record[k] or "").strip() for k in _BOX_KEYS]
            if any(texts):
                boxes.append((*(float(t) for t in texts), float(_flag(record.get("ignore")))))
    except (csv.Error, ValueError) as exc:
        raise ManifestError(f"{where}, line {reader.line_num}: {exc}") from None
    return out


def _flag(text: str | None) -> bool:
    value = (text or "").strip().lower()
    if value not in ("", "0", "1", "true", "false"):
        raise ValueError(f"ignore is {text!r}, expected 0, 1, true or false")
    return value in ("1", "true")


def _from_wider(text: str, where: str) -> dict[str, list[tuple[float, ...]]]:
    """Name, count, then a line `x y w h blur expression illumination invalid occlusion pose` a face. A count
    of 0 is followed by one line of zeros (format: the readme of WIDER FACE's annotations).
    """
    lines = text.splitlines()
    out: dict[str, list[tuple[float, ...]]] = {}
    at = 0
    while at < len(lines):
        name = lines[at].strip()
        at += 1
        if not name:
            continue
        try:
            if not has_image_suffix(name) or name in out:
                raise ValueError("expected the name of a picture that has not come before")
            count = int(lines[at])
            faces = [[float(v) for v in line.split()] for line in lines[at + 1 : at + 1 + count]]
            if count < 0 or len(faces) < count or any(len(f) < 4 for f in faces):
                raise ValueError(f"expected {count} lines of x y w h ...")
        except (ValueError, IndexError) as exc:
            raise ManifestError(f"{where}, line {at}, {name[:80]!r}: not WIDER FACE ({exc})") from None
        out[name] = [(f[0], f[1], f[0] + f[2], f[1] + f[3], float(len(f) > 7 and f[7] == 1)) for f in faces]
        at += 1 + count
        if count == 0 and at < len(lines) and set(lines[at].split()) == {"0"}:
            at += 1
    return out


class FaceMatcher:
    """Finds the ground truth of each image: by its id, else by its base name when that is unambiguous on both
    sides.

    Args:
        faces: from `read_ground_truth`.

    Show it all ids with `observe`, then ask with `faces_of`.
    """

    def __init__(self, faces: Mapping[str, FaceRows]) -> None:
        self._faces = faces
        self._exact: set[str] = set()
        self._images_of_base: dict[str, int] = dict.fromkeys(map(posixpath.basename, faces), 0)

    def observe(self, image_ids: Iterable[str]) -> None:
        """Takes note of ids."""
        for image_id in image_ids:
            if image_id in self._faces:
                self._exact.add(image_id)
            elif (base := posixpath.basename(image_id)) in self._images_of_base:
                self._images_of_base[base] += 1

    def resolve(self) -> None:
        """Settles which base names are unambiguous; to be called between the two."""
        rest: dict[str, list[str]] = {}
        for name in self._faces:
            if name not in self._exact:
                rest.setdefault(posixpath.basename(name), []).append(name)
        self._by_base = {
            base: names[0] for base, names in rest.items() if len(names) == 1 and self._images_of_base[base] == 1
        }

    def faces_of(self, image_id: str) -> FaceRows | None:
        """(N, 5) faces; None when the ground truth does not speak of this image."""
        if image_id in self._exact:
            return self._faces[image_id]
        name = self._by_base.get(posixpath.basename(image_id))
        return None if name is None else self._faces[name]

    def unmatched(self) -> list[str]:
        """Names in the ground truth that belong to no image, or to several."""
        used = self._exact | set(self._by_base.values())
        return [name for name in self._faces if name not in used]
