"""Write encoded images: one object each, or one tar or Parquet file for each shard."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from typing import NamedTuple, Protocol

import pyarrow as pa

from anon_batch.config import WriteConfig
from anon_batch.formats import layout
from anon_batch.formats.features import IMAGE, read_features, to_metadata
from anon_batch.formats.parquet_shard import write_parquet_shard
from anon_batch.formats.release import Release
from anon_batch.formats.tar_shard import write_samples
from anon_batch.pipeline.sample_names import SampleNames
from anon_batch.pipeline.tar_members import make_sample
from anon_batch.records import EncodedImage, ManifestRow


class ImageLocation(NamedTuple):
    """Key below OUTPUT, and the member's name if the key is that of a shard file."""

    output: str
    member: str | None


class Sink(Protocol):
    """Receive the images of one attempt at one shard; several threads call `add`."""

    def add(self, row: ManifestRow, image: EncodedImage) -> ImageLocation: ...

    def close(self) -> str:
        """Write the shard file; must complete before the commit.

        Returns:
            The sha256 of the shard file; empty if there is none.
        """


def open_sink(
    write: WriteConfig, release: Release, key: str, extra: pa.Schema, rows: Sequence[ManifestRow] = ()
) -> Sink:
    """Return the sink of `write.layout`.

    Args:
        write: the job's section.
        release: receives the images.
        key: of the attempt's shard file, below OUTPUT; not used by the layout `files`.
        extra: names and types of the pass-through columns, and their features as metadata.
        rows: all rows of the shard, in order; used by the layout `webdataset`, whose names are unique in the shard.
    """
    keep_format = write.format == "keep"
    if write.layout == "files":
        return FilesSink(release, keep_format)
    if write.layout == "webdataset":
        return TarSink(release, key, SampleNames(rows, write), extra)
    return ParquetSink(release, key, keep_format, extra)


class FilesSink:
    """Write one object for each image, named by the image id."""

    def __init__(self, release: Release, keep_format: bool) -> None:
        self._release = release
        self._keep_format = keep_format

    def add(self, row: ManifestRow, image: EncodedImage) -> ImageLocation:
        key = layout.image_key(layout.output_name(row.image_id, image.format, self._keep_format))
        self._release.put(key, image.data)
        return ImageLocation(key, None)

    def close(self) -> str:
        """Do nothing, because every image is written already."""
        return ""


class NoSink:
    """Refuse images, because nothing is to be written."""

    def add(self, row: ManifestRow, image: EncodedImage) -> ImageLocation:
        raise AssertionError(f"{row.image_id}: nothing is to be written")

    def close(self) -> str:
        """Do nothing."""
        return ""


class _CollectingSink:
    """Collect the images of a shard."""

    def __init__(self, release: Release, key: str) -> None:
        self._release = release
        self._key = key
        self._lock = threading.Lock()
        self._images: dict[int, tuple[ManifestRow, EncodedImage]] = {}

    def _collect(self, row: ManifestRow, image: EncodedImage) -> None:
        with self._lock:
            self._images[row.index] = (row, image)

    def _put(self, data: bytes) -> str:
        self._release.put(self._key, data)
        return hashlib.sha256(data).hexdigest()

    def _in_order(self) -> list[tuple[ManifestRow, EncodedImage]]:
        return [self._images[index] for index in sorted(self._images)]


class TarSink(_CollectingSink):
    """Write a WebDataset shard: images and the text members of their samples; see `make_sample` and `SampleNames`."""

    def __init__(self, release: Release, key: str, names: SampleNames, extra: pa.Schema) -> None:
        super().__init__(release, key)
        self._names = names
        self._extra = extra

    def add(self, row: ManifestRow, image: EncodedImage) -> ImageLocation:
        self._collect(row, image)
        return ImageLocation(self._key, self._names.image(row, image.format))

    def close(self) -> str:
        images = self._in_order()
        if not images:
            return ""
        return self._put(write_samples(make_sample(row, image, self._names, self._extra) for row, image in images))


class ParquetSink(_CollectingSink):
    """Write a Parquet file with an `image` struct of bytes and path, as Hugging Face datasets read it."""

    def __init__(self, release: Release, key: str, keep_format: bool, extra: pa.Schema) -> None:
        super().__init__(release, key)
        self._keep_format = keep_format
        self._extra = extra

    def add(self, row: ManifestRow, image: EncodedImage) -> ImageLocation:
        self._collect(row, image)
        return ImageLocation(self._key, self._path(row, image))

    def close(self) -> str:
        images = self._in_order()
        if not images:
            return ""
        return self._put(write_parquet_shard(make_table(images, self._keep_format, self._extra)))

    def _path(self, row: ManifestRow, image: EncodedImage) -> str:
        return layout.output_name(row.image_id, image.format, self._keep_format)


def make_table(images: Sequence[tuple[ManifestRow, EncodedImage]], keep_format: bool, extra: pa.Schema) -> pa.Table:
    """Return images as rows of a Parquet shard.

    Args:
        images: rows of the manifest with their outputs.
        keep_format: whether outputs keep the formats of their sources.
        extra: names and types of the pass-through columns, and their features as metadata.
    """
    paths = [layout.output_name(row.image_id, image.format, keep_format) for row, image in images]
    struct = [{"bytes": image.data, "path": path} for (_, image), path in zip(images, paths, strict=True)]
    columns: dict[str, pa.Array] = {
        "image": pa.array(struct, pa.struct([("bytes", pa.binary()), ("path", pa.string())])),
        "image_id": pa.array([row.image_id for row, _ in images]),
        "synthetic": pa.array([image.synthetic for _, image in images]),
    }
    for column in extra:  # because shards without a value would differ from others, use the manifest's types
        columns[column.name] = pa.array([row.extra[column.name] for row, _ in images], column.type)
    features = {"image": IMAGE, **read_features(extra.metadata)}
    return pa.table(columns).replace_schema_metadata(to_metadata(features))
