"""`anon-batch evaluate`."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, NamedTuple

import typer
from rich.table import Table

from anon_batch.cli.console import err, out, print_json
from anon_batch.config import DetectorConfig, load_job, parse_override, validate
from anon_batch.storage import absolute, join

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
            out.print(f"{name}: images left out: {counts['failures']}", markup=False)
    out.print(f"{join(absolute(output), DOCUMENT)}, {len(document['sheets'])} contact sheets", markup=False)


class _Line(NamedTuple):
    """A line of the table.

    Args:
        label: what the reader sees.
        path: keys of the figure in the measures of a method.
        form: format string of the figure.
    """

    label: str
    path: tuple[str, ...]
    form: str

    def cell(self, measures: Mapping[str, Any]) -> str:
        """Return the figure as text; "" if it was not measured.

        Raises:
            TypeError: the path leads to a section, or through a figure.
        """
        value: Any = measures
        for key in self.path:
            if not isinstance(value, Mapping):
                raise TypeError(f"{'.'.join(self.path)}: {key} is not in a section")
            if (value := value.get(key)) is None:
                return ""
        if not isinstance(value, (int, float)):
            raise TypeError(f"{'.'.join(self.path)}: not a figure")
        return self.form.format(value)


_PERCENT, _THREE = "{:.1%}", "{:.3f}"
_LINES = (
    _Line(
        "average precision, labelled faces", ("average_precision", "labelled_faces", "all", "average_precision"), _THREE
    ),
    _Line("  from 16 px", ("average_precision", "labelled_faces", "from_16_px", "average_precision"), _THREE),
    _Line("precision kept, labelled faces", ("average_precision", "labelled_faces", "all", "kept"), _PERCENT),
    _Line("  from 16 px", ("average_precision", "labelled_faces", "from_16_px", "kept"), _PERCENT),
    _Line("precision kept, anonymized faces", ("average_precision", "treated_faces", "all", "kept"), _PERCENT),
    _Line("  from 16 px", ("average_precision", "treated_faces", "from_16_px", "kept"), _PERCENT),
    _Line("faces anonymized without fallback", ("treatment", "own_share"), _PERCENT),
    _Line("images withheld", ("treatment", "withheld_pictures"), "{:,}"),
    _Line("re-identified, rank 1", ("reidentification", "original_gallery", "rank_1"), _PERCENT),
    _Line("  at FAR 1e-2", ("reidentification", "original_gallery", "tar_at_far_0.01"), _PERCENT),
    _Line("  rank 1, anonymized gallery", ("reidentification", "treated_gallery", "rank_1"), _PERCENT),
    _Line("  at FAR 1e-2, anonymized gallery", ("reidentification", "treated_gallery", "tar_at_far_0.01"), _PERCENT),
    _Line("  rank 1 by chance", ("reidentification", "original_gallery", "chance"), _PERCENT),
    _Line("identity: similarity, same seed", ("identity", "same_seed", "mean"), _THREE),
    _Line("  similarity, other seed", ("identity", "other_seed", "mean"), _THREE),
    _Line("  equal error rate", ("identity", "equal_error_rate"), _PERCENT),
    _Line("  equal error rate, seed alone", ("identity", "equal_error_rate_of_seed"), _PERCENT),
    _Line("  similarity to its original", ("identity", "own_original", "mean"), _THREE),
    _Line("  similarity to other originals", ("identity", "stranger_original", "mean"), _THREE),
    _Line("Frechet distance (embedder)", ("frechet", "distance"), "{:.4f}"),
)
_SPEED_LINES = (
    _Line("faces/s", ("speed", "alone", "faces_per_s"), "{:,.0f}"),
    _Line("  with all checks", ("speed", "with_checks", "faces_per_s"), "{:,.0f}"),
)


def _table(document: Mapping[str, Any]) -> Table:
    """Return a table with a row for each measure and a column for each method; without rows that were not measured."""
    table = Table(box=None, pad_edge=False, header_style="bold")
    table.add_column("measure")
    columns: dict[str, Mapping[str, Any]] = {"originals": document["originals"], **document["methods"]}
    for name in columns:
        table.add_column(name, justify="right")
    for line in (*_LINES, *_landmark_lines(columns.values()), *_SPEED_LINES):
        cells = [line.cell(measures) for measures in columns.values()]
        if any(cells):
            table.add_row(line.label, *cells)
    return table


def _landmark_lines(columns: Iterable[Mapping[str, Any]]) -> list[_Line]:
    """Return the lines for each detector with landmarks."""
    lines = []
    for name in dict.fromkeys(detector for measures in columns for detector in measures.get("landmarks", {})):
        lines.append(_Line(f"landmark error ({name})", ("landmarks", name, "median"), _THREE))
        lines.append(_Line("  its 90th percentile", ("landmarks", name, "p90"), _THREE))
        lines.append(_Line("  faces not detected again", ("landmarks", name, "undetected_share"), _PERCENT))
    return lines
