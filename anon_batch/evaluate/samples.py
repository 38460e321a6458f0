"""Where the pictures of an evaluation come from: a manifest, or a folder of face crops; sampled, streamed, failures
counted.
"""

from __future__ import annotations

import hashlib
import heapq
from collections import Counter
from collections.abc import Callable, Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

import numpy as np

from anon_batch.config import LimitsConfig
from anon_batch.errors import ConfigError, ManifestError, RowError
from anon_batch.imaging.decode import decode
from anon_batch.manifest import check_rows, open_manifest, rows_from_table
from anon_batch.manifest.fetch import SourceReader
from anon_batch.manifest.names import has_image_suffix
from anon_batch.manifest.schema import FIXED_COLUMNS
from anon_batch.records import DecodedImage, ManifestRow
from anon_batch.storage import Storage, absolute, join


@dataclass(frozen=True, slots=True, eq=False)
class Selection:
    """Rows chosen from a list of pictures.

    Args:
        address: of the manifest or folder.
        iterate: gives the chosen rows, from the start at each call.
        listed_count: rows that the list has.
        eligible_count: of those, rows that could be chosen.
        chosen_count: rows that `iterate` gives.
    """

    address: str
    iterate: Callable[[], Iterator[ManifestRow]]
    listed_count: int
    eligible_count: int
    chosen_count: int

    def counts(self) -> dict[str, int]:
        """For the document."""
        return {"listed": self.listed_count, "eligible": self.eligible_count, "chosen": self.chosen_count}


