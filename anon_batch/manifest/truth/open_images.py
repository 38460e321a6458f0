"""Ground truth of Open Images: `*-annotations-bbox.csv`, boxes in shares of the image's sides, ids without suffix.

Only boxes of wanted classes are kept, so that the file of 14 million boxes fits into memory. An image without one is not
mentioned, because its annotators were asked for the classes that they had verified in it, and for no others.

Source: https://storage.googleapis.com/openimages/web/download_v7.html, "Boxes", and its class descriptions.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import BinaryIO

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.csv as pacsv

from anon_batch.errors import ManifestError
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.truth.labelled import truth_table
from anon_batch.records import DEFAULT_LABEL, UNIT_SIZE

HEADER = b"ImageID,Source,LabelName,Confidence,XMin,XMax,YMin,YMax"
_CLASSES = {
    "/m/0dzct": "Human face",
    "/m/04hgtk": "Human head",
    "/m/01g317": "Person",
    "/m/04yx4": "Man",
    "/m/03bt1vf": "Woman",
    "/m/01bl7v": "Boy",
    "/m/05r655": "Girl",
    "/m/01jfm_": "Vehicle registration plate",
}
_NUMBERS = ("XMin", "YMin", "XMax", "YMax")
_GROUP = "IsGroupOf"
_BLOCK_BYTES = 16 * 2**20


def is_open_images(start: bytes) -> bool:
    """Return whether a file begins as a list of boxes of Open Images does."""
    return start.removeprefix(b"\xef\xbb\xbf").startswith(HEADER)


def labels_of_classes(labels: LabelMap) -> dict[str, str]:
    """Return class id -> label: faces alone, unless labels are given, by the id of a class or by its name."""
    if labels.categories:
        ids = {name: key for key, name in _CLASSES.items()}
        return {ids.get(category, category): label for category, label in labels.categories.items()}
    return {"/m/0dzct": labels.label or DEFAULT_LABEL}


def read_open_images(file: BinaryIO, where: str, labels: LabelMap) -> tuple[pa.Table, int]:
    """Return a table of SCHEMA, sorted by name, and how many boxes without area were left out.

    Boxes of groups (`IsGroupOf`) are set to `ignore`.

    Raises:
        ManifestError: not such a file, or no box of the wanted classes.
    """
    label_of = labels_of_classes(labels)
    kept = list(_boxes(file, where, pa.array(list(label_of), pa.string())))
    boxes = pa.concat_tables(kept).combine_chunks() if kept else None
    if boxes is None or not len(boxes):
        raise ManifestError(
            f"{where}: no box of the class {', '.join(label_of)}; classes are named by their ids, e.g. /m/01jfm_"
        )
    boxes = boxes.sort_by("ImageID").combine_chunks()
    names = boxes.column("ImageID").chunk(0).dictionary_encode()
    numbers = np.stack([boxes.column(name).to_numpy() for name in _NUMBERS], axis=1).astype(np.float32)
    sound = (numbers[:, 2] > numbers[:, 0]) & (numbers[:, 3] > numbers[:, 1])
    owners = names.indices.to_numpy()[sound]
    classes = boxes.column("LabelName").filter(pa.array(sound)).to_pylist()
    groups = boxes.column(_GROUP).to_numpy()[sound] == 1
    found = [label_of[name] for name in classes]
    table = truth_table(names.dictionary.to_pylist(), owners, numbers[sound], found, ignore=groups, size=UNIT_SIZE)
    return table, int((~sound).sum())


def _boxes(file: BinaryIO, where: str, wanted: pa.Array) -> Iterator[pa.Table]:
    types = {
        "ImageID": pa.string(),
        "LabelName": pa.string(),
        _GROUP: pa.int8(),
        **dict.fromkeys(_NUMBERS, pa.float64()),
    }
    options = pacsv.ConvertOptions(column_types=types, include_columns=list(types), strings_can_be_null=False)
    try:
        with pacsv.open_csv(file, pacsv.ReadOptions(block_size=_BLOCK_BYTES), convert_options=options) as reader:
            for batch in reader:
                found = batch.filter(pc.is_in(batch.column("LabelName"), wanted))
                if len(found):
                    yield pa.Table.from_batches([found])
    except (pa.ArrowException, KeyError) as exc:
        raise ManifestError(f"{where}: not a list of boxes of Open Images ({exc})") from None
