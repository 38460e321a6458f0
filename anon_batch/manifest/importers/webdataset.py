"""WebDataset shards: tars in which the members of a sample share the name up to the first dot and follow each
other.
"""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from itertools import groupby, islice

import pyarrow as pa

from anon_batch.manifest.importers.entries import Entry, Source, Tally, entry_tables
from anon_batch.manifest.importers.tar_index import RangeFile, TarMember, iter_members
from anon_batch.manifest.names import has_image_suffix
from anon_batch.storage import Storage

FIELDS = ("json", "cls", "txt")
_MAX_FIELD_BYTES = 2**20
_PEEKED_MEMBERS = 256


def tables(storage: Storage, source: Source, tally: Tally) -> Iterator[pa.Table]:
    """Rows of all pictures in the shards, with their samples' text fields as pass-through columns `json`,
    `cls`, `txt`.

    `image_id` is `<shard, without .tar>/<member>`. Fields are kept as the text that they are. A member that
    is neither picture nor field, a field over 1 MiB or not UTF-8, and the fields of a sample without picture
    go to the tally.
    """
    return entry_tables(_entries(storage, source, tally), source.given)


def is_webdataset(storage: Storage, address: str) -> bool:
    """Whether one of the first members of a tar is a text field that shares its key with a picture."""
    with RangeFile(storage, address) as file:
        kinds: dict[str, set[str]] = {}
        for member in islice(iter_members(file), _PEEKED_MEMBERS):
            key, extension = split_key(member.path)
            if has_image_suffix(member.name):
                kinds.setdefault(key, set()).add("picture")
            elif extension in FIELDS:
                kinds.setdefault(key, set()).add("field")
    return any(len(found) == 2 for found in kinds.values())


def split_key(path: str) -> tuple[str, str]:
    """A member's sample key (its folder and its name up to the first dot) and its extension, in small
    letters.
    """
    folder, base = posixpath.split(path)
    stem, _, extension = base.partition(".")
    return (f"{folder}/{stem}" if folder else stem), extension.lower()


def _entries(storage: Storage, source: Source, tally: Tally) -> Iterator[Entry]:
    for address in source.addresses:
        stem = source.stem_of(address)
        with RangeFile(storage, address) as file:
            for _, sample in groupby(iter_members(file), key=lambda m: split_key(m.path)[0]):
                yield from _sample(file, address, stem, list(sample), tally)


def _sample(file: RangeFile, address: str, stem: str, members: list[TarMember], tally: Tally) -> Iterator[Entry]:
    pictures = [m for m in members if m.is_data and has_image_suffix(m.name)]
    fields: dict[str, str] = {}
    for member in members:
        if member in pictures:
            continue
        extension = split_key(member.path)[1]
        if not member.is_data:
            tally.add(member.path, "link")
        elif extension not in FIELDS:
            tally.add(member.path)
        elif not pictures:
            tally.add(member.path, "no picture in the sample")
        elif (text := _text(file, member)) is None:
            tally.add(member.path, "over 1 MiB or not UTF-8")
        else:
            fields[extension] = text.strip() if extension == "cls" else text
    for member in pictures:
        yield Entry(f"{stem}/{member.path}", address, member.offset, member.length, extra=fields)


def _text(file: RangeFile, member: TarMember) -> str | None:
    if member.length > _MAX_FIELD_BYTES:
        return None
    try:
        return file.read_at(member.offset, member.length).decode("utf-8")
    except UnicodeDecodeError:
        return None
