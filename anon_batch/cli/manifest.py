"""`anon-batch manifest`."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from anon_batch.cli.built_manifest import show_built
from anon_batch.cli.console import print_json
from anon_batch.cli.listing_progress import ListingProgress
from anon_batch.config import StorageConfig, load_job
from anon_batch.errors import ConfigError
from anon_batch.manifest.box_format import PIXELS, BoxFormat
from anon_batch.manifest.build import build_manifest
from anon_batch.manifest.joins import BoxColumn, IdTemplate, Join, Shaping
from anon_batch.manifest.labels import LabelMap
from anon_batch.records import DEFAULT_LABEL
from anon_batch.storage import Storage


class Kind(StrEnum):
    """Kind of the sources; `auto` detects it for each."""

    auto = "auto"
    files = "files"
    tar = "tar"
    webdataset = "webdataset"
    parquet = "parquet"
    table = "table"
    wider = "wider"


class BoxForm(StrEnum):
    """Forms of boxes."""

    xyxy = "xyxy"
    xywh = "xywh"
    xyxy_normalised = "xyxy_normalised"
    xywh_normalised = "xywh_normalised"


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
    rename: Annotated[
        list[str] | None,
        typer.Option(help="Column of the sources to read under another name, OLD=NEW; repeat for several."),
    ] = None,
    ignore: Annotated[
        list[str] | None,
        typer.Option(
            help="Column to ignore, e.g. a `sha256` or `length` that describes another file; repeat for several."
        ),
    ] = None,
    join: Annotated[
        list[str] | None,
        typer.Option(
            help="CSV, TSV, JSONL or Parquet file whose columns the images get, or `ilsvrc-devkit:PATH` for the classes of "
            "ImageNet's validation images; repeat for several."
        ),
    ] = None,
    on: Annotated[
        list[str] | None,
        typer.Option(
            help="Column of the joined table that names images, or COLUMN=KEY to compare a column of the images with it; once "
            "for all --join, or once for each."
        ),
    ] = None,
    id_template: Annotated[
        str | None,
        typer.Option(
            "--id", metavar="TEMPLATE", help="New ids of the images, e.g. `val/{wnid}/{name}`: columns in braces."
        ),
    ] = None,
    classes: Annotated[
        list[str] | None,
        typer.Option(help="Column of texts to publish as classes (ClassLabel); repeat for several."),
    ] = None,
    regions_from: Annotated[
        str | None,
        typer.Option(help="Column of boxes to read as regions, e.g. `face_bboxes` or `json.face_bboxes`."),
    ] = None,
    regions_format: Annotated[
        BoxForm | None,
        typer.Option(
            help="Numbers of these boxes, or of ground truth in simple JSON or CSV: corners in px by default; `normalised` ones "
            "are shares of the image's sides."
        ),
    ] = None,
    expect: Annotated[
        list[str] | None,
        typer.Option(
            help="Fail unless the images are those of imagenet-1k-train, imagenet-1k-val or another known dataset, or of a file: "
            "ids (.txt), numbers by folder (.json, .csv); repeat for several."
        ),
    ] = None,
    strict: Annotated[
        bool,
        typer.Option(
            "--strict",
            help="Fail when an entry that may be an image cannot be listed, or images and joined tables do not match.",
        ),
    ] = False,
    job: Annotated[
        Path | None,
        typer.Option("--job", help="Job file whose sections `storage` and `sources` give access to the sources."),
    ] = None,
    json: Annotated[bool, typer.Option("--json", help="Print JSON.")] = False,
) -> None:
    """List images into a manifest, and every other entry with its reason into OUTPUT.skipped.jsonl beside it."""
    config = load_job(job, {}) if job else None
    storage = Storage(config.storage if config else StorageConfig())
    labels = LabelMap.parse(label or [])
    form = None if regions_format is None else BoxFormat.parse(regions_format.value)
    if form is not None and regions_from is None and ground_truth is None:
        raise ConfigError(
            "--regions-format says what the boxes of --regions-from or --ground-truth are; give one of them"
        )
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
        renames=_pairs(rename or [], ignore or []),
        shaping=Shaping(
            Join.parse(join or [], on or []),
            None if regions_from is None else _box_column(regions_from, form, LabelMap() if ground_truth else labels),
            None if regions_from is not None else form,
            tuple(classes or []),
            None if id_template is None else IdTemplate.parse(id_template),
        ),
        expect=expect or (),
        strict=strict,
        allow=config.sources if config else None,
        progress=ListingProgress(),
    )
    if json:
        print_json(dataclasses.asdict(report))
        return
    show_built(report, output)


def _box_column(path: str, form: BoxFormat | None, labels: LabelMap) -> BoxColumn:
    if labels.categories:
        raise ConfigError("--label CATEGORY=LABEL: boxes of --regions-from have no category; give one LABEL")
    return BoxColumn(path, form or PIXELS, labels.label or DEFAULT_LABEL)


def _pairs(texts: Sequence[str], ignored: Sequence[str]) -> dict[str, str | None]:
    """Return column -> its new name, or None to ignore it.

    Raises:
        ConfigError: not OLD=NEW, or a column that is given twice.
    """
    found: dict[str, str | None] = {}
    for old, sign, new in [*(text.partition("=") for text in texts), *((name, "=", None) for name in ignored)]:
        if not sign or not old or new == "":
            raise ConfigError(f"--rename {old}{sign}: expected OLD=NEW; --ignore {old or 'COLUMN'} leaves a column out")
        if old in found or (new is not None and new in found.values()):
            raise ConfigError(f"--rename and --ignore: column {old} is given twice, or two columns get the name {new}")
        found[old] = new
    return found
