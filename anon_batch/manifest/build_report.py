"""What a user reads about a manifest that was built, or could not be."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import pyarrow as pa

from anon_batch.manifest.addresses import folder_of
from anon_batch.manifest.imported import ImportedRows
from anon_batch.manifest.importers.entries import Kind
from anon_batch.manifest.importers.report import ImportReport, printable
from anon_batch.manifest.joins import JoinReport
from anon_batch.manifest.rows import Rows
from anon_batch.manifest.skip_reasons import SKIP_REASONS
from anon_batch.storage import is_local


@dataclass(frozen=True, slots=True)
class BuildReport:
    """What went into a manifest and what did not.

    Args:
        uri: of the manifest.
        images_count: rows.
        sources: (source, kind, rows) of each; a folder may have several.
        found_count: entries that were seen: all rows, skipped entries, archives that were opened, and fields.
        skipped: reason -> entries that are not in the manifest, see `SKIP_REASONS`.
        skipped_names: reason -> the first 20 of them.
        skipped_uri: the list of all of them, beside the manifest; None without any.
        other_suffixes: suffix -> files that are no images.
        extra_columns: pass-through columns.
        columns: which of them a release publishes and which not, judged by the first rows; see `ColumnFilter.report`.
        renamed_columns: column -> its new name, where the release needs the old one or it has another meaning.
        dropped_columns: columns that were dropped: binary data, second addresses, ignored, or not selected.
        differing_columns: columns whose classes have other names, or none, in some of the files; the names are not kept.
        base_uri: what relative addresses start from, as written; None if all are absolute.
        prefixed: whether ids got the name of their source in front, because ids of several sources were equal.
        labelled_count: images with ground truth.
        regions_count: regions in it, ignored ones included.
        unmatched_count: entries of the ground truth that belong to no image, or to several.
        unmatched_names: the first 20 of them.
        void_count: boxes without area in the ground truth that were left out, where its format has such.
        reserved_count: ids that Windows cannot store as they are.
        equal_count: ids that a file system without upper case or accents' forms takes for another one.
        outside: folders of images that a job has to allow, because they are not below the manifest's own.
        joins: what became of each joined table.
        expected: what the rows were compared with.
    """

    uri: str
    images_count: int
    sources: tuple[tuple[str, Kind, int], ...]
    found_count: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    skipped_names: dict[str, tuple[str, ...]] = field(default_factory=dict)
    skipped_uri: str | None = None
    other_suffixes: dict[str, int] = field(default_factory=dict)
    extra_columns: tuple[str, ...] = ()
    columns: dict[str, Any] = field(default_factory=dict)
    renamed_columns: dict[str, str] = field(default_factory=dict)
    dropped_columns: tuple[str, ...] = ()
    differing_columns: tuple[str, ...] = ()
    base_uri: str | None = None
    prefixed: bool = False
    labelled_count: int = 0
    regions_count: int = 0
    unmatched_count: int = 0
    unmatched_names: tuple[str, ...] = ()
    void_count: int = 0
    reserved_count: int = 0
    equal_count: int = 0
    outside: tuple[str, ...] = ()
    joins: tuple[JoinReport, ...] = ()
    expected: tuple[str, ...] = ()


def describe_nothing(sources: Sequence[str], report: ImportReport, kind: Kind | None) -> str:
    """Return why a manifest would be empty."""
    what = "image" if kind is None else f"image of kind `{kind}`"
    suffixes = [f"{count:,} x {suffix}" for suffix, count in list(report.suffixes.items())[:5]]
    others = {reason: count for reason, count in report.skipped.items() if reason != "not_an_image"}
    seen = ", ".join([*suffixes, *(_described(report, reason, count) for reason, count in others.items())])
    return f"no {what} in {', '.join(sources)}" + (f"; found only {seen}" if seen else "; nothing is there")


def describe_losses(report: ImportReport) -> str:
    """Return what was skipped although it may be an image."""
    return ", ".join(_described(report, reason, count) for reason, count in report.losses.items())


def _described(report: ImportReport, reason: str, count: int) -> str:
    detail = report.first_details.get(reason)
    return (
        f"{count:,} {reason} ({SKIP_REASONS[reason].meaning}; the first: {report.names[reason][0]}"
        f"{f': {detail}' if detail else ''}; {SKIP_REASONS[reason].fix})"
    )


def count_parts(rows: ImportedRows) -> tuple[tuple[str, Kind, int], ...]:
    """Return (source, kind, rows) of every part that has rows, and of sources without any."""
    counts = [(at, source.given, source.kind, rows.count_of(part)) for part, (at, source) in enumerate(rows.parts)]
    filled = {at for at, _, _, count in counts if count}
    shown: Mapping[tuple[int, Kind], tuple[str, Kind, int]] = {
        (at, kind): (given, kind, count) for at, given, kind, count in counts if count or at not in filled
    }
    return tuple(shown.values())


def all_ids(rows: Rows) -> Iterator[pa.Array]:
    """Yield the ids of the manifest."""
    return (table.column("image_id").combine_chunks() for table in rows.tables())


def find_outside(rows: ImportedRows, out_uri: str) -> tuple[str, ...]:
    """Return the local folders that hold images and are not below the manifest's own."""
    home = folder_of(out_uri).rstrip("/") + "/"
    roots = [source.root for _, source in rows.parts if is_local(source.root)]
    folders = [*roots, *rows.report.outside_links]
    outside = [f for f in folders if not (is_local(home) and f"{f.rstrip('/')}/".startswith(home))]
    return tuple(map(printable, dict.fromkeys(outside)))
