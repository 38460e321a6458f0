"""Read a file of ground truth, whatever its format."""

from __future__ import annotations

import json
import posixpath
from typing import Any, NamedTuple

import pyarrow as pa

from anon_batch.errors import ManifestError, ObjectNotFoundError
from anon_batch.manifest.box_format import PIXELS, BoxFormat
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.truth.coco import is_coco, read_coco
from anon_batch.manifest.truth.ilsvrc import is_ilsvrc, read_ilsvrc
from anon_batch.manifest.truth.labelled import to_table
from anon_batch.manifest.truth.open_images import HEADER, is_open_images, read_open_images
from anon_batch.manifest.truth.simple import read_csv, read_json
from anon_batch.manifest.truth.wider import read_wider
from anon_batch.storage import Storage

_SUFFIXES = (".json", ".csv", ".txt")


class TruthTable(NamedTuple):
    """Labelled regions.

    Args:
        table: of the schema `labelled.SCHEMA`: a line for each image, with its name; an empty list means that it has none.
        void_count: boxes without area that were left out, of formats that have them.
    """

    table: pa.Table
    void_count: int = 0


def read_ground_truth(
    storage: Storage, uri: str, labels: LabelMap | None = None, form: BoxFormat | None = None
) -> TruthTable:
    """Read a file of labelled regions.

    The format follows from the suffix and the content. `.json`: COCO when it has `images` and `annotations`; ILSVRC's faces when
    it is a list of {"url": ..., "bboxes": ...}; else a mapping from names to lists of boxes, or a list of {"file": ...,
    "boxes": [...]}, where a box is a list or an object with x1, y1, x2, y2 and possibly label, ignore and keep. `.csv`: Open
    Images by its header; else the columns image_id (or file, file_name), x1, y1, x2, y2 and possibly label, ignore and keep,
    and a line without coordinates for an image without regions. `.txt`: WIDER FACE.

    The categories of COCO become labels: `face` for the only category, and for one that is called face; then the others are
    left out. Else each category is a label of its name.

    Args:
        storage: to read with.
        uri: of the file.
        labels: which labels to give instead.
        form: of the boxes of simple JSON and CSV; None is corners in px.

    Raises:
        ManifestError: not one of these formats, or not a box; the message names the place.
        StorageError: it cannot be read.
    """
    where, labels = f"ground truth {uri}", labels or LabelMap()
    suffix = posixpath.splitext(uri)[1].lower()
    if suffix not in _SUFFIXES:
        raise ManifestError(f"{where}: expected .json, .csv or .txt (WIDER FACE)")
    try:
        if suffix == ".csv" and is_open_images(storage.read(uri, 0, len(HEADER) + 3)):
            _require_no_form(form, where, "Open Images")
            with storage.open(uri) as file:
                return TruthTable(*read_open_images(file, where, labels))
        text = storage.read(uri).decode("utf-8-sig")
    except ObjectNotFoundError:
        raise ManifestError(f"no ground truth at {uri}; check the address given with --ground-truth") from None
    except UnicodeDecodeError as exc:
        raise ManifestError(f"{where}: not UTF-8 ({exc.reason} at byte {exc.start})") from None
    found = _of_text(text, suffix, where, labels, form)
    if not len(found.table):
        raise ManifestError(f"{where} names no image")
    return found


def _of_text(text: str, suffix: str, where: str, labels: LabelMap, form: BoxFormat | None) -> TruthTable:
    if suffix == ".txt":
        _require_no_form(form, where, "WIDER FACE")
        return TruthTable(to_table(read_wider(text, where, labels), where))
    if suffix == ".csv":
        return TruthTable(to_table(read_csv(text, where, labels), where, form or PIXELS))
    if is_ilsvrc(text):
        _require_no_form(form, where, "ILSVRC's faces")
        return TruthTable(*read_ilsvrc(text, where, labels))
    data = _parsed(text, where)
    if is_coco(data):
        _require_no_form(form, where, "COCO")
        return TruthTable(to_table(read_coco(data, where, labels), where))
    return TruthTable(to_table(read_json(data, where, labels), where, form or PIXELS))


def _parsed(text: str, where: str) -> Any:
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ManifestError(f"{where}: not JSON ({exc})") from None


def _require_no_form(form: BoxFormat | None, where: str, kind: str) -> None:
    if form is not None:
        raise ManifestError(f"{where}: {kind} has a form of boxes of its own; leave out --regions-format")
