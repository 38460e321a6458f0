"""`anon-batch manifest`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anon_batch.cli.console import err, out, print_json
from anon_batch.config import StorageConfig, load_job
from anon_batch.manifest.build import BuildReport, build_manifest
from anon_batch.manifest.labels import LabelMap
from anon_batch.manifest.publish import describe_columns
from anon_batch.storage import Storage
from anon_batch.units import format_count, format_counted


class Kind(StrEnum):
    """Kind of the sources; `auto` detects it for each."""

    auto = "auto"
    files = "files"
    tar = "tar"
    webdataset = "webdataset"
    parquet = "parquet"
    table = "table"


def build(
    sources: Annotated[
        list[str],
        typer.Argument(
            help="Folders, bucket prefixes, tar files or WebDataset shards (also "
            "`shard-{000..009}.tar`, `*.tar`), Parquet, CSV or JSONL files."
        ),
    ],
    output: Annotated[str, typer.Option("-o", "--output", help="Address of the manifest (Parquet).")],
    ground_truth: Annotated[
        str | None,
        typer.Option(help="Ground truth: simple JSON or CSV, WIDER FACE txt, COCO JSON."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Label of all ground-truth regions; or CATEGORY=LABEL, repeated, to read only these categories."
        ),
    ] = None,
    kind: Annotated[Kind, typer.Option(help="Kind of the sources.")] = Kind.auto,
    base_uri: Annotated[
        str | None,
        typer.Option(help="Base of relative addresses, stored in the manifest; `.` is the folder of the manifest."),
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of the sources to take into the manifest, comma-separated, or `none`."),
    ] = None,
    job: Annotated[
        Path | None, typer.Option("--job", help="Job file whose `storage` section gives access to the sources.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List images into a manifest. Other files are counted and named."""
    storage = Storage(load_job(job, {}).storage if job else StorageConfig())
    labels = LabelMap.parse(label or [])
    kept = None if columns is None else [] if columns == "none" else columns.split(",")
    report = build_manifest(
        storage,
        sources,
        output,
        ground_truth=ground_truth,
        labels=labels,
        kind=kind.value,
        base_uri=base_uri,
        columns=kept,
    )
    if json:
        print_json(dataclasses.asdict(report))
        return
    _print(report, output)


def _print(report: BuildReport, output: str) -> None:
    for source, kind, rows in report.sources:
        out.print(f"{format_count(rows):>12} images  {source}  ({kind})", markup=False)
    out.print(f"{format_count(report.images_count):>12} images -> {output}", markup=False)
    if report.others_count:
        kinds = ", ".join(f"{n:,} {suffix or 'without suffix'}" for suffix, n in sorted(report.other_suffixes.items()))
        are = "is not an image and was" if report.others_count == 1 else "are not images and were"
        err.print(f"{format_counted(report.others_count, 'file')} {are} left out: {kinds}", markup=False)
        err.print("  " + _join_names(report.other_names, report.others_count), markup=False)
    for line in describe_columns(report.columns):
        out.print(line, markup=False)
    for old, new in report.renamed_columns.items():
        err.print(f"column {old} renamed to {new}, because the release has its own column {old}", markup=False)
    if report.dropped_columns:
        err.print(f"columns not copied: {', '.join(report.dropped_columns)}", markup=False)
    if report.prefixed:
        err.print(
            "image ids of several sources were equal: each id starts with the name of its source now", markup=False
        )
    if report.labelled_count:
        out.print(
            f"ground truth: {format_counted(report.regions_count, 'region')} in "
            f"{format_counted(report.labelled_count, 'image')}",
            markup=False,
        )
    if report.unmatched_count:
        err.print(
            f"entries of the ground truth that match no image, or several: {report.unmatched_count:,}: "
            + _join_names(report.unmatched_names, report.unmatched_count),
            markup=False,
        )


def _join_names(names: Sequence[str], total: int) -> str:
    return ", ".join(names) + (f", and {total - len(names):,} more" if total > len(names) else "")
