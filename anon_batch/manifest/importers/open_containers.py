"""Sort the archives and tables of a folder by kind, and skip those without images."""

from __future__ import annotations

import posixpath
from collections.abc import Sequence

import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.manifest.addresses import folder_of, resolve
from anon_batch.manifest.importers import parquet, table, webdataset
from anon_batch.manifest.importers.entries import Kind, Source
from anon_batch.manifest.importers.report import ImportReport
from anon_batch.manifest.schema import VERSION_KEY
from anon_batch.storage import Storage

_TRIED = 3  # addresses of a table


def open_containers(
    storage: Storage, folder: Source, addresses: Sequence[str], report: ImportReport, *, beside_images: bool
) -> list[Source]:
    """Return the sources that archives and tables are, at most one of each kind.

    Args:
        storage: to read with.
        folder: that holds them, or the pattern that found them.
        addresses: of the files.
        report: gets the skipped ones. A table that describes the tar of the same name, or the images beside it, is one of them,
            because its rows would list each image twice.
        beside_images: whether the folder holds images as files.
    """
    sorter = _Sorter(
        storage, folder, report, {_stem(a) for a in addresses if a.lower().endswith(".tar")}, beside_images
    )
    kinds: dict[Kind, list[str]] = {"tar": [], "parquet": [], "table": []}
    for address in addresses:
        kind = sorter.kind_of(address)
        if kind is not None:
            kinds[kind].append(address)
            report.opened_count += 1
    samples = bool(kinds["tar"]) and _holds_samples(storage, folder, kinds["tar"])
    return [
        Source(
            folder.given,
            "webdataset" if samples and kind == "tar" else kind,
            folder.root,
            tuple(found),
            several=True,
            name=folder.name,
            only=folder.only,
        )
        for kind, found in kinds.items()
        if found
    ]


def _holds_samples(storage: Storage, folder: Source, tars: Sequence[str]) -> bool:
    """Return whether the tars are WebDataset shards; the first that can be read decides."""
    if folder.only in ("tar", "webdataset"):
        return folder.only == "webdataset"
    for address in tars:
        try:
            return webdataset.is_webdataset(storage, address)
        except ManifestError:
            continue
    return False


class _Sorter:
    def __init__(
        self, storage: Storage, folder: Source, report: ImportReport, tar_stems: set[str], beside_images: bool
    ) -> None:
        self._storage = storage
        self._folder = folder
        self._report = report
        self._tar_stems = tar_stems
        self._beside_images = beside_images

    def kind_of(self, address: str) -> Kind | None:
        """Return the kind of a file; None if it is skipped."""
        only = self._folder.only
        try:
            kind, reason, detail = self._judge(address)
        except ManifestError as exc:
            kind, reason, detail = None, "damaged", str(exc)
        if kind is not None and only is not None and kind != ("tar" if only == "webdataset" else only):
            kind, reason, detail = None, "other_kind", f"of kind `{kind}`"
        if kind is None:
            self._report.skip(self._folder.below(address), reason, detail)
        return kind

    def _judge(self, address: str) -> tuple[Kind | None, str, str]:
        lower = address.lower()
        if lower.endswith(".tar"):
            return "tar", "", ""
        if lower.endswith(".parquet"):
            with parquet.open_parquet(self._storage, address) as file:
                if VERSION_KEY in (file.reader.metadata.metadata or {}):
                    return None, "manifest", ""
                if self._folder.only != "table" and self._holds_images(file, address):
                    return "parquet", "", ""
                first = _first_addresses(file)
        else:
            first = next(table.raw_tables(self._storage, address), pa.table({}))
        return self._judge_table(address, first)

    @staticmethod
    def _holds_images(file: parquet.OpenParquet, address: str) -> bool:
        if parquet.image_column(file.schema) is None:
            return False
        parquet.require_images(file, address)
        return True

    def _judge_table(self, address: str, first: pa.Table) -> tuple[Kind | None, str, str]:
        column = table.address_column(first.column_names)
        if column is None:
            return None, "no_images", f"columns: {', '.join(first.column_names)}"
        if self._folder.only == "table":
            return "table", "", ""
        if _stem(address) in self._tar_stems:
            return None, "describes_others", "the tar of the same name"
        if self._beside_images:
            return None, "describes_others", "the images beside it"
        if not self._lead_somewhere(first.column(column), address):
            return None, "describes_others", "its first addresses lead to no file"
        return "table", "", ""

    def _lead_somewhere(self, column: pa.ChunkedArray, address: str) -> bool:
        """Return whether one of a table's first addresses is a URL, or relative to the table and there."""
        texts = column.slice(0, _TRIED).cast(pa.string()).combine_chunks().drop_null()
        if any("://" in text for text in texts.to_pylist()):
            return True
        return any(self._storage.exists(uri) for uri in resolve(texts, folder_of(address)).to_pylist())


def _first_addresses(file: parquet.OpenParquet) -> pa.Table:
    """Return the first rows of a Parquet file's column of addresses; a table with all its columns and no row without one."""
    schema = file.schema
    column = table.address_column(schema.names)
    if column is None:
        return schema.empty_table()
    return next(file.tables([column]), schema.empty_table())


def _stem(address: str) -> str:
    return posixpath.splitext(address)[0]
