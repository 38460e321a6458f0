"""Build a manifest: stage the sources on the local disk, then write, check and publish the manifest."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from anon_batch.errors import ManifestError
from anon_batch.manifest.ground_truth import read_ground_truth
from anon_batch.manifest.importers.entries import ImportReport, Kind, Source, conform
from anon_batch.manifest.importers.find import READERS, find_source
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.matching import RegionMatcher
from anon_batch.manifest.names import hashes
from anon_batch.manifest.publish import decide
from anon_batch.manifest.schema import (
    FIXED_COLUMNS,
)
from anon_batch.manifest.staging import StagedTables
from anon_batch.manifest.write import AddressBase, replace_column, write_table
from anon_batch.storage import Storage, absolute
from anon_batch.storage.faults import writing

_SHOWN = 20


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What went into a manifest and what did not.

    Args:
        uri: of the manifest.
        images_count: rows.
        sources: (source, kind, rows) of each.
        other_suffixes: suffix -> files that are no images.
        other_names: the first 20 of them.
        extra_columns: pass-through columns.
        columns: which of them a release publishes and which not, judged by the first rows; see `ColumnFilter.report`.
        renamed_columns: column -> its new name, where the release needs the old one.
        dropped_columns: columns that were dropped: binary data, second addresses, or not selected.
        base_uri: what relative addresses start from, as written; None if all are absolute.
        prefixed: whether ids got the name of their source in front, because ids of several sources were equal.
        labelled_count: images with ground truth.
        regions_count: regions in it, ignored ones included.
        unmatched_count: entries of the ground truth that belong to no image, or to several.
        unmatched_names: the first 20 of them.
    """

    uri: str
    images_count: int
    sources: tuple[tuple[str, Kind, int], ...]
    other_suffixes: dict[str, int] = field(default_factory=dict)
    other_names: tuple[str, ...] = ()
    extra_columns: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)
    renamed_columns: dict[str, str] = field(default_factory=dict)
    dropped_columns: tuple[str, ...] = ()
    base_uri: str | None = None
    prefixed: bool = False
    labelled_count: int = 0
    regions_count: int = 0
    unmatched_count: int = 0
    unmatched_names: tuple[str, ...] = ()

    @property
    def others_count(self) -> int:
        return sum(self.other_suffixes.values())


def build_manifest(
    storage: Storage,
    sources: Sequence[str],
    out_uri: str,
    *,
    ground_truth: str | None = None,
    labels: LabelMap | None = None,
    kind: Kind | Literal["auto"] = "auto",
    base_uri: str | None = None,
    columns: Sequence[str] | None = None,
) -> BuildReport:
    """List the images of sources in a manifest. Nothing is published unless all of it passes the check.

    Args:
        storage: to read and write with.
        sources: folders, bucket prefixes, tar, WebDataset, Parquet, CSV or JSONL files, or patterns of them.
        out_uri: the manifest, `.parquet`; replaced when there is one.
        ground_truth: a file of labelled regions, see `read_ground_truth`.
        labels: which labels its regions get.
        kind: of all sources; `auto` looks at each.
        base_uri: what addresses are written relative to; "." is the manifest's own folder, so that both can
            be moved together. None: local ones relative to the folder that all local sources share, others
            absolute.
        columns: pass-through columns to keep; None keeps all, () none.

    Raises:
        ManifestError: a suffix other than `.parquet`, no image, a source that cannot be listed in full, rows that fail the
            check, or ground truth that matches no image.
        StorageError: bytes could not be read or written.
    """
    stem, suffix = posixpath.splitext(out_uri)
    if suffix.lower() not in ("", ".parquet"):
        raise ManifestError(f"output {out_uri}: a manifest is a Parquet file; name it {stem}.parquet")
    if not sources:
        raise ManifestError("no source; give a folder, a bucket prefix, tar, Parquet or CSV files")
    found = [find_source(storage, given, None if kind == "auto" else kind) for given in sources]
    imported = ImportReport()
    with tempfile.TemporaryDirectory(prefix="anon-batch-manifest-") as folder, StagedTables(Path(folder)) as staged:
        for at, source in enumerate(found):
            for table in READERS[source.kind](storage, source, imported):
                staged.add(at, _select_columns(conform(table, imported), columns, imported))
        if not staged.rows_count:
            raise ManifestError(_nothing_found(sources, imported))
        prefixes = _id_prefixes(found, staged)
        base = AddressBase(out_uri, base_uri, found)
        matcher = _matcher(storage, ground_truth, labels or LabelMap(), lambda: _with_ids(staged, prefixes))
        shown = _shown_columns(staged, range(len(found)))
        path = Path(folder) / "manifest.parquet"
        labelled_count, regions_count = write_table(
            path,
            _with_ids(staged, prefixes),
            staged.extra_schema(),
            matcher=matcher,
            base=base,
            where=absolute(out_uri),
        )
        with writing("the manifest", "--output"):
            storage.put(out_uri, path.read_bytes())
    unmatched = matcher.unmatched() if matcher else []
    return BuildReport(
        uri=absolute(out_uri),
        images_count=staged.rows_count,
        sources=tuple((s.given, s.kind, staged.count_of(at)) for at, s in enumerate(found)),
        other_suffixes=dict(sorted(imported.suffixes.items(), key=lambda item: (-item[1], item[0]))),
        other_names=tuple(imported.names),
        extra_columns=tuple(staged.extra_schema().names),
        columns=shown,
        renamed_columns=imported.renamed,
        dropped_columns=tuple(sorted(imported.dropped)),
        base_uri=base.written,
        prefixed=any(prefixes),
        labelled_count=labelled_count,
        regions_count=regions_count,
        unmatched_count=len(unmatched),
        unmatched_names=tuple(unmatched[:_SHOWN]),
    )


