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
from anon_batch.manifest.builder import BuildReport, build_manifest
from anon_batch.manifest.labels import LabelMap
from anon_batch.storage import Storage
from anon_batch.units import format_count


class Kind(StrEnum):
    """What sources are; `auto` looks at each."""

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
    output: Annotated[str, typer.Option("-o", "--output", help="Address of the manifest to write, Parquet.")],
    ground_truth: Annotated[
        str | None,
        typer.Option(help="Known faces or other regions: simple JSON or CSV, WIDER FACE's txt, COCO's JSON."),
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            help="Label of all regions of the ground truth, or CATEGORY=LABEL, several times, to use these categories alone."
        ),
    ] = None,
    kind: Annotated[Kind, typer.Option(help="What the sources are.")] = Kind.auto,
    base_uri: Annotated[
        str | None, typer.Option(help="Stored base of relative addresses; `.` is the manifest's own folder.")
    ] = None,
    columns: Annotated[
        str | None,
        typer.Option(help="Columns of the sources to pass through to the release, comma-separated; `none` for none."),
    ] = None,
    job: Annotated[
        Path | None, typer.Option("--job", help="Job file whose `storage` section reaches the sources.")
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print for machines.")] = False,
) -> None:
    """Lists images into a manifest. Files that are no images are counted and named, never skipped in silence."""
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
        err.print(f"{report.others_count:,} things that are no images were left out: {kinds}", markup=False)
        err.print("  " + _named(report.other_names, report.others_count), markup=False)
    if report.extra_columns:
        out.print(f"columns that the release will publish: {', '.join(report.extra_columns)}", markup=False)
    for old, new in report.renamed_columns.items():
        err.print(f"column {old} is now {new}: the release has a column {old} of its own", markup=False)
    if report.dropped_columns:
        err.print(f"columns left out: {', '.join(report.dropped_columns)}", markup=False)
    if report.prefixed:
        err.print("ids of several sources clashed: each got its source's name in front", markup=False)
    if report.labelled_count:
        out.print(
            f"ground truth: {report.regions_count:,} regions in {report.labelled_count:,} images",
            markup=False,
        )
    if report.unmatched_count:
        err.print(
            f"{report.unmatched_count:,} entries of the ground truth fit no image, or several: "
            + _named(report.unmatched_names, report.unmatched_count),
            markup=False,
        )


def _named(names: Sequence[str], total: int) -> str:
    return ", ".join(names) + (f", and {total - len(names):,} more" if total > len(names) else "")
