"""Find out which kind of source an address is, and which files it names."""

from __future__ import annotations

import os
import posixpath
import re
from collections.abc import Callable, Iterator, Sequence

import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.manifest.addresses import folder_of
from anon_batch.manifest.importers import files, parquet, table, tar, webdataset
from anon_batch.manifest.importers.entries import ImportReport, Kind, Source
from anon_batch.manifest.importers.patterns import expand_braces, glob, has_pattern, key_pattern, literal_folder
from anon_batch.manifest.names import has_image_suffix
from anon_batch.storage import Storage, absolute, is_local, join

READERS: dict[Kind, Callable[[Storage, Source, ImportReport], Iterator[pa.Table]]] = {
    "files": files.read_tables,
    "tar": tar.read_tables,
    "webdataset": webdataset.read_tables,
    "parquet": parquet.read_tables,
    "table": table.read_tables,
}
_CONTAINERS = (".tar", ".parquet", *table.SUFFIXES)
_PACKED = (
    ".tgz",
    ".tbz2",
    ".txz",
    ".zip",
    ".7z",
    ".rar",
    *(f".tar.{s}" for s in ("gz", "bz2", "xz", "zst", "lz4")),
)


def find_source(storage: Storage, given: str, kind: Kind | None = None) -> Source:
    """Return the source that an address names.

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
    suffix = _suffix(address)
    if suffix in _CONTAINERS and not is_folder:
        return _from_files(storage, given, (address,), kind, root=folder_of(address), several=False)
    if has_image_suffix(address) and not is_folder:
        _require(kind, "files", given)
        return Source(given, "files", folder_of(address), (address,), name=posixpath.basename(folder_of(address)))
    return _from_folder(storage, given, address, kind)


def _from_folder(storage: Storage, given: str, folder: str, kind: Kind | None) -> Source:
    name = posixpath.basename(folder)
    whole = Source(given, "files", folder, (folder,), name=name)
    if kind == "files":
        return whole
    held: dict[str, list[str]] = {}
    seen_count = 0
    for info in storage.list(folder):
        seen_count += 1
        if kind is None and has_image_suffix(info.key):
            return whole
        if (suffix := _suffix(info.key)) in _CONTAINERS:
            held.setdefault(suffix, []).append(join(folder, info.key))
        elif kind is None and info.key.lower().endswith(_PACKED):
            held.setdefault("packed", []).append(join(folder, info.key))
    if not seen_count:
        raise ManifestError(f"{given}: nothing is there; give a folder, a bucket prefix, tar, Parquet or CSV files")
    for suffix in (".tar", ".parquet"):
        if suffix in held and (kind is None or kind in ("tar", "webdataset") or suffix == ".parquet"):
            return _from_files(storage, given, tuple(held[suffix]), kind, root=folder, several=True)
    _refuse_packed(held.get("packed", []))
    if kind == "table" and held:
        return _from_files(storage, given, tuple(a for s in held.values() for a in s), kind, root=folder, several=True)
    if kind is not None:
        raise ManifestError(f"{given}: no file of kind `{kind}` in it")
    return whole  # no image; the builder reports what is there instead


def _from_pattern(storage: Storage, given: str, address: str, kind: Kind | None) -> Source:
    patterns = expand_braces(address)
    _refuse_packed(patterns)
    root = _common_folder([literal_folder(p) for p in patterns])
    if all(_suffix(p) in _CONTAINERS for p in patterns):
        addresses = tuple(dict.fromkeys(a for p in patterns for a in glob(storage, p)))
        if not addresses:
            raise ManifestError(f"{given}: no file matches this pattern")
        return _from_files(storage, given, addresses, kind, root=root, several=True)
    _require(kind, "files", given)
    fits = tuple(key_pattern(p, root) for p in patterns)
    return Source(given, "files", root, (root,), patterns=fits, name=posixpath.basename(root))


def _from_files(
    storage: Storage, given: str, addresses: tuple[str, ...], kind: Kind | None, *, root: str, several: bool
) -> Source:
    suffixes = {_suffix(a) for a in addresses}
    if len(suffixes) > 1 and not suffixes <= set(table.SUFFIXES):
        raise ManifestError(
            f"{given}: files of several kinds ({', '.join(sorted(suffixes))}); give them as several sources"
        )
    found = _kind_of(storage, addresses[0], kind)
    first = posixpath.basename(root) if several else posixpath.splitext(posixpath.basename(addresses[0]))[0]
    return Source(given, found, root, addresses, several=several, name=first)


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
        if address.lower().endswith(_PACKED):
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
