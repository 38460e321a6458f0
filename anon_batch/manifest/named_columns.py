"""The columns `label` and `split` that the names of a source's folders and files tell, as Hugging Face `datasets` reads them.

In a folder of images, as in a tar, the class of an image is the folder that it lies in, if all images lie equally deep in more
than one folder. Its number is the place of its name in the sorted list of all, so that `imagefolder` and this column agree.

Source: `datasets.packaged_modules.folder_based_builder`.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.formats.features import CLASS_LABEL
from anon_batch.formats.splits import SPLIT_COLUMN
from anon_batch.manifest.importers.entries import Source
from anon_batch.manifest.importers.splits import TRAIN, container_of, split_of

LABEL_COLUMN = "label"
DESCRIBING_FILES = frozenset({"metadata.csv", "metadata.jsonl", "metadata.parquet"})
_MAX_PLACES = 100_000
_IN_FOLDERS = ("files", "tar")
_IN_FILES = ("webdataset", "parquet")
_CELL = "#column=.*$"


@dataclass(frozen=True, slots=True)
class NamedColumns:
    """What to add to every row.

    Args:
        labels: folder -> class; empty adds no column.
        splits: folder or file -> split; empty adds no column.
    """

    labels: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)

    @property
    def names(self) -> list[str]:
        """Names of all classes, in the order of their numbers."""
        return sorted(set(self.labels.values()))

    def schema(self) -> pa.Schema:
        """Return the columns that are added."""
        columns = [(LABEL_COLUMN, pa.int64())] if self.labels else []
        return pa.schema(columns + ([(SPLIT_COLUMN, pa.string())] if self.splits else []))

    def features(self) -> dict[str, Any]:
        """Return the features of the columns that are added."""
        return {LABEL_COLUMN: {"names": self.names, "_type": CLASS_LABEL}} if self.labels else {}

    def add(self, table: pa.Table, source: Source) -> pa.Table:
        """Return a table of rows of a source with the columns behind its own."""
        if not self.labels and not self.splits:
            return table
        numbers = {name: number for number, name in enumerate(self.names)}
        places = _places(table, source).dictionary_encode()
        shown = places.dictionary.to_pylist()
        if self.labels:
            values = pa.array([numbers[self.labels[place]] for place in shown], pa.int64())
            table = table.append_column(LABEL_COLUMN, values.take(places.indices))
        if self.splits:
            values = pa.array([self.splits[place] for place in shown], pa.string())
            table = table.append_column(SPLIT_COLUMN, values.take(places.indices))
        return table


def find_named_columns(
    parts: Sequence[tuple[Source, Callable[[], Iterator[pa.Table]]]], *, label: bool, split: bool
) -> NamedColumns:
    """Return what the names tell. Whatever is not clear for every row is not given.

    Args:
        parts: of one source, each with its rows before any prefix is added to their ids.
        label: whether that column is wanted.
        split: whether that column is wanted.
    """
    kinds = {source.kind for source, _ in parts}
    label = label and kinds.issubset(_IN_FOLDERS)
    split = split and kinds.issubset((*_IN_FOLDERS, *_IN_FILES)) and all(_tells_split(source) for source, _ in parts)
    places: dict[str, None] = {}
    if label or split:
        for source, tables in parts:
            for table in tables():
                places.update(dict.fromkeys(_places(table, source).unique().to_pylist()))
                if len(places) > _MAX_PLACES:
                    return NamedColumns()
    labels = {place: posixpath.basename(place) for place in places}
    splits = {place: found for place in places if (found := split_of(place)) is not None}
    is_split = len(splits) == len(places) and set(splits.values()) != {TRAIN}
    is_clear = (
        len(set(labels.values())) > 1
        and len({place.count("/") for place in places}) == 1
        and "" not in places
        and not (is_split and all(map(split_of, labels.values())))  # e.g. images in `train` and `val`, without classes
    )
    return NamedColumns(labels if label and is_clear else {}, splits if split and is_split else {})


def _tells_split(source: Source) -> bool:
    return source.kind == "files" or source.several or source.kind == "tar"


def _places(table: pa.Table, source: Source) -> pa.Array:
    """Return what tells class and split of each row: its folder, or its file where images are cells or samples."""
    if source.kind in _IN_FOLDERS:
        ids = table.column("image_id").combine_chunks()
        return pc.replace_substring_regex(ids, "(^|/)[^/]*$", "")
    uris = table.column("uri").combine_chunks()
    files = (pc.replace_substring_regex(uris, _CELL, "") if source.kind == "parquet" else uris).dictionary_encode()
    paths = pa.array([container_of(source, uri) for uri in files.dictionary.to_pylist()], pa.string())
    return paths.take(files.indices)
