"""Folders and bucket prefixes: every image below them, by its suffix."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from anon_batch.manifest.importers.entries import Entry, ImportReport, Source, entry_tables
from anon_batch.manifest.names import has_image_suffix
from anon_batch.storage import PARTIAL_PREFIX, Storage, join


def read_tables(storage: Storage, source: Source, report: ImportReport) -> Iterator[pa.Table]:
    """Yield rows of all images: `image_id` is the path below the source's root, `size_bytes` comes from the listing."""
    return entry_tables(_entries(storage, source, report), source.given)


def _entries(storage: Storage, source: Source, report: ImportReport) -> Iterator[Entry]:
    address = source.addresses[0]
    if address != source.root:  # a single file
        yield Entry(address[len(source.root) :].lstrip("/"), address, size_bytes=storage.size(address) or None)
        return
    fits = [re.compile(p) for p in source.patterns]
    for info in storage.list(address):
        if fits and not any(f.match(info.key) for f in fits):
            continue
        base = info.key.rsplit("/", 1)[-1]
        if not base or base.startswith(PARTIAL_PREFIX):  # the marker of a folder, an unfinished write
            continue
        if has_image_suffix(info.key):
            yield Entry(info.key, join(address, info.key), size_bytes=info.size_bytes or None)
        else:
            report.add(info.key)
