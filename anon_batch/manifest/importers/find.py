"""Find out which kind of source an address is, and which files it names."""

from __future__ import annotations

import dataclasses
import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.manifest.addresses import folder_of
from anon_batch.manifest.importers import files, parquet, table, tar, webdataset, wider
from anon_batch.manifest.importers.classify import CONTAINER_SUFFIXES, PACKED_SUFFIXES
from anon_batch.manifest.importers.entries import Kind, Source
from anon_batch.manifest.importers.open_containers import open_containers
from anon_batch.manifest.importers.patterns import expand_braces, glob, has_pattern, key_pattern, literal_folder
from anon_batch.manifest.importers.report import ImportReport
from anon_batch.manifest.names import has_image_suffix
from anon_batch.storage import Storage, absolute, is_local

READERS: dict[Kind, Callable[[Storage, Source, ImportReport], Iterator[pa.Table]]] = {
    "files": files.read_tables,
    "tar": tar.read_tables,
    "webdataset": webdataset.read_tables,
    "parquet": parquet.read_tables,
    "table": table.read_tables,
    "wider": wider.read_tables,
}


def find_source(storage: Storage, given: str, kind: Kind | None = None) -> Source:
    """Return the source that an address names. A folder is of kind `files`; what else it holds is found by `read_source`.

    Args:
        storage: to read with.
        given: a folder, bucket prefix, file or pattern; `{000..009}`, `{a,b}`, `*`, `?`, `[...]` and `**` are
            patterns.
        kind: None finds it out.

    Raises:
        ManifestError: it is compressed, matches nothing, or is not of `kind`.
        StorageError: it cannot be read or is not there.
    """
    if not given.strip():
        raise ManifestError("a source is empty; give a folder, a bucket prefix, tar, Parquet or CSV files")
    address = absolute(given).rstrip("/") or "/"
    is_folder = given.endswith("/") or (is_local(address) and os.path.isdir(address))
    if not is_folder:
        _refuse_packed([address])
    if has_pattern(address) and not storage.exists(address):
        return _from_pattern(storage, given, address, kind)
    if _suffix(address) in CONTAINER_SUFFIXES and not is_folder:
        first = posixpath.splitext(posixpath.basename(address))[0]
        return Source(given, _kind_of(storage, address, kind), folder_of(address), (address,), name=first)
    if not is_folder and (kind == "wider" or wider.is_labels(address)):
        _require(kind, "wider", given)
        return Source(
            given,
            "wider",
            wider.images_folder(address),
            (address,),
            name=posixpath.splitext(posixpath.basename(address))[0],
        )
    if has_image_suffix(address) and not is_folder:
        _require(kind, "files", given)
        return Source(given, "files", folder_of(address), (address,), name=posixpath.basename(folder_of(address)))
    return Source(given, "files", address, (address,), name=posixpath.basename(address), only=kind)


def read_source(storage: Storage, source: Source, report: ImportReport) -> Iterator[tuple[Source, Iterator[pa.Table]]]:
    """Yield the source with its tables, then what its folder holds besides images, each with its tables.

    Consume the tables of one before the next.
    """
    report.source, report.containers = source.given, []
    if source.kind == "files":
        seen = _Counted(READERS["files"](storage, source, report))
        yield source, seen
        beside_images = seen.rows_count > 0
    elif not source.several:
        yield source, READERS[source.kind](storage, source, report)
        return
    else:
        report.containers, beside_images = list(source.addresses), False
        report.found_count += len(source.addresses)
    whole = dataclasses.replace(source, kind="files")
    for part in open_containers(storage, whole, report.containers, report, beside_images=beside_images):
        yield part, READERS[part.kind](storage, part, report)


class _Counted:
    """Tables, and how many rows they had."""

    def __init__(self, tables: Iterator[pa.Table]) -> None:
        self._tables = tables
        self.rows_count = 0

    def __iter__(self) -> Iterator[pa.Table]:
        return self

    def __next__(self) -> pa.Table:
        found = next(self._tables)
        self.rows_count += len(found)
        return found


def _from_pattern(storage: Storage, given: str, address: str, kind: Kind | None) -> Source:
    patterns = expand_braces(address)
    _refuse_packed(patterns)
    root = _common_folder([literal_folder(p) for p in patterns])
    name = posixpath.basename(root)
    if all(_suffix(p) in CONTAINER_SUFFIXES for p in patterns):
        addresses = tuple(dict.fromkeys(a for p in patterns for a in glob(storage, p)))
        if not addresses:
            raise ManifestError(f"{given}: no file matches this pattern")
        return Source(given, "tar", root, addresses, several=True, name=name, only=kind)
    fits = tuple(key_pattern(p, root) for p in patterns)
    return Source(given, "files", root, (root,), patterns=fits, name=name, only=kind)


def _kind_of(storage: Storage, address: str, kind: Kind | None) -> Kind:
    suffix = _suffix(address)
    if suffix == ".tar":
        if kind in ("tar", "webdataset"):
            return kind
        _require(kind, "tar", address)
        return "webdataset" if webdataset.is_webdataset(storage, address) else "tar"
    if suffix == ".parquet":
        if kind in ("parquet", "table"):
            return kind
        _require(kind, "parquet", address)
        with parquet.open_parquet(storage, address) as file:
            schema = file.schema
        if parquet.image_column(schema) is None and table.address_column(schema.names) is not None:
            return "table"
        return "parquet"
    _require(kind, "table", address)
    return "table"


def _require(kind: Kind | None, found: Kind, given: str) -> None:
    if kind not in (None, found):
        raise ManifestError(f"{given} is of kind `{found}`, not `{kind}`")


def _refuse_packed(addresses: Sequence[str]) -> None:
    for address in addresses:
        if address.lower().endswith(PACKED_SUFFIXES):
            raise ManifestError(
                f"{address} is compressed: its members cannot be read one by one; unpack it to a folder, or "
                "to a plain .tar (`gunzip FILE.tar.gz`)"
            )


def _suffix(address: str) -> str:
    return posixpath.splitext(address)[1].lower()


def _common_folder(folders: Sequence[str]) -> str:
    split = [re.split(r"(?<!/)/(?!/)", f) for f in folders]
    common = 0
    while all(len(s) > common for s in split) and len({s[common] for s in split}) == 1:
        common += 1
    return "/".join(split[0][:common]) or "/"