def select_from_manifest(storage: Storage, uri: str, *, limit: int | None, seed: int, labelled_only: bool) -> Selection:
    """Chooses rows of a manifest.

    Args:
        storage: where it lies.
        uri: its address.
        limit: rows at most, drawn by a seeded hash of their ids, so that the order of the rows does not matter; None for
            all.
        seed: of the draw.
        labelled_only: choose among rows with ground truth alone.

    Raises:
        ManifestError: it cannot be read, its rows are wrong, or ground truth is asked for and no row has any.
    """
    manifest = open_manifest(storage, uri)
    check_rows(lambda: manifest.iter_tables(FIXED_COLUMNS), manifest.uri)
    eligible = 0

    def candidates() -> Iterator[tuple[int, str]]:
        nonlocal eligible
        eligible, start = 0, 0
        for table in manifest.iter_tables(("image_id", "regions")):
            valid = table.column("regions").is_valid().to_pylist()
            for offset, image_id in enumerate(table.column("image_id").to_pylist()):
                if valid[offset] or not labelled_only:
                    eligible += 1
                    yield start + offset, image_id
            start += len(table)

    chosen = np.asarray(drawn(candidates(), limit, seed), np.int64)
    if not len(chosen):
        raise ManifestError(
            f"manifest {manifest.uri}: no row has ground truth (column `faces`), which average precision is measured "
            "against; build the manifest with --ground-truth, or leave this measure out with `--scorer none`"
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

    return Selection(manifest.uri, rows, manifest.rows_count, eligible, len(chosen))


def select_faces(
    storage: Storage, address: str, *, only: Collection[str] | None, limit: int | None, seed: int
) -> Selection:
    """Chooses pictures of one face each: from a manifest (`*.parquet`), or all pictures below a folder.

    Args:
        storage: where they lie.
        address: of the manifest or folder.
        only: choose among these alone: ids, file names, or file names without suffix; None for all.
        limit: pictures at most.
        seed: of the draw.

    Raises:
        ConfigError: the folder has no picture, or `only` names none of them.
        ManifestError: the manifest cannot be read or its rows are wrong.
    """
    if address.endswith(".parquet"):
        listed = select_from_manifest(storage, address, limit=None, seed=seed, labelled_only=False)
        all_rows, listed_count, place = listed.iterate, listed.chosen_count, listed.address
    else:
        place = absolute(address)
        keys = sorted(info.key for info in storage.list(place) if has_image_suffix(info.key))
        if not keys:
            raise ConfigError(
                f"--faces {place}: no picture is there; give a folder of face crops or a manifest (.parquet)"
            )
        all_rows, listed_count = (lambda: _folder_rows(place, keys)), len(keys)
    eligible = 0

    def candidates() -> Iterator[tuple[int, str]]:
        nonlocal eligible
        eligible = 0
        for index, row in enumerate(all_rows()):
            if only is None or any(name in only for name in _names(row.image_id)):
                eligible += 1
                yield index, row.image_id

    chosen = frozenset(drawn(candidates(), limit, seed))
    if not chosen:
        raise ConfigError(
            f"--only names none of the {listed_count:,} pictures at {place}; it holds one a line: an id, a file name, or a "
            "file name without suffix"
        )

    def rows() -> Iterator[ManifestRow]:
        return (row for index, row in enumerate(all_rows()) if index in chosen)

    return Selection(place, rows, listed_count, eligible, len(chosen))


def read_names(storage: Storage, address: str) -> frozenset[str]:
    """Names of a text file, one a line; empty lines and those that begin with # are left out.

    Raises:
        ConfigError: no text, or no name in it.
        StorageError: it cannot be read.
    """
    try:
        lines = storage.read(absolute(address)).decode("utf-8-sig").splitlines()
    except UnicodeDecodeError:
        raise ConfigError(f"--only {address}: not UTF-8 text; expected one name a line") from None
    names = frozenset(line.strip() for line in lines if line.strip() and not line.startswith("#"))
    if not names:
        raise ConfigError(f"--only {address}: no name in it; expected one a line")
    return names


@dataclass(slots=True)
class PictureReader:
    """Reads and decodes rows, a few at a time; what cannot be decoded is counted and left out.

    Args:
        storage: where sources lie.
        limits: of the job.
        failures: reason code -> pictures left out.
    """

    storage: Storage
    limits: LimitsConfig
    failures: Counter[str] = field(default_factory=Counter)

    def read(self, row: ManifestRow, source: SourceReader) -> DecodedImage | None:
        """One picture, or None for one that cannot be decoded.

        Raises:
            StorageError: the source cannot be read: a missing picture is an error of the list.
        """
        try:
            return decode(row.image_id, source.read(row, self.limits.max_bytes), self.limits, row.regions)
        except RowError as exc:
            self.failures[exc.reason] += 1
            return None

    def batches(self, rows: Iterable[ManifestRow], size: int) -> Iterator[list[tuple[ManifestRow, DecodedImage]]]:
        """The rows' pictures in lists of at most `size`."""
        source, batch = SourceReader(self.storage), []
        for row in rows:
            image = self.read(row, source)
            if image is None:
                continue
            batch.append((row, image))
            if len(batch) == size:
                yield batch
                batch = []
        if batch:
            yield batch


def _folder_rows(folder: str, keys: Sequence[str]) -> Iterator[ManifestRow]:
    for index, key in enumerate(keys):
        yield ManifestRow(index, key, join(folder, key))


def _names(image_id: str) -> set[str]:
    base = image_id.rsplit("/", 1)[-1]
    return {image_id, base, base.rpartition(".")[0] or base}


def drawn(candidates: Iterable[tuple[int, str]], limit: int | None, seed: int) -> list[int]:
    """Indices of the chosen candidates, rising.

    Args:
        candidates: index and name of each.
        limit: number to choose, those with the smallest seeded hashes of their names; None for all.
        seed: of the hash.
    """
    if limit is None:
        return [index for index, _ in candidates]
    key = seed.to_bytes(16, "big")

    def rank(candidate: tuple[int, str]) -> bytes:
        name = candidate[1].encode("utf-8", "surrogatepass")
        return hashlib.blake2b(name, digest_size=8, key=key).digest()

    return sorted(index for index, _ in heapq.nsmallest(limit, candidates, key=rank))
