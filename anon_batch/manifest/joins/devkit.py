"""The classes of ImageNet's validation images: the development kit of ILSVRC 2012 as a table of file names and WordNet ids.

The kit has one number a line for the images in the order of their names, and the WordNet id (wnid) of each number in `meta.mat`,
which lists classes without children first. The numbers are the kit's own, not the places of the wnids in their sorted list.

Source: readme.txt of ILSVRC2012_devkit_t12; `parse_devkit_archive` of torchvision reads it alike.
"""

from __future__ import annotations

import csv
import io
import posixpath
import re
import tarfile
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa

from anon_batch.errors import ManifestError, ObjectNotFoundError
from anon_batch.storage import Storage, absolute, join

PREFIX = "ilsvrc-devkit:"
TRUTH_FILE = "ILSVRC2012_validation_ground_truth.txt"
MATLAB_FILE = "meta.mat"
LIST_FILE = "map_clsloc.txt"  # of later kits: `n02119789 1 kit_fox` a line
SOLUTION_FILE = "LOC_val_solution.csv"
_FILES = (TRUTH_FILE, MATLAB_FILE, LIST_FILE)
_ARCHIVES = (".tar.gz", ".tgz", ".tar")
_MAX_BYTES = 64 * 2**20  # of a file; the kit has 2.5 MB
_WNID = re.compile(r"n\d{8}")


def read_classes(storage: Storage, given: str) -> pa.Table:
    """Return the columns `file_name` (`ILSVRC2012_val_00000001.JPEG`) and `wnid` (`n01751748`), a line for each image.

    Args:
        storage: to read with.
        given: the kit as it is downloaded (`.tar.gz`), its folder, a text with one wnid a line for the images in the order of
            their names, or `LOC_val_solution.csv`.

    Raises:
        ManifestError: none of these; a number without class.
        StorageError: it cannot be read.
    """
    address = absolute(given)
    lower = address.lower()
    try:
        if lower.endswith(".csv"):
            return _solution(_text(_read(storage, address), address), address)
        if lower.endswith(".txt"):
            return _table(_wnids(_text(_read(storage, address), address), address))
        files = _files(storage, address)
    except ObjectNotFoundError:
        raise ManifestError(f"--join {PREFIX}{given}: there is no such file; check the address") from None
    if TRUTH_FILE not in files or not {MATLAB_FILE, LIST_FILE} & files.keys():
        raise ManifestError(f"--join {PREFIX}{given}: expected {TRUTH_FILE} and {MATLAB_FILE} (or {LIST_FILE}) in it")
    numbers = _numbers(_text(files[TRUTH_FILE], f"{address}: {TRUTH_FILE}"), address)
    wnid_of = (
        {number: wnid for number, (wnid, _) in _from_matlab(files[MATLAB_FILE], address).items()}
        if MATLAB_FILE in files
        else _from_list(_text(files[LIST_FILE], f"{address}: {LIST_FILE}"), address)
    )
    if unknown := sorted(set(numbers) - wnid_of.keys()):
        raise ManifestError(f"{address}: {TRUTH_FILE} has the class {unknown[0]}, which {MATLAB_FILE} does not name")
    return _table([wnid_of[number] for number in numbers])


def read_training_counts(storage: Storage, given: str) -> dict[str, int]:
    """Return wnid -> number of training images, which `meta.mat` has as `num_train_images`.

    Raises:
        ManifestError: no kit, or one without `meta.mat`.
        StorageError: it cannot be read.
    """
    address = absolute(given)
    try:
        files = _files(storage, address)
    except ObjectNotFoundError:
        raise ManifestError(f"--expect {PREFIX}{given}: there is no such file; check the address") from None
    if MATLAB_FILE not in files:
        raise ManifestError(f"--expect {PREFIX}{given}: expected {MATLAB_FILE} in it")
    return dict(_from_matlab(files[MATLAB_FILE], address).values())


def _files(storage: Storage, address: str) -> dict[str, bytes]:
    is_archive = address.lower().endswith(_ARCHIVES)
    return _of_archive(storage, address) if is_archive else _of_folder(storage, address)


def _read(storage: Storage, address: str) -> bytes:
    if storage.size(address) > _MAX_BYTES:
        raise ManifestError(f"{address}: over {_MAX_BYTES >> 20} MiB; not the development kit of ILSVRC 2012")
    return storage.read(address)


