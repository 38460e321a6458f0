"""Folders and bucket prefixes: every image below them, by its suffix; archives and tables are opened afterwards."""

from __future__ import annotations

import re
from collections.abc import Iterator

import pyarrow as pa

from anon_batch.manifest.importers.classify import CONTAINER, IMAGE, classify
from anon_batch.manifest.importers.entries import Entry, Source, entry_tables
from anon_batch.manifest.importers.report import ImportReport
from anon_batch.manifest.importers.walk import Found, Pointers, walk
from anon_batch.storage import Storage, join


def read_tables(storage: Storage, source: Source, report: ImportReport) -> Iterator[pa.Table]:
    """Yield rows of all images: `image_id` is the path below the source's root, `size_bytes` comes from the listing."""
    return entry_tables(_entries(storage, source, report), source.given)


def _entries(storage: Storage, source: Source, report: ImportReport) -> Iterator[Entry]:
    address = source.addresses[0]
    if address != source.root:  # a single file
        report.found_count += 1
        yield Entry(source.below(address), address, size_bytes=storage.size(address) or None)
        return
    fits = [re.compile(p) for p in source.patterns]
    pointers = Pointers(storage, address)
    for found in walk(storage, address):
        if fits and not any(f.match(found.key) for f in fits):
            continue
        report.found_count += 1
        what, detail = _kind_of(found, source, pointers)
        if what == IMAGE:
            if found.leads_to:
                report.outside_links[found.leads_to] = report.outside_links.get(found.leads_to, 0) + 1
            yield Entry(found.key, join(address, found.key), size_bytes=found.size_bytes or None)
        elif what == CONTAINER:
            report.containers.append(join(address, found.key))
        else:
            report.skip(found.key, what, detail)


def _kind_of(found: Found, source: Source, pointers: Pointers) -> tuple[str, str]:
    """Return IMAGE, CONTAINER or a reason, and its detail."""
    if found.reason:
        return found.reason, found.detail
    what = classify(found.key)
    if what == IMAGE and (kind := pointers.kind(found)):
        return "pointer", kind
    unwanted = CONTAINER if source.only == "files" else IMAGE if source.only else ""
    return ("other_kind" if what == unwanted else what), ""
