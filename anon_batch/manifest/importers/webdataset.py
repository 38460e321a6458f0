"""WebDataset shards: tars in which the members of a sample share the name up to the first dot and are adjacent."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from itertools import groupby, islice
from typing import NamedTuple

import pyarrow as pa

from anon_batch.formats.tar_shard import CLASS, TEXT_FIELDS, sample_key
from anon_batch.manifest.importers.classify import IMAGE
from anon_batch.manifest.importers.entries import Entry, Source, entry_tables
from anon_batch.manifest.importers.range_file import RangeFile
from anon_batch.manifest.importers.report import ImportReport
from anon_batch.manifest.importers.tar import read_each, what_is
from anon_batch.manifest.importers.tar_index import TarMember, iter_members
from anon_batch.manifest.names import has_image_suffix
from anon_batch.storage import Storage

_MAX_FIELD_BYTES = 2**20
_PEEKED_MEMBERS = 256


def read_tables(storage: Storage, source: Source, report: ImportReport) -> Iterator[pa.Table]:
    """Yield rows of all images in the shards, with the text fields of their samples as columns: see TEXT_FIELDS.

    `image_id` is `<shard, without .tar>/<member>`. Fields stay text. A member that
    is neither image nor field, a field over 1 MiB or not UTF-8, and the fields of a sample without an image
    are counted in the report.
    """

    def entries(address: str) -> Iterator[Entry]:
        stem = source.stem_of(address)
        with RangeFile(storage, address, report.reading) as file:
            for _, sample in groupby(iter_members(file), key=lambda m: split_key(m.path)[0]):
                yield from _sample(file, address, stem, list(sample), _Skips(report, source.below(address)))

    return entry_tables(read_each(source, report, entries), source.given)


def is_webdataset(storage: Storage, address: str) -> bool:
    """Return whether one of the first members of a tar is a text field that shares its key with an image."""
    with RangeFile(storage, address) as file:
        kinds: dict[str, set[str]] = {}
        for member in islice(iter_members(file), _PEEKED_MEMBERS):
            key, extension = split_key(member.path)
            if has_image_suffix(member.name):
                kinds.setdefault(key, set()).add("image")
            elif extension in TEXT_FIELDS:
                kinds.setdefault(key, set()).add("field")
    return any(len(found) == 2 for found in kinds.values())


def split_key(path: str) -> tuple[str, str]:
    """Return a member's sample key (its folder and its name up to the first dot) and its extension in lower case."""
    return sample_key(path), posixpath.basename(path).partition(".")[2].lower()


class _Skips(NamedTuple):
    """Where the members of one tar are counted and skipped."""

    report: ImportReport
    tar: str

    def skip(self, member: TarMember, reason: str, detail: str = "") -> None:
        self.report.skip(f"{self.tar}!{member.path}", reason, detail)


def _sample(file: RangeFile, address: str, stem: str, members: list[TarMember], skips: _Skips) -> Iterator[Entry]:
    skips.report.found_count += len(members)
    kinds = [what_is(member, f"{stem}/{member.path}") for member in members]
    images = [member for member, kind in zip(members, kinds, strict=True) if kind == IMAGE]
    fields: dict[str, str] = {}
    for member, kind in zip(members, kinds, strict=True):
        extension = split_key(member.path)[1]
        if kind == IMAGE:
            continue
        if member.kind != "file" or extension not in TEXT_FIELDS:
            skips.skip(member, kind)
        elif not images:
            skips.skip(member, "unused_field", "no image in the sample")
        elif (text := _text(file, member)) is None:
            skips.skip(member, "unused_field", "over 1 MiB or not UTF-8")
        elif extension in fields:
            skips.skip(member, "unused_field", "a second one in the sample")
        else:
            fields[extension] = text.strip() if extension == CLASS else text
            skips.report.fields_count += 1
    for member in images:
        yield Entry(f"{stem}/{member.path}", address, member.offset, member.length, extra=fields)


def _text(file: RangeFile, member: TarMember) -> str | None:
    if member.length > _MAX_FIELD_BYTES:
        return None
    try:
        return file.read_at(member.offset, member.length).decode("utf-8")
    except UnicodeDecodeError:
        return None
