"""`anon-batch evaluate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.table import Table

from anon_batch.cli.console import err, out, print_json
from anon_batch.config import DetectorConfig, load_job, parse_override, validate
from anon_batch.storage import absolute, join

_NO_MANIFEST = "none"  # the key is required, and without a manifest nothing reads it


class ChannelOrder(StrEnum):
    """Of the recogniser's input."""

    bgr = "bgr"
    rgb = "rgb"


def evaluate(
    manifest: Annotated[
        str | None, typer.Argument(help="Manifest with ground truth; default the job's.", show_default=False)
    ] = None,
    methods: Annotated[str, typer.Option(help="Methods to compare, comma-separated.")] = "gan,swap,pixelate,blur,solid",
    output: Annotated[
        str, typer.Option("-o", "--output", help="Folder for measures.json and the contact sheets. Holds originals.")
    ] = "evaluation",
    job: Annotated[
        Path | None, typer.Option("--job", "--config", help="Job file: detection, method settings, storage.")
    ] = None,
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Sets any key of the job, e.g. anonymize.cells=6.")
    ] = [],  # noqa: B006  typer reads it as the default, nobody changes it
    scorer: Annotated[
        str, typer.Option(help="Second detector, not one of detect.detectors; `none` leaves its measures out.")
    ] = "yunet_n",
    scorer_scale: Annotated[float, typer.Option(help="Resize factor before it.")] = 2.0,
    scorer_threshold: Annotated[
        float | None, typer.Option(help="Its lowest score of a face; default its own.", show_default=False)
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="Face recogniser, ONNX: aligned crops (1, 3, 112, 112) to features.")
    ] = None,
    embedder_order: Annotated[ChannelOrder, typer.Option(help="Channels of its input.")] = ChannelOrder.bgr,
    embedder_mean: Annotated[float, typer.Option(help="Taken from each value 0 .. 255 of its input.")] = 127.5,
    embedder_scale: Annotated[float, typer.Option(help="What that is divided by.", min=1e-6)] = 127.5,
    pairs: Annotated[
        str | None, typer.Option(help="CSV with columns person, neutral, smiling: two pictures of each person.")
    ] = None,
    faces: Annotated[
        str | None, typer.Option(help="Folder or manifest (.parquet) of pictures with one face each.")
    ] = None,
    only: Annotated[str | None, typer.Option(help="Text file: the pictures of --faces that count, one a line.")] = None,
    limit: Annotated[
        int | None, typer.Option(help="Pictures, persons and single faces at most, drawn by the seed.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Of samples and of fakes.", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print measures.json.")] = False,
) -> None:
    """Measures methods: precision kept, re-identification, identity, landmarks, speed; with a sheet of faces to look at."""
    from anon_batch.evaluate.embedder import EmbedderSettings
    from anon_batch.evaluate.evaluation import DOCUMENT
    from anon_batch.evaluate.evaluation import evaluate as run
    from anon_batch.evaluate.setup import EvaluationPlan

    keys = dict(parse_override(text) for text in settings)
    if manifest is not None:
        keys["manifest"] = manifest
    listed = job is not None or "manifest" in keys
    config = load_job(job, {**({} if listed else {"manifest": _NO_MANIFEST}), **keys, "output": output})
    asked: dict[str, Any] = {"name": scorer, "scale": scorer_scale, "threshold": scorer_threshold}
    recogniser = None
    if embedder is not None:
        recogniser = EmbedderSettings(embedder, embedder_order.value, embedder_mean, embedder_scale)
    plan = EvaluationPlan(
        job=config,
        methods=tuple(name.strip() for name in methods.split(",") if name.strip()),
        output=output,
        manifest=config.manifest if listed else None,
        scorer=None if scorer == "none" else validate(DetectorConfig, asked, "--scorer"),
        embedder=recogniser,
        pairs=pairs,
        faces=faces,
        only=only,
        limit=limit,
        seed=seed,
    )
    document = run(plan, lambda text: err.print(text, markup=False))
    if json:
        print_json(document)
        return
    out.print(_table(document))
    for measure, reason in document["skipped"].items():
        out.print(f"skipped: {measure.replace('_', ' ')}: {reason}", markup=False)
    for name, counts in document["plan"]["inputs"].items():
        if counts["failures"]:
            out.print(f"{name}: pictures left out: {counts['failures']}", markup=False)
    out.print(f"{join(absolute(output), DOCUMENT)}, {len(document['sheets'])} contact sheets", markup=False)


def _table(document: dict[str, Any]) -> Table:
    """Measures down, methods across; what is not measured stays out."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("measure")
    columns = [document["originals"], *document["methods"].values()]
    for name in ("originals", *document["methods"]):
        table.add_column(name, justify="right")
    for label, keys, form in _lines(document):
        values = [_look_up(column, keys) for column in columns]
        if any(value is not None for value in values):
            table.add_row(label, *("" if value is None else form.format(value) for value in values))
    return table


def _lines(document: dict[str, Any]) -> list[tuple[str, tuple[str, ...], str]]:
    """Label, where the figure is, how it is written."""
    percent, three = "{:.1%}", "{:.3f}"
    kept, gallery = "average_precision", "reidentification"
    lines = [
        ("average precision, labelled faces", (kept, "labelled_faces", "all", "average_precision"), three),
        ("  from 16 px", (kept, "labelled_faces", "from_16_px", "average_precision"), three),
        ("precision kept, labelled faces", (kept, "labelled_faces", "all", "kept"), percent),
        ("  from 16 px", (kept, "labelled_faces", "from_16_px", "kept"), percent),
        ("precision kept, treated faces", (kept, "treated_faces", "all", "kept"), percent),
        ("  from 16 px", (kept, "treated_faces", "from_16_px", "kept"), percent),
        ("faces treated by itself", ("treatment", "own_share"), percent),
        ("pictures withheld", ("treatment", "withheld_pictures"), "{:,}"),
        ("re-identified, rank 1", (gallery, "original_gallery", "rank_1"), percent),
        ("  at FAR 1e-2", (gallery, "original_gallery", "tar_at_far_0.01"), percent),
        ("  rank 1, gallery treated too", (gallery, "treated_gallery", "rank_1"), percent),
        ("  at FAR 1e-2, gallery treated too", (gallery, "treated_gallery", "tar_at_far_0.01"), percent),
        ("  rank 1 by chance", (gallery, "original_gallery", "chance"), percent),
        ("identity: one seed alike", ("identity", "same_seed", "mean"), three),
        ("  two seeds alike", ("identity", "other_seed", "mean"), three),
        ("  equal error rate", ("identity", "equal_error_rate"), percent),
        ("  equal error rate, seed alone", ("identity", "equal_error_rate_of_seed"), percent),
        ("  like its original", ("identity", "own_original", "mean"), three),
        ("  strangers alike", ("identity", "stranger_original", "mean"), three),
        ("Frechet distance (embedder)", ("frechet", "distance"), "{:.4f}"),
    ]
    for name in _detectors(document):
        lines.append((f"landmark error ({name})", ("landmarks", name, "median"), three))
        lines.append(("  its 90th percentile", ("landmarks", name, "p90"), three))
        lines.append(("  faces not found again", ("landmarks", name, "undetected_share"), percent))
    lines.append(("faces/s", ("speed", "alone", "faces_per_s"), "{:,.0f}"))
    lines.append(("  with the ladder's checks", ("speed", "with_checks", "faces_per_s"), "{:,.0f}"))
    return lines


def _detectors(document: dict[str, Any]) -> list[str]:
    measured = (sections.get("landmarks", {}) for sections in document["methods"].values())
    return list(dict.fromkeys(name for own in measured for name in own))


def _look_up(sections: dict[str, Any], keys: tuple[str, ...]) -> Any:
    value: Any = sections
    for key in keys:
        value = value.get(key) if isinstance(value, dict) else None
    return value