def _select_columns(table: pa.Table, columns: Sequence[str] | None, imported: ImportReport) -> pa.Table:
    if columns is None:
        return table
    kept = [n for n in table.column_names if n in FIXED_COLUMNS or n in columns]
    imported.dropped.update(set(table.column_names) - set(kept))
    return table.select(kept)


def _shown_columns(staged: StagedTables, sources: Iterable[int]) -> dict[str, Any]:
    """Return what a release of the manifest publishes and what not, as far as its first rows show."""
    extra = staged.extra_schema()
    first = next(table for source in sources for table in staged.tables(source) if len(table))
    columns = decide(first, extra)
    columns.apply(first)
    return columns.report()


def _nothing_found(sources: Sequence[str], imported: ImportReport) -> str:
    seen = ", ".join(f"{count:,} x {suffix}" for suffix, count in list(imported.suffixes.items())[:5])
    return f"no image in {', '.join(sources)}" + (f"; found only {seen}" if seen else "; nothing is there")


def _id_prefixes(found: Sequence[Source], staged: StagedTables) -> list[str]:
    """Return the prefix of the ids of each source: none, unless two sources share an id."""
    if len(found) == 1:
        return [""]
    known = np.zeros(0, np.uint64)
    for at in range(len(found)):
        parts = [hashes(pc.fill_null(t.column("image_id").combine_chunks(), "")) for t in staged.tables(at)]
        own = np.unique(np.concatenate(parts)) if parts else np.zeros(0, np.uint64)
        if len(np.intersect1d(known, own, assume_unique=True)):
            names = [s.name for s in found]
            if len(set(names)) < len(names) or not all(names):
                raise ManifestError(
                    f"the sources {', '.join(s.given for s in found)} share image ids, and so their names "
                    f"{names} cannot "
                    "tell them apart; build from the folder above, or rename one"
                )
            return [f"{name}/" for name in names]
        known = np.union1d(known, own)
    return [""] * len(found)


def _with_ids(staged: StagedTables, prefixes: Sequence[str]) -> Iterator[pa.Table]:
    for at, prefix in enumerate(prefixes):
        for table in staged.tables(at):
            ids = table.column("image_id")
            yield replace_column(table, "image_id", pc.binary_join_element_wise(prefix, ids, "")) if prefix else table


def _matcher(
    storage: Storage, ground_truth: str | None, labels: LabelMap, tables: Callable[[], Iterator[pa.Table]]
) -> RegionMatcher | None:
    if ground_truth is None:
        return None
    regions = read_ground_truth(storage, ground_truth, labels)
    matcher = RegionMatcher(regions)
    first_id = ""
    for table in tables():
        ids = table.column("image_id").to_pylist()
        first_id = first_id or str(ids[0])
        matcher.observe(i for i in ids if i)
    matcher.resolve()
    if len(matcher.unmatched()) == len(regions):
        raise ManifestError(
            f"ground truth {ground_truth} matches no image: its first name is {next(iter(regions))!r}, the first image is "
            f"{first_id!r}"
        )
    return matcher
