"""Read what a user expects: the name of a known dataset, or a file."""

from __future__ import annotations

import csv
import difflib
import io
import json
import posixpath
from collections.abc import Mapping
from dataclasses import dataclass

import pyarrow as pa

from anon_batch.errors import ManifestError, ObjectNotFoundError
from anon_batch.manifest.expect.known import DATASETS, KnownDataset
from anon_batch.manifest.joins import devkit
from anon_batch.storage import Storage

_SUFFIXES = (".txt", ".json", ".csv")
_COUNT = "count"


@dataclass(frozen=True, slots=True)
class Expectation:
    """What there has to be. One of the fields is set besides `given`.

    Args:
        given: as the user wrote it.
        dataset: a known one.
        folders: number of images in each folder, by its path or, for names without `/`, by its name.
        classes: number of ImageNet's training images of each class.
        ids: of all images.
    """

    given: str
    dataset: KnownDataset | None = None
    folders: Mapping[str, int] | None = None
    classes: Mapping[str, int] | None = None
    ids: pa.Array | None = None


def read_expectation(storage: Storage, given: str) -> Expectation:
    """Return what a name or file stands for.

    Args:
        storage: to read with.
        given: a name of DATASETS; `ilsvrc-devkit:ADDRESS`, whose `meta.mat` counts the training images of each class; a `.txt` of
            ids, one a line; or numbers of images by folder: `.json` of one object, or `.csv` with the columns folder and count.

    Raises:
        ManifestError: none of these; the message names the place.
        StorageError: it cannot be read.
    """
    if given in DATASETS:
        return Expectation(given, dataset=DATASETS[given])
    if given.startswith(devkit.PREFIX):
        return Expectation(given, classes=devkit.read_training_counts(storage, given.removeprefix(devkit.PREFIX)))
    suffix = posixpath.splitext(given)[1].lower()
    if suffix not in _SUFFIXES:
        nearest = difflib.get_close_matches(given, DATASETS, n=1)
        hint = f"did you mean {nearest[0]}? " if nearest else ""
        raise ManifestError(
            f"--expect {given}: {hint}expected one of {', '.join(DATASETS)}, {devkit.PREFIX}ADDRESS, or a file of ids (.txt) or "
            "of numbers by folder (.json, .csv)"
        )
    try:
        text = storage.read(given).decode("utf-8-sig")
    except ObjectNotFoundError:
        raise ManifestError(f"--expect {given}: there is no such file; check the address") from None
    except UnicodeDecodeError as exc:
        raise ManifestError(f"--expect {given}: not UTF-8 ({exc.reason} at byte {exc.start})") from None
    if suffix == ".txt":
        ids = pa.array([line for line in text.splitlines() if line], pa.string())
        if not len(ids):
            raise ManifestError(f"--expect {given}: the file names no image")
        return Expectation(given, ids=ids)
    return Expectation(given, folders=_from_json(text, given) if suffix == ".json" else _from_csv(text, given))


def _from_json(text: str, given: str) -> dict[str, int]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError) as exc:
        raise ManifestError(f"--expect {given}: not JSON ({exc})") from None
    if not isinstance(found, dict) or not all(type(count) is int and count >= 0 for count in found.values()):
        raise ManifestError(f'--expect {given}: expected numbers by folder, as {{"n01440764": 1300}}')
    return _named(found, given)


def _from_csv(text: str, given: str) -> dict[str, int]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    folders: dict[str, int] = {}
    try:
        if not {"folder", _COUNT} <= set(reader.fieldnames or ()):
            raise ManifestError(f"--expect {given}: expected the columns folder and count")
        for line in reader:
            if line["folder"] in folders:
                raise ValueError(f"folder {line['folder']!r} appears twice")
            folders[line["folder"]] = int(line[_COUNT])
    except (csv.Error, ValueError, TypeError) as exc:
        raise ManifestError(f"--expect {given}, line {reader.line_num}: {exc}") from None
    return _named(folders, given)


def _named(folders: Mapping[str, int], given: str) -> dict[str, int]:
    if not folders:
        raise ManifestError(f"--expect {given}: the file names no folder")
    return {folder.strip("/"): count for folder, count in folders.items()}
