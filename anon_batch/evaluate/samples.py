"""The images of an evaluation: sampled from a manifest or a folder of single faces, then read one after the other."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import islice
from types import MappingProxyType

import numpy as np
import numpy.typing as npt

from anon_batch.config import LimitsConfig
from anon_batch.decode_rows import decode_rows
from anon_batch.errors import ConfigError, ManifestError
from anon_batch.imaging.source import SourceImage
from anon_batch.manifest import check_rows, open_manifest, rows_from_table
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.fetch import SourceReader
from anon_batch.manifest.names import has_image_suffix
from anon_batch.manifest.rename import Renames
from anon_batch.manifest.sampling import sample_hashes, sample_threshold
from anon_batch.manifest.schema import FIXED_COLUMNS
from anon_batch.records import ManifestRow
from anon_batch.storage import Storage, absolute, join


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Rows chosen from a list of images.

    Args:
        address: of the manifest or folder.
        iterate: returns the chosen rows, from the start at each call.
        listed_count: rows of the list.
        eligible_count: rows that could be chosen.
        chosen_count: rows that `iterate` returns.
    """

    address: str
    iterate: Callable[[], Iterator[ManifestRow]]
    listed_count: int
    eligible_count: int
    chosen_count: int


def select_from_manifest(
    storage: Storage,
    uri: str,
    *,
    limit: int | None,
    seed: int,
    labelled_only: bool,
    renames: Renames = MappingProxyType({}),
) -> Selection:
    """Choose rows of a manifest.

    Args:
        storage: of the manifest.
        uri: of the manifest.
        limit: number of rows to sample, see `manifest.sampling`; None for all.
        seed: of the sample.
        labelled_only: choose only rows with ground truth.
        renames: the job's `sources.columns`.

    Raises:
        ManifestError: it cannot be read, its rows are invalid, or no row has ground truth although it is required.
    """
    manifest = open_manifest(storage, uri, renames)
    check_rows(lambda: manifest.iter_tables(FIXED_COLUMNS), manifest.uri)

    def eligible() -> Iterator[tuple[int, str]]:
        start = 0
        for table in manifest.iter_tables(("image_id", "regions")):
            valid = table.column("regions").is_valid().to_pylist()
            for offset, image_id in enumerate(table.column("image_id").to_pylist()):
                if valid[offset] or not labelled_only:
                    yield start + offset, image_id
            start += len(table)

    chosen, eligible_count = choose(eligible(), limit, seed)
    if not len(chosen):
        raise ManifestError(
            f"manifest {manifest.uri}: no row has ground truth (column `regions`), which average precision needs; "
            "build the manifest with --ground-truth, or skip this measure with `--scorer none`"
        )

    def rows() -> Iterator[ManifestRow]:
        start = 0
        for table in manifest.iter_tables():
            low, high = np.searchsorted(chosen, (start, start + len(table)))
            if high > low:
                local = chosen[low:high] - start
                for row, index in zip(rows_from_table(table.take(local), 0), local, strict=True):
                    yield replace(row, index=start + int(index))
            start += len(table)

    return Selection(manifest.uri, rows, manifest.rows_count, eligible_count, len(chosen))


def select_faces(
    storage: Storage,
    address: str,
    *,
    only: Collection[str] | None,
    limit: int | None,
    seed: int,
    option: str = "--faces",
) -> Selection:
    """Choose images of one face each, from a manifest (`*.parquet`) or from all images below a folder.

    Args:
        storage: of the images.
        address: of the manifest or folder.
        only: ids, file names, or file names without suffix to choose from; None for all.
        limit: number of images to sample; None for all.
        seed: of the sample.
        option: that gave the address, for messages.

    Raises:
        ConfigError: the folder has no image, or `only` names none of them.
        ManifestError: the manifest cannot be read or its rows are invalid.
    """
    if address.endswith(".parquet"):
        listed = select_from_manifest(storage, address, limit=None, seed=seed, labelled_only=False)
        all_rows, listed_count, uri = listed.iterate, listed.chosen_count, listed.address
    else:
        uri = absolute(address)
        keys = sorted(info.key for info in storage.list(uri) if has_image_suffix(info.key))
        if not keys:
            raise ConfigError(f"{option}: no images at {uri}; use a folder of face crops or a manifest (.parquet)")
        all_rows, listed_count = (lambda: _folder_rows(uri, keys)), len(keys)
    eligible = (
        (index, row.image_id)
        for index, row in enumerate(all_rows())
        if only is None or any(name in only for name in _names_of(row.image_id))
    )
    indices, eligible_count = choose(eligible, limit, seed)
    chosen = frozenset(indices.tolist())
    if not chosen:
        raise ConfigError(
            f"--only names none of the {listed_count:,} images at {uri}; expected one id, file name, or file name without "
            "suffix in each line"
        )

    def rows() -> Iterator[ManifestRow]:
        return (row for index, row in enumerate(all_rows()) if index in chosen)

    return Selection(uri, rows, listed_count, eligible_count, len(chosen))


def choose(candidates: Iterable[tuple[int, str]], limit: int | None, seed: int) -> tuple[npt.NDArray[np.int64], int]:
    """Sample candidates by the hashes of their names.

    Args:
        candidates: index and name of each, by rising index.
        limit: number to choose; None for all.
        seed: of the sample.

    Returns:
        Rising indices of the chosen candidates, and the number of candidates.
    """
    indices: list[int] = []

    def names() -> Iterator[str]:
        for index, name in candidates:
            indices.append(index)
            yield name

    hashes = sample_hashes(names(), seed)
    threshold = sample_threshold(hashes, limit)
    chosen = np.asarray(indices, np.int64)
    return (chosen if threshold is None else chosen[hashes <= np.uint64(threshold)]), len(indices)


def read_names(storage: Storage, address: str) -> frozenset[str]:
    """Read the names in a text file, one in each line, without empty lines and lines that start with #.

    Raises:
        ConfigError: not UTF-8 text, or no names.
        StorageError: the file cannot be read.
    """
    try:
        lines = storage.read(absolute(address)).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"--only {address}: not UTF-8 text; expected one name in each line") from None
    names = frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not names:
        raise ConfigError(f"--only {address}: contains no names; expected one in each line")
    return names


@dataclass(slots=True)
class ImageReader:
    """Read and decode rows in batches. Count images that cannot be decoded by reason, and skip them.

    Args:
        storage: of the images.
        limits: of the job.
        allowed: what may be read.
        failures: reason code -> skipped images.
    """

    storage: Storage
    limits: LimitsConfig
    allowed: AllowedSources
    failures: Counter[str] = field(default_factory=Counter)

    def batches(self, rows: Iterable[ManifestRow], size: int) -> Iterator[list[tuple[ManifestRow, SourceImage]]]:
        """Yield the rows with their images, at most `size` at a time.

        Raises:
            StorageError: a file cannot be read, because a missing file is an error of the list.
        """
        limits = self.limits
        reader = SourceReader(self.storage, self.allowed)
        images = decode_rows(reader, rows, limits.max_pixels, limits.max_bytes, self.failures)
        while batch := list(islice(images, size)):
            yield batch


def _folder_rows(folder: str, keys: Sequence[str]) -> Iterator[ManifestRow]:
    for index, key in enumerate(keys):
        yield ManifestRow(index, key, join(folder, key))


def _names_of(image_id: str) -> set[str]:
    base = image_id.rsplit("/", 1)[-1]
    return {image_id, base, base.rpartition(".")[0] or base}
