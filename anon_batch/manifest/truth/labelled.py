"""The regions of images as files of ground truth give them, and the table that all formats become."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt
import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.manifest.box_format import PIXELS, BoxFormat
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.regions_column import REGIONS_TYPE, region_lists, regions_array
from anon_batch.manifest.schema import REGIONS_COLUMN, REGIONS_SIZE
from anon_batch.records import DEFAULT_LABEL, BoolArray, FloatArray, GroundTruth

NAME_COLUMN = "name"
SCHEMA = pa.schema(
    [(NAME_COLUMN, pa.string()), (REGIONS_COLUMN, REGIONS_TYPE), *((name, pa.int64()) for name in REGIONS_SIZE)]
)


class Box(NamedTuple):
    """A labelled box: four numbers, two corners unless the format says otherwise."""

    x1: float
    y1: float
    x2: float
    y2: float
    label: str = DEFAULT_LABEL
    ignore: bool = False
    keep: bool = False


class Labelled(NamedTuple):
    """The boxes of an image, and the size that the file gives it."""

    boxes: list[Box]
    size: tuple[int, int] | None = None


Entries = dict[str, Labelled]


class Asked(NamedTuple):
    """What a user says about a file.

    Args:
        labels: which labels its regions get.
        form: of its boxes; None where nothing is said.
    """

    labels: LabelMap
    form: BoxFormat | None = None


def with_labels(boxes: Iterable[Box], labels: LabelMap) -> list[Box]:
    """Return the boxes whose categories are wanted, under their labels."""
    named = ((box, labels.get(box.label)) for box in boxes)
    return [box._replace(label=label) for box, label in named if label is not None]


def to_table(entries: Mapping[str, Labelled], where: str, form: BoxFormat = PIXELS) -> pa.Table:
    """Return a table of SCHEMA. Boxes without area are set to `ignore`.

    Raises:
        ManifestError: a box that is not finite, or has x2 < x1 or y2 < y1; names the image.
    """
    truths = [_checked(*labelled, f"{where}, {name}", form) for name, labelled in entries.items()]
    sizes = [[None if t.size is None else t.size[side] for t in truths] for side in (0, 1)]
    return pa.table([pa.array(list(entries), pa.string()), regions_array(truths), *sizes], schema=SCHEMA)


def truth_table(
    names: Sequence[str],
    owners: npt.NDArray[np.int64],
    boxes: FloatArray,
    labels: Sequence[str],
    *,
    ignore: BoolArray | None = None,
    size: tuple[int, int] | None = None,
) -> pa.Table:
    """Return a table of SCHEMA from the boxes of all images at once.

    Args:
        names: of the images.
        owners: (N,) the position in `names` of each box, rising.
        boxes: (N, 4) float32 xyxy.
        labels: N labels.
        ignore: (N,) bool; None ignores none.
        size: of all images, px.
    """
    none = np.zeros(len(boxes), np.bool_)
    fields = [pa.array(np.ascontiguousarray(boxes[:, at], np.float32)) for at in range(4)]
    fields += [pa.array(labels, pa.string()), pa.array(none if ignore is None else ignore), pa.array(none)]
    regions = region_lists(fields, np.bincount(owners, minlength=len(names)), None)
    sides: Sequence[int | None] = (None, None) if size is None else size
    sizes = [pa.repeat(pa.scalar(side, pa.int64()), len(names)) for side in sides]
    return pa.table([pa.array(names, pa.string()), regions, *sizes], schema=SCHEMA)


def _checked(boxes: Sequence[Box], size: tuple[int, int] | None, where: str, form: BoxFormat) -> GroundTruth:
    xyxy = form.to_corners(np.array([box[:4] for box in boxes], np.float64).reshape(-1, 4)).astype(np.float32)
    if not np.isfinite(xyxy).all():
        raise ManifestError(f"{where}: a coordinate is NaN or infinite")
    if (xyxy[:, 2] < xyxy[:, 0]).any() or (xyxy[:, 3] < xyxy[:, 1]).any():
        raise ManifestError(f"{where}: a box has x2 < x1 or y2 < y1; boxes are [x1, y1, x2, y2] in px")
    empty = (xyxy[:, 2] == xyxy[:, 0]) | (xyxy[:, 3] == xyxy[:, 1])
    ignore = np.array([box.ignore for box in boxes], np.bool_) | empty
    keep = np.array([box.keep for box in boxes], np.bool_)
    return GroundTruth(xyxy, ignore, tuple(box.label for box in boxes), keep, form.size or size)
