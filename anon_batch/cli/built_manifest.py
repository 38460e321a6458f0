"""What `anon-batch manifest` prints about the manifest that it built."""

from __future__ import annotations

from collections.abc import Sequence

from anon_batch.cli.console import err, out
from anon_batch.manifest import BuildReport
from anon_batch.manifest.joins import describe_join
from anon_batch.manifest.publish import describe_columns
from anon_batch.manifest.skip_reasons import SKIP_REASONS
from anon_batch.units import format_count, format_counted

_NAMES = 3


def show_built(report: BuildReport, output: str) -> None:
    """Print what went into a manifest to standard output, and what did not to standard error."""
    for source, kind, rows in report.sources:
        out.print(f"{format_count(rows):>12} images  {source}  ({kind})", markup=False)
    out.print(f"{format_count(report.images_count):>12} images -> {output}", markup=False)
    for expected in report.expected:
        out.print(f"as expected: {expected}", markup=False)
    _show_joins(report)
    _show_skipped(report)
    _show_columns(report)
    if report.prefixed:
        err.print(
            "image ids of several sources were equal: each id starts with the name of its source now", markup=False
        )
    _show_names(report)
    if report.labelled_count:
        out.print(
            f"ground truth: {format_counted(report.regions_count, 'region')} in "
            f"{format_counted(report.labelled_count, 'image')}",
            markup=False,
        )
    if report.void_count:
        err.print(
            f"ground truth: {format_counted(report.void_count, 'box')} without area left out".replace("boxs", "boxes"),
            markup=False,
        )
    if report.unmatched_count:
        err.print(
            f"entries of the ground truth that match no image, or several: {report.unmatched_count:,}: "
            + _join_names(report.unmatched_names, report.unmatched_count),
            markup=False,
        )


def _show_skipped(report: BuildReport) -> None:
    if not report.skipped:
        return
    total = sum(report.skipped.values())
    entries = "entry" if total == 1 else "entries"
    err.print(f"skipped: {total:,} {entries}, with reasons in {report.skipped_uri}", markup=False)
    for code, count in report.skipped.items():
        reason = SKIP_REASONS[code]
        fix = "" if reason.fix == "nothing" else f"; {reason.fix}"
        err.print(f"{format_count(count):>12} {code}: {reason.meaning}{fix}", markup=False)
        if code == "not_an_image":
            kinds = ", ".join(f"{n:,} {suffix}" for suffix, n in list(report.other_suffixes.items())[:10])
            err.print(f"             {kinds}", markup=False)
        err.print(f"             {_join_names(report.skipped_names[code][:_NAMES], count)}", markup=False)


def _show_joins(report: BuildReport) -> None:
    for join in report.joins:
        columns = f": {', '.join(join.columns)}" if join.columns else ""
        out.print(f"{format_count(join.matched_count):>12} images with a line of {join.given}{columns}", markup=False)
        if join.is_incomplete:
            err.print(describe_join(join), markup=False)


def _show_columns(report: BuildReport) -> None:
    for line in describe_columns(report.columns):
        out.print(line, markup=False)
    for old, new in report.renamed_columns.items():
        err.print(f"column {old} renamed to {new}", markup=False)
    if report.differing_columns:
        listed = ", ".join(report.differing_columns)
        err.print(f"class names not kept, because the files disagree about them: {listed}", markup=False)
    if report.dropped_columns:
        err.print(f"columns not copied: {', '.join(report.dropped_columns)}", markup=False)


def _show_names(report: BuildReport) -> None:
    if report.equal_count:
        err.print(
            f"{format_counted(report.equal_count, 'id')} differ from another one only in upper case or accents: a file system of "
            "Windows or macOS keeps one of the two",
            markup=False,
        )
    if report.reserved_count:
        err.print(
            f"{format_counted(report.reserved_count, 'id')} cannot be a file name on Windows: a reserved name or character, or a "
            "space or dot at the end",
            markup=False,
        )
    if report.outside:
        listed = ", ".join(report.outside)
        err.print(
            "images are outside the manifest's folder, so the job has to allow it: "
            f"`sources: {{allow: [{listed}]}}` in the job file, or --set 'sources.allow=[{listed}]'",
            markup=False,
        )


def _join_names(names: Sequence[str], total: int) -> str:
    return ", ".join(names) + (f", and {total - len(names):,} more" if total > len(names) else "")
