"""Build a manifest: stage the sources on the local disk, then write, check and publish the manifest."""

from __future__ import annotations

import posixpath
import tempfile
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from types import MappingProxyType
from typing import Any, Literal

import pyarrow as pa

from anon_batch.config import SourcesConfig
from anon_batch.errors import IntegrityError, ManifestError
from anon_batch.manifest.allowed import AllowedSources
from anon_batch.manifest.build_report import (
    BuildReport,
    all_ids,
    count_parts,
    describe_losses,
    describe_nothing,
    find_outside,
)
from anon_batch.manifest.compare_columns import READ_ROWS, described_rows, find_foreign_columns
from anon_batch.manifest.expect import check_expected, read_expectation
from anon_batch.manifest.fetch import SourceReader
from anon_batch.manifest.imported import ImportedRows, import_sources
from anon_batch.manifest.importers.classify import SKIPPED_SUFFIX
from anon_batch.manifest.importers.entries import Kind
from anon_batch.manifest.importers.report import ImportReport, Progress
from anon_batch.manifest.joins import Shaping, describe_join, shape_rows
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.portable_names import find_unportable
from anon_batch.manifest.publish import decide
from anon_batch.manifest.rename import Renames
from anon_batch.manifest.rows import Rows
from anon_batch.manifest.staging import StagedTables
from anon_batch.manifest.truth import read_ground_truth
from anon_batch.manifest.truth.attach import AttachedTruth, attach_ground_truth
from anon_batch.manifest.write import AddressBase, write_table
from anon_batch.records import ManifestRow
from anon_batch.storage import Storage, absolute
from anon_batch.storage.faults import writing

_COMPARED_BYTES = 256 * 2**20


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
    renames: Renames = MappingProxyType({}),
    shaping: Shaping | None = None,
    expect: Sequence[str] = (),
    strict: bool = False,
    allow: SourcesConfig | None = None,
    progress: Progress | None = None,
) -> BuildReport:
    """List the images of sources in a manifest, and everything else in a list of skipped entries beside it.

    Nothing is published unless all rows pass the check.

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
        renames: columns of the sources that are read under another name, or ignored.
        shaping: joined tables, boxes, classes and ids that the rows get besides.
        expect: what the sources have to hold, see `read_expectation`.
        strict: refuse when an entry that may be an image is skipped, or an image and its line in a joined table lack each other.
        allow: what the addresses of tables may lead to when their images are compared with `sha256` and `size_bytes`.
        progress: hears what is being read.

    Raises:
        ManifestError: a suffix other than `.parquet`, no image, a source that cannot be read, rows that fail the check, columns
            that describe other files, ground truth that matches no image, or skipped entries with `strict`.
        StorageError: bytes could not be read or written.
    """
    stem, suffix = posixpath.splitext(out_uri)
    if suffix.lower() not in ("", ".parquet"):
        raise ManifestError(f"output {out_uri}: a manifest is a Parquet file; name it {stem}.parquet")
    if not sources:
        raise ManifestError("no source; give a folder, a bucket prefix, tar, Parquet or CSV files")
    only = None if kind == "auto" else kind
    shaping = Shaping() if shaping is None else shaping
    expected = [read_expectation(storage, given) for given in expect]
    with tempfile.TemporaryDirectory(prefix="anon-batch-manifest-") as folder, StagedTables(Path(folder)) as staged:
        report = ImportReport(Path(folder) / "skipped.jsonl", progress)
        read = None if columns is None else [*columns, *shaping.columns_read()]
        imported = import_sources(storage, sources, staged, report, kind=only, columns=read, renames=renames)
        report.close()
        _require_all_counted(imported)
        if not imported.rows_count:
            raise ManifestError(describe_nothing(sources, report, only))
        if strict and report.losses:
            raise ManifestError(f"--strict: {describe_losses(report)}; nothing is written")
        shaped = shape_rows(storage, imported, shaping, Path(folder), columns=columns, renames=renames)
        _refuse_foreign_columns(storage, imported, allow or SourcesConfig())
        if strict and (lonely := [join for join in shaped.joins if join.is_incomplete]):
            raise ManifestError(f"--strict: {'; '.join(map(describe_join, lonely))}; nothing is written")
        rows = shaped.rows
        check_expected(rows, expected)
        base = AddressBase(out_uri, base_uri, [source for _, source in imported.parts])
        truth: AttachedTruth | None = None
        if ground_truth is not None:
            found = read_ground_truth(storage, ground_truth, labels, shaping.truth_form)
            truth = attach_ground_truth(rows, found, ground_truth, Path(folder))
            rows = truth.rows
        path = Path(folder) / "manifest.parquet"
        labelled_count, regions_count = write_table(path, rows.tables(), rows.extra, base=base, where=absolute(out_uri))
        shown_columns = _shown_columns(rows)
        skipped_uri = _publish(storage, path, report, out_uri, f"{stem}{SKIPPED_SUFFIX}")
        names = find_unportable(all_ids(rows))
    return BuildReport(
        uri=absolute(out_uri),
        images_count=rows.count,
        sources=count_parts(imported),
        found_count=report.found_count,
        skipped=dict(report.skipped.most_common()),
        skipped_names={reason: tuple(shown) for reason, shown in report.names.items()},
        skipped_uri=skipped_uri,
        other_suffixes=dict(sorted(report.suffixes.items(), key=lambda item: (-item[1], item[0]))),
        extra_columns=tuple(rows.extra.names),
        columns=shown_columns,
        renamed_columns=report.renamed,
        dropped_columns=tuple(sorted(report.dropped)),
        differing_columns=(*staged.differing, *sorted(report.differing)),
        base_uri=base.written,
        prefixed=any(imported.prefixes),
        labelled_count=labelled_count,
        regions_count=regions_count,
        unmatched_count=0 if truth is None else truth.report.unused_count,
        unmatched_names=() if truth is None else truth.report.unused_names,
        void_count=0 if truth is None else truth.void_count,
        reserved_count=names.reserved_count,
        equal_count=names.equal_count,
        outside=find_outside(imported, absolute(out_uri)),
        joins=tuple(shaped.joins),
        expected=tuple(expect),
    )


