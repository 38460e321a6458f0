"""List the objects of any fsspec file system, folder by folder."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from anon_batch.errors import ObjectNotFoundError


class ObjectInfo(NamedTuple):
    """One listed object: its key relative to the listed prefix, "/"-separated, and its size."""

    key: str
    size_bytes: int


def walk(ls: Callable[[str], Sequence[Mapping[str, Any]]], root: str, *, markers: bool = False) -> Iterator[ObjectInfo]:
    """Yield the objects below `root`, folder by folder, each folder sorted by name.

    Args:
        ls: path of a folder -> its entries as fsspec gives them: `name`, `type`, `size`.
        root: path without a trailing slash.
        markers: whether to yield a folder without a name (a key with `//`), which cannot be listed, as a key that ends with it.
    """
    yield from _walk(ls, root, root, markers=markers)


def _walk(
    ls: Callable[[str], Sequence[Mapping[str, Any]]], folder: str, root: str, *, markers: bool
) -> Iterator[ObjectInfo]:
    try:
        entries = ls(folder)
    except ObjectNotFoundError:
        return
    for entry in sorted(entries, key=lambda e: str(e["name"])):
        name = str(entry["name"]).rstrip("/")
        if entry["type"] == "directory":
            if name != folder.rstrip("/"):
                yield from _walk(ls, name, root, markers=markers)
            elif markers and str(entry["name"]).endswith("//"):
                yield ObjectInfo(f"{name[len(root) :].lstrip('/')}//", 0)
        elif name != root:  # because object stores may list a zero-byte object for the folder itself
            yield ObjectInfo(name[len(root) :].lstrip("/"), int(entry["size"] or 0))
