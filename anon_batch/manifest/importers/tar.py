"""Tar files: every image in them, addressed by offset and length, never unpacked."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pyarrow as pa

from anon_batch.errors import ManifestError
from anon_batch.manifest.importers.classify import IMAGE, classify
from anon_batch.manifest.importers.entries import Entry, Source, entry_tables
from anon_batch.manifest.importers.range_file import RangeFile
from anon_batch.manifest.importers.report import ImportReport
from anon_batch.manifest.importers.tar_index import TarMember, iter_members
from anon_batch.manifest.names import is_safe
from anon_batch.storage import Storage


def read_tables(storage: Storage, source: Source, report: ImportReport) -> Iterator[pa.Table]:
    """Yield rows of all images in the source's tars.

    `image_id` is the member's name; in a tar inside the tar it follows the inner tar's name without `.tar`
    (`n01440764/n01440764_10026.JPEG`). When the source is a pattern or a folder, the tar's own path below it
    comes first.
    """

    def entries(address: str) -> Iterator[Entry]:
        with RangeFile(storage, address, report.reading) as file:
            for member in iter_members(file):
                report.found_count += 1
                image_id = f"{source.stem_of(address)}/{member.path}" if source.several else member.path
                what = what_is(member, image_id)
                if what == IMAGE:
                    yield Entry(image_id, address, member.offset, member.length)
                else:
                    report.skip(f"{source.below(address)}!{member.path}", what)

    return entry_tables(read_each(source, report, entries), source.given)


def read_each(source: Source, report: ImportReport, entries: Callable[[str], Iterator[Entry]]) -> Iterator[Entry]:
    """Yield the entries of every tar. One among several that is damaged is skipped from where the damage begins.

    Raises:
        ManifestError: the only tar of a source is damaged.
    """
    for address in source.addresses:
        try:
            yield from entries(address)
        except ManifestError as exc:
            if not source.several:
                raise
            report.found_count += 1
            report.skip(source.below(address), "damaged", str(exc))


def what_is(member: TarMember, image_id: str) -> str:
    """Return IMAGE or the reason why a member is skipped; archives inside a tar that are no tars count as no images."""
    if member.kind != "file":
        return {"link": "link", "sparse": "sparse"}.get(member.kind, "special_file")
    what = classify(member.path)
    if what == IMAGE:
        return IMAGE if is_safe(image_id) else "unsafe_name"
    return "not_an_image" if what == "container" else what