def _require_all_counted(rows: ImportedRows) -> None:
    """Compare what was found with what became of it.

    Raises:
        IntegrityError: an entry was lost on the way, a bug.
    """
    report = rows.report
    ends = rows.rows_count + report.skipped_count + report.opened_count + report.fields_count
    if ends != report.found_count:
        raise IntegrityError(
            f"{report.found_count:,} entries were found, but {rows.rows_count:,} are listed, {report.skipped_count:,} skipped, "
            f"{report.opened_count:,} opened and {report.fields_count:,} used as fields: a bug in anon-batch; report it"
        )


def _refuse_foreign_columns(storage: Storage, rows: ImportedRows, allow: SourcesConfig) -> None:
    for part, (_, source) in enumerate(rows.parts):
        if source.kind not in ("parquet", "table"):
            continue
        first = list(islice(_described_rows(rows.staged.tables(part)), READ_ROWS))
        allowed = AllowedSources.of(allow, source.addresses[0])
        found = find_foreign_columns(SourceReader(storage, allowed), first, _COMPARED_BYTES)
        if found:
            options = " ".join(f"--ignore {column.name}" for column in found)
            raise ManifestError(
                f"{source.given}: {'; '.join(map(str, found))}. Use {options}, or --rename {found[0].name}=OTHER_NAME to keep it"
            )


def _described_rows(tables: Iterator[pa.Table]) -> Iterator[ManifestRow]:
    start = 0
    for table in tables:
        yield from described_rows(table, start, READ_ROWS)
        start += len(table)


def _publish(storage: Storage, path: Path, report: ImportReport, out_uri: str, skipped_uri: str) -> str | None:
    """Write the list of skipped entries, or delete an old one, then the manifest; return the list's address."""
    with writing("the manifest", "--output"):
        if report.skipped_count and report.log is not None:
            storage.put(skipped_uri, report.log.read_bytes())
        elif storage.exists(skipped_uri):
            storage.delete(skipped_uri)
        storage.put(out_uri, path.read_bytes())
    return absolute(skipped_uri) if report.skipped_count else None


def _shown_columns(rows: Rows) -> dict[str, Any]:
    """Return what a release of the manifest publishes and what not, as far as its first rows show."""
    first = next(table for table in rows.tables() if len(table))
    columns = decide(first, rows.extra)
    columns.apply(first)
    return columns.report()
