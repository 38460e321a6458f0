"""`anon-batch evaluate`."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from anon_batch.cli.console import err, out, print_json
from anon_batch.config import DetectorConfig, load_job, parse_override, validate
from anon_batch.storage import absolute, join

if TYPE_CHECKING:
    from anon_batch.evaluate.measures import Measures, MethodMeasures

_NO_MANIFEST = "none"  # because the key is required, though nothing reads it here


class ChannelOrder(StrEnum):
    """Channel order of the embedder's input."""

    bgr = "bgr"
    rgb = "rgb"


def evaluate(
    manifest: Annotated[
        str | None, typer.Argument(help="Manifest with ground truth; default the job's.", show_default=False)
    ] = None,
    methods: Annotated[str, typer.Option(help="Methods to compare, comma-separated.")] = "gan,swap,pixelate,blur,solid",
    output: Annotated[
        str,
        typer.Option("-o", "--output", help="Folder for measures.json and the contact sheets, which show originals."),
    ] = "evaluation",
    job: Annotated[
        Path | None, typer.Option("--job", "--config", help="Job file: detection, method settings, storage.")
    ] = None,
    settings: Annotated[
        list[str], typer.Option("--set", metavar="KEY=VALUE", help="Set any key of the job, e.g. engine.num_cpus=2.")
    ] = [],  # noqa: B006  typer reads it as the default, nobody changes it
    scorer: Annotated[
        str, typer.Option(help="Detector that measures, not one of detect.detectors; `none` skips its measures.")
    ] = "yunet_n",
    scorer_scale: Annotated[float, typer.Option(help="Resize factor before the scorer.")] = 2.0,
    scorer_threshold: Annotated[
        float | None, typer.Option(help="Lowest score that counts for the scorer; default its own.", show_default=False)
    ] = None,
    embedder: Annotated[
        str | None, typer.Option(help="Face recogniser (ONNX): aligned crops (1, 3, 112, 112) to features.")
    ] = None,
    embedder_order: Annotated[ChannelOrder, typer.Option(help="Channel order of its input.")] = ChannelOrder.bgr,
    embedder_mean: Annotated[
        float, typer.Option(help="Mean that is subtracted from the values 0 to 255 of its input.")
    ] = 127.5,
    embedder_scale: Annotated[float, typer.Option(help="Divisor of its input.", min=1e-6)] = 127.5,
    pairs: Annotated[
        str | None, typer.Option(help="CSV with columns person, neutral, smiling: two images of each person.")
    ] = None,
    faces: Annotated[
        str | None, typer.Option(help="Folder or manifest (.parquet) of images with one face each.")
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Text file with the images of --faces to use, one in a line.")
    ] = None,
    limit: Annotated[
        int | None, typer.Option(help="Most images, persons and single faces, drawn with the seed.", min=1)
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of samples and fakes.", min=0)] = 0,
    json: Annotated[bool, typer.Option("--json", help="Print measures.json.")] = False,
) -> None:
    """Measure methods: precision kept, re-identification, identity, landmarks, speed; with contact sheets of faces."""
    from anon_batch.evaluate.embedder import EmbedderSettings
    from anon_batch.evaluate.evaluation import evaluate as run
    from anon_batch.evaluate.measures import FILENAME
    from anon_batch.evaluate.setup import EvaluationConfig

    keys = dict(parse_override(text) for text in settings)
    if manifest is not None:
        keys["manifest"] = manifest
    listed = job is not None or "manifest" in keys
    config = load_job(job, {**({} if listed else {"manifest": _NO_MANIFEST}), **keys, "output": output})
    scorer_keys: dict[str, Any] = {"name": scorer, "scale": scorer_scale, "threshold": scorer_threshold}
    recogniser = None
    if embedder is not None:
        recogniser = EmbedderSettings(embedder, embedder_order.value, embedder_mean, embedder_scale)
    evaluation = EvaluationConfig(
        job=config,
        methods=tuple(name.strip() for name in methods.split(",") if name.strip()),
        output=output,
        manifest=config.manifest if listed else None,
        scorer=None if scorer == "none" else validate(DetectorConfig, scorer_keys, "--scorer"),
        embedder=recogniser,
        pairs=pairs,
        faces=faces,
        only=only,
        limit=limit,
        seed=seed,
    )
    measures = run(evaluation, lambda text: err.print(text, markup=False))
    if json:
        print_json(measures.to_dict())
        return
    out.print(_table(measures))
    for measure, reason in measures.skipped.items():
        out.print(f"skipped: {measure.replace('_', ' ')}: {reason}", markup=False)
    for name, counts in measures.plan.inputs.items():
        if counts.failures:
            out.print(f"{name}: images skipped: {dict(counts.failures)}", markup=False)
    out.print(f"{join(absolute(output), FILENAME)}, {len(measures.sheets)} contact sheets", markup=False)


def _table(measures: Measures) -> Table:
    """Return a table with a row for each measure and a column for each method; without rows that were not measured."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("measure")
    columns = [_figures(column) for column in (measures.originals, *measures.methods.values())]
    for name in ("originals", *measures.methods):
        table.add_column(name, justify="right")
    # Methods first, because the originals lack measures and would change the order.
    for label in dict.fromkeys(label for figures in (*columns[1:], columns[0]) for label in figures):
        cells = [figures.get(label, "") for figures in columns]
        if any(cells):
            table.add_row(label[1], *cells)
    return table


_Label = tuple[str, str]  # section, and what the reader sees


def _figures(measures: MethodMeasures) -> dict[_Label, str]:
    """Return the figures of a method as text; "" for those that were not measured."""
    return {
        **_precision(measures),
        **_reidentification(measures),
        **_identity(measures),
        **_landmarks(measures),
        **_speed(measures),
    }


def _precision(measures: MethodMeasures) -> dict[_Label, str]:
    found, outcomes = measures.average_precision, measures.outcomes
    lines: dict[_Label, str] = {}
    if found is not None:
        labelled, anonymized = found.labelled_faces, found.anonymized_faces
        lines = {
            ("ap", "average precision, labelled faces"): _number(labelled["all"].average_precision),
            ("ap", "  from 16 px"): _number(labelled["from_16_px"].average_precision),
            ("kept", "precision kept, labelled faces"): _percent(labelled["all"].kept),
            ("kept", "  from 16 px"): _percent(labelled["from_16_px"].kept),
            ("anonymized", "precision kept, anonymized faces"): _percent(anonymized["all"].kept),
            ("anonymized", "  from 16 px"): _percent(anonymized["from_16_px"].kept),
        }
    if outcomes is not None:
        lines["outcomes", "faces anonymized without fallback"] = _percent(outcomes.own_share)
        lines["outcomes", "images withheld"] = f"{outcomes.withheld_images:,}"
    return lines


def _reidentification(measures: MethodMeasures) -> dict[_Label, str]:
    found = measures.reidentification
    if found is None:
        return {}
    original, anonymized = found.original_gallery, found.anonymized_gallery
    lines = {
        ("attack", "re-identified, rank 1"): _percent(original.rank_1),
        ("attack", "  at FAR 1e-2"): _percent(original.true_accept_rates.get("0.01")),
        ("attack", "  rank 1 by chance"): _percent(original.chance),
    }
    if anonymized is not None:
        lines["attack", "  rank 1, anonymized gallery"] = _percent(anonymized.rank_1)
        lines["attack", "  at FAR 1e-2, anonymized gallery"] = _percent(anonymized.true_accept_rates.get("0.01"))
    return lines


def _identity(measures: MethodMeasures) -> dict[_Label, str]:
    found = measures.identity
    if found is None:
        return {}
    return {
        ("identity", "identity: similarity, same seed"): _number(found.same_seed.mean),
        ("identity", "  similarity, other seed"): _number(found.other_seed.mean),
        ("identity", "  equal error rate"): _percent(found.equal_error_rate),
        ("identity", "  equal error rate, seed alone"): _percent(found.equal_error_rate_of_seed),
        ("identity", "  similarity to its original"): _number(found.own_original.mean),
        ("identity", "  similarity of different originals"): _number(found.different_originals.mean),
    }


def _landmarks(measures: MethodMeasures) -> dict[_Label, str]:
    lines: dict[_Label, str] = {}
    if measures.frechet is not None:
        lines["frechet", "Frechet distance (embedder)"] = f"{measures.frechet.distance:.4f}"
    for name, errors in measures.landmarks.items():
        lines[name, f"landmark error ({name})"] = _number(errors.median)
        lines[name, "  its 90th percentile"] = _number(errors.p90)
        lines[name, "  faces not detected again"] = _percent(errors.undetected_share)
    return lines


def _speed(measures: MethodMeasures) -> dict[_Label, str]:
    if measures.speed is None:
        return {}
    alone = measures.speed.alone
    return {
        ("speed", "faces/s"): "" if alone is None else f"{alone.faces_per_s:,.0f}",
        ("speed", "  with all checks"): f"{measures.speed.with_checks.faces_per_s:,.0f}",
    }


def _percent(value: float | None) -> str:
    return "" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.3f}"