def _of_folder(storage: Storage, address: str) -> dict[str, bytes]:
    places = {name: [join(address, name), join(address, f"data/{name}")] for name in _FILES}
    found = {name: next((at for at in own if storage.exists(at)), None) for name, own in places.items()}
    return {name: _read(storage, at) for name, at in found.items() if at is not None}


def _of_archive(storage: Storage, address: str) -> dict[str, bytes]:
    found: dict[str, bytes] = {}
    try:
        with tarfile.open(fileobj=io.BytesIO(_read(storage, address)), mode="r:*") as archive:
            for member in archive:
                name = posixpath.basename(member.name)
                if name in _FILES and member.isfile() and 0 < member.size <= _MAX_BYTES:
                    file = archive.extractfile(member)
                    found[name] = file.read(_MAX_BYTES) if file is not None else b""
    except (tarfile.TarError, EOFError, OSError, ValueError) as exc:
        raise ManifestError(f"{address}: not a tar, or damaged ({str(exc).splitlines()[0]}); fetch it again") from None
    return found


def _text(data: bytes, where: str) -> str:
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as exc:
        raise ManifestError(f"{where}: not UTF-8 ({exc.reason} at byte {exc.start})") from None


def _numbers(text: str, address: str) -> list[int]:
    try:
        return [int(line) for line in text.split()]
    except ValueError as exc:
        raise ManifestError(f"{address}: {TRUTH_FILE}: expected one number a line ({exc})") from None


def _wnids(text: str, address: str) -> list[str]:
    wnids = text.split()
    wrong = next((line for line in wnids if not _WNID.fullmatch(line)), None)
    if wrong is not None:
        raise ManifestError(
            f"{address}: expected one wnid a line, as n01751748; there is {wrong[:40]!r}. A list of numbers says nothing without "
            "the kit: give its .tar.gz or folder"
        )
    return wnids


def _from_matlab(data: bytes, address: str) -> dict[int, tuple[str, int]]:
    """Return number of a class -> its wnid and number of training images."""
    from scipy.io import loadmat  # slow to import

    where = f"{address}: {MATLAB_FILE}"
    try:
        synsets: Any = loadmat(io.BytesIO(data), squeeze_me=True)["synsets"]
        leaves = [own for own in synsets if int(own["num_children"]) == 0]
        _unique([(int(own["ILSVRC2012_ID"]), str(own["WNID"])) for own in leaves], where)
        return {int(own["ILSVRC2012_ID"]): (str(own["WNID"]), int(own["num_train_images"])) for own in leaves}
    except ManifestError:
        raise
    except Exception as exc:  # because the reader raises whatever a damaged file makes it stumble over
        raise ManifestError(f"{where} cannot be read ({type(exc).__name__}: {exc})") from None


def _from_list(text: str, address: str) -> dict[int, str]:
    try:
        pairs = [(int(words[1]), words[0]) for words in map(str.split, text.splitlines()) if words]
    except (ValueError, IndexError):
        raise ManifestError(f"{address}: {LIST_FILE}: expected `n02119789 1 kit_fox` a line") from None
    return _unique(pairs, f"{address}: {LIST_FILE}")


def _unique(pairs: Sequence[tuple[int, str]], where: str) -> dict[int, str]:
    found: dict[int, str] = dict(pairs)
    if len(found) < len(pairs) or len(set(found.values())) < len(pairs):
        raise ManifestError(f"{where}: a class is named twice")
    if wrong := next((wnid for wnid in found.values() if not _WNID.fullmatch(wnid)), None):
        raise ManifestError(f"{where}: {wrong[:40]!r} is not a wnid, as n01751748")
    return found


def _solution(text: str, address: str) -> pa.Table:
    """Return the table of a file with the columns ImageId and PredictionString, whose first word is the wnid."""
    lines: list[Mapping[str, str]] = list(csv.DictReader(io.StringIO(text, newline="")))
    try:
        names = [f"{line['ImageId']}.JPEG" for line in lines]
        wnids = _wnids("\n".join(line["PredictionString"].split()[0] for line in lines), address)
    except (KeyError, IndexError, AttributeError, TypeError):
        raise ManifestError(
            f"{address}: expected the columns ImageId and PredictionString of {SOLUTION_FILE}"
        ) from None
    return pa.table({"file_name": pa.array(names, pa.string()), "wnid": pa.array(wnids, pa.string())})


def _table(wnids: Sequence[str]) -> pa.Table:
    names = [f"ILSVRC2012_val_{number:08d}.JPEG" for number in range(1, len(wnids) + 1)]
    return pa.table({"file_name": pa.array(names, pa.string()), "wnid": pa.array(list(wnids), pa.string())})
