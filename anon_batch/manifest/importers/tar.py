"""Tar files: every image in them, addressed by offset and length, never unpacked."""

from __future__ import annotations

from collections.abc import Iterator

import pyarrow as pa

from anon_batch.manifest.importers.entries import Entry, ImportReport, Source, entry_tables
from anon_batch.manifest.importers.tar_index import RangeFile, iter_members
from anon_batch.manifest.names import has_image_suffix
from anon_batch.storage import Storage


def read_tables(storage: Storage, source: Source, report: ImportReport) -> Iterator[pa.Table]:
    """Yield rows of all images in the source's tars.

    `image_id` is the member's name; in a tar inside the tar it follows the inner tar's name without `.tar`
    (`n01440764/n01440764_10026.JPEG`). When the source is a pattern or a folder, the tar's own path below it
    comes first.
    """
    return entry_tables(_entries(storage, source, report), source.given)


def _entries(storage: Storage, source: Source, report: ImportReport) -> Iterator[Entry]:
    for address in source.addresses:
        with RangeFile(storage, address) as file:
            for member in iter_members(file):
                if not member.is_data:
                    report.add(member.path, "link")
                elif not has_image_suffix(member.name):
                    report.add(member.path)
                else:
                    image_id = f"{source.stem_of(address)}/{member.path}" if source.several else member.path
                    yield Entry(image_id, address, member.offset, member.length)
