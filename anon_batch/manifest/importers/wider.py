"""WIDER FACE as it is unpacked: `wider_face_split/wider_face_val_bbx_gt.txt` beside `WIDER_val/images/`.

The labels are the regions of the rows: a face that is marked `invalid`, or that has no area, is set to `ignore`. The other
attributes belong to single faces (blur, expression, illumination, occlusion, pose) and have no place in a row; the event of an
image has.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping

import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.manifest.addresses import folder_of
from anon_batch.manifest.importers.entries import Source
from anon_batch.manifest.importers.report import ImportReport
from anon_batch.manifest.names import is_safe
from anon_batch.manifest.schema import REGIONS_COLUMN
from anon_batch.manifest.truth.labelled import NAME_COLUMN
from anon_batch.manifest.truth.read import read_ground_truth
from anon_batch.storage import Storage, join

EVENT_COLUMN = "event"
_LABELS = re.compile(r"wider_face_(train|val)_bbx_gt\.txt", re.IGNORECASE)


def is_labels(address: str) -> bool:
    """Return whether the name is that of a file of labels of WIDER FACE."""
    return bool(_LABELS.fullmatch(posixpath.basename(address)))


def images_folder(address: str) -> str:
    """Return where the images of a file of labels are: `../WIDER_<split>/images`.

    Raises:
        ManifestError: the file is named otherwise.
    """
    found = _LABELS.fullmatch(posixpath.basename(address))
    if found is None:
        raise ManifestError(
            f"{address}: expected wider_face_train_bbx_gt.txt or wider_face_val_bbx_gt.txt. For a copy with another name give "
            "the folder of images, and the file with --ground-truth"
        )
    return join(folder_of(folder_of(address)), f"WIDER_{found[1].lower()}/images")


def read_tables(storage: Storage, source: Source, report: ImportReport) -> Iterator[pa.Table]:
    """Yield a row for each image that the labels name: its faces as `regions`, its event as `event`.

    Raises:
        ManifestError: not WIDER FACE, or none of its images is there.
        StorageError: bytes could not be read.
    """
    [address] = source.addresses
    if not storage.exists(address):  # because nobody gave it as ground truth, of which the reader speaks
        raise ManifestError(f"no label file at {address}; check the address, and unpack wider_face_split.zip there")
    truths = read_ground_truth(storage, address).table
    names = truths.column(NAME_COLUMN).to_pylist()
    sizes = {info.key: info.size_bytes for info in storage.list(source.root)}
    report.found_count += len(truths)
    if sizes.keys().isdisjoint(names):
        split = posixpath.basename(folder_of(source.root))
        raise ManifestError(
            f"{address}: none of its {len(truths):,} images is at {source.root}; unpack {split}.zip so that {split} is beside "
            f"{posixpath.basename(folder_of(address))}"
        )
    listed = [at for at, name in enumerate(names) if _is_there(name, sizes, report)]
    own = [names[at] for at in listed]
    yield pa.table(
        {
            "image_id": pa.array(own, pa.string()),
            "uri": pa.array([join(source.root, name) for name in own], pa.string()),
            "size_bytes": pa.array([sizes[name] or None for name in own], pa.int64()),
            REGIONS_COLUMN: truths.column(REGIONS_COLUMN).take(pa.array(listed, pa.int64())),
            EVENT_COLUMN: pa.array([posixpath.dirname(name) or None for name in own], pa.string()),
        }
    )


def _is_there(name: str, sizes: Mapping[str, int], report: ImportReport) -> bool:
    """Return whether an image can be listed; skip it otherwise."""
    reason = "unsafe_name" if not is_safe(name) else "missing" if name not in sizes else ""
    if reason:
        report.skip(name, reason)
    return not reason
