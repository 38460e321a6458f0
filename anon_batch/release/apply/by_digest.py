"""Remove erased images from any folder, by the digests of their files: single images, tars and Parquet files with images.

The folder may hold the images alone, under other names. An image that a patch changed before it was erased has another digest
in a copy from before the patch, so it is not found.
"""

from __future__ import annotations

import dataclasses
import hashlib
import io
import posixpath
import re
import tarfile
from collections.abc import Collection, Sequence

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from anon_batch.formats import layout
from anon_batch.formats.parquet_file import read_parquet
from anon_batch.formats.stored_folder import StoredFolder
from anon_batch.formats.tar_shard import Sample, is_image, read_samples, write_samples
from anon_batch.formats.tombstone import digest_of
from anon_batch.formats.version_json import Version

_SHA256 = re.compile(r"[0-9a-f]{64}", re.ASCII)
_FILE_NAME = "file_name"


@dataclasses.dataclass(slots=True)
class Removal:
    """What was found in a folder and removed, or would be.

    Args:
        wanted: tombstones with a digest.
        found: digests of tombstones that were found.
        removed: images.
        changed: files that were deleted or written again.
        unread: tars and Parquet files that cannot be read, so that nobody knows what they hold.
    """

    wanted: int
    found: set[str] = dataclasses.field(default_factory=set)
    removed: int = 0
    changed: list[str] = dataclasses.field(default_factory=list)
    unread: list[str] = dataclasses.field(default_factory=list)


def remove_by_digest(folder: StoredFolder, versions: Sequence[Version], *, dry_run: bool) -> Removal:
    """Remove from a folder every image that a version has erased; repeating it is safe.

    Args:
        folder: any folder.
        versions: with tombstones.
        dry_run: whether to write nothing.

    Raises:
        StorageError: storage fails or refuses.
    """
    digests = frozenset(own.digest for version in versions for own in version.tombstones if own.digest)
    finder = _Finder(folder, digests, dry_run=dry_run)
    tables = []
    for key in sorted(info.key for info in folder.objects("")):
        if key.endswith(".parquet"):
            tables.append(key)
        else:
            finder.look_at(key)
    for key in tables:  # after the images, because some name those that are erased
        finder.look_at_table(key)
    finder.delete_images()  # last, because a killed command must find them again
    return finder.result


class _Finder:
    def __init__(self, folder: StoredFolder, digests: Collection[str], *, dry_run: bool) -> None:
        self._folder, self._digests, self._dry_run = folder, digests, dry_run
        self._erased: list[str] = []
        self.result = Removal(len(digests))

    def look_at(self, key: str) -> None:
        """Note an image to delete, or write a tar again."""
        if key.endswith(".tar"):
            data = self._read(key)
            try:
                samples = list(read_samples(data))
                left = [own for sample in samples if (own := self._without_erased(sample)) is not None]
                gone = sum(len(own.images) for own in samples) - sum(len(own.images) for own in left)
                if gone:
                    self._replace(key, write_samples(left) if left else None, gone)
            except (tarfile.TarError, EOFError, ValueError):
                self.result.unread.append(key)
        elif key.lower().endswith(layout.IMAGE_SUFFIXES) and self._is_erased(self._read(key)):
            self._erased.append(key)

    def delete_images(self) -> None:
        """Delete the images that were noted."""
        for key in self._erased:
            self._replace(key, None, 1)

    def look_at_table(self, key: str) -> None:
        """Write a Parquet file again without the rows of erased images: those with the bytes, the name or the digest of one."""
        try:
            table = read_parquet(self._read(key))
        except (pa.ArrowException, OSError):
            self.result.unread.append(key)
            return
        images = 0
        if _has_images(table):
            cells = pc.struct_field(table.column("image").combine_chunks(), "bytes").to_pylist()
            gone = [cell is not None and self._is_erased(cell) for cell in cells]
            images = sum(gone)
        elif _FILE_NAME in table.column_names:
            names = (posixpath.join(posixpath.dirname(key), str(own)) for own in table.column(_FILE_NAME).to_pylist())
            gone = [name in self._erased for name in names]
        elif {"image_id", "sha256"} <= set(table.column_names):
            gone = [self._is_named(str(own)) for own in table.column("sha256").to_pylist()]
        else:
            return
        if any(gone):
            left = table.filter(pa.array([not own for own in gone]))
            self._replace(key, _to_parquet(left) if len(left) else None, images)

    def _without_erased(self, sample: Sample) -> Sample | None:
        """Return a sample without erased images; None if no other image is in it."""
        gone = {name for name, content in sample.members if is_image(name) and self._is_erased(content)}
        if not gone:
            return sample
        left = tuple(member for member in sample.members if member[0] not in gone)
        return Sample(sample.key, left) if set(sample.images) - gone else None

    def _replace(self, key: str, data: bytes | None, images: int) -> None:
        self.result.changed.append(key)
        self.result.removed += images
        if self._dry_run:
            return
        if data is None:
            self._folder.delete([key])
        else:
            self._folder.storage.put(self._folder.address(key), data)

    def _read(self, key: str) -> bytes:
        return self._folder.storage.read(self._folder.address(key))

    def _is_erased(self, content: bytes) -> bool:
        return self._is_named(hashlib.sha256(content).hexdigest())

    def _is_named(self, sha256: str) -> bool:
        if not _SHA256.fullmatch(sha256):
            return False
        digest = digest_of(sha256)
        if digest in self._digests:
            self.result.found.add(digest)
        return digest in self._digests


def _has_images(table: pa.Table) -> bool:
    if "image" not in table.column_names:
        return False
    kind = table.schema.field("image").type
    return pa.types.is_struct(kind) and {"bytes", "path"} <= {kind.field(at).name for at in range(kind.num_fields)}


def _to_parquet(table: pa.Table) -> bytes:
    sink = io.BytesIO()
    pq.write_table(table, sink, compression="none" if _has_images(table) else "zstd", row_group_size=100)
    return sink.getvalue()
