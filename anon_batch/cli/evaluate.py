"""`anon-batch evaluate`."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from anon_batch.cli.console import err, out, print_json
from anon_batch.cli.evaluate_release import DEFAULT_SAMPLE, ReleaseOptions, evaluate_release, is_release
from anon_batch.cli.evaluation_table import draw_table, verdicts
from anon_batch.cli.utility_lines import utility_lines
from anon_batch.config import DetectorConfig, load_job, parse_override, validate
from anon_batch.errors import ConfigError, ExitCode
from anon_batch.storage import absolute, join

if TYPE_CHECKING:
    from anon_batch.evaluate.measures import Measures
    from anon_batch.evaluate.setup import EvaluationConfig

_NO_MANIFEST = "none"  # because the key is required, though nothing reads it here
_OF_METHODS = "With a MANIFEST"
_OF_RELEASES = "With an OUTPUT"
_METHOD_OPTIONS = ("methods", "output", "faces", "only", "wider", "blind", "fail_above_chance", "limit")
_RELEASE_OPTIONS = ("sample", "share", "ledger", "no_ledger", "address", "workers")


def evaluate(
    context: typer.Context,
    target: Annotated[
        str | None,
        typer.Argument(
            metavar="[MANIFEST | OUTPUT]",
            help="Manifest with ground truth, to compare methods; or OUTPUT of a finished run, to measure that release. Default "
            "the job's manifest.",
            show_default=False,
        ),
    ] = None,
    job: Annotated[
        Path | None,
        typer.Option(
            "--job",
            "--config",
            help="Job file. MANIFEST: detection, method settings, storage. OUTPUT: its `storage`, `sources`, `models` "
            "and `engine`; all else is as the run had it.",
        ),
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
        list[str] | None,
        typer.Option(
            help="Face recogniser, repeatable: `sface`, a download; a declaration (.yaml) of an ONNX file and its input; or "
            "an ONNX file that takes ArcFace's crops (1, 3, 112, 112), BGR."
        ),
    ] = None,
    pairs: Annotated[
        str | None, typer.Option(help="CSV with columns person, neutral, smiling: two images of each person.")
    ] = None,
    attack: Annotated[
        str,
        typer.Option(
            help="Attacks on the pairs, comma-separated: naive, reverse, linked, parrot, and invert, which takes minutes."
        ),
    ] = "naive,reverse,linked,parrot",
    attack_copies: Annotated[
        int, typer.Option(help="Copies of each known image that the parrot attack trains on.", min=1, max=1000)
    ] = 16,
    attack_faces: Annotated[
        str | None,
        typer.Option(
            help="Folder or manifest of other faces that the inversion trains on; default the synthetic faces of this package.",
            show_default=False,
        ),
    ] = None,
    attack_steps: Annotated[int, typer.Option(help="Steps of training of the inversion.", min=1)] = 600,
    features: Annotated[
        list[str] | None,
        typer.Option(
            help="Network whose features tell what the images are still worth: an ONNX file or its declaration (YAML). "
            "Repeatable; the canary uses the first.",
        ),
    ] = None,
    label_column: Annotated[
        str | None,
        typer.Option(
            help="Column of the manifest with the class of an image, for the canary; with an OUTPUT, `image_id` is its folder."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Seed of samples and fakes.", min=0)] = 0,
    json: Annotated[
        bool, typer.Option("--json", help="Print measures.json, or evaluation.json and the gates.")
    ] = False,
    methods: Annotated[
        str, typer.Option(help="Methods to compare, comma-separated.", rich_help_panel=_OF_METHODS)
    ] = "gan,swap,pixelate,blur,solid",
    output: Annotated[
        str,
        typer.Option(
            "-o",
            "--output",
            help="Folder for measures.json and the contact sheets, which show originals.",
            rich_help_panel=_OF_METHODS,
        ),
    ] = "evaluation",
    faces: Annotated[
        str | None,
        typer.Option(help="Folder or manifest (.parquet) of images with one face each.", rich_help_panel=_OF_METHODS),
    ] = None,
    only: Annotated[
        str | None,
        typer.Option(help="Text file with the images of --faces to use, one in a line.", rich_help_panel=_OF_METHODS),
    ] = None,
    wider: Annotated[
        str | None,
        typer.Option(
            help="Folder with the lists easy, medium and hard of WIDER FACE (eval_tools/ground_truth), for a manifest of its "
            "validation set.",
            rich_help_panel=_OF_METHODS,
        ),
    ] = None,
    blind: Annotated[
        bool,
        typer.Option(
            "--blind",
            help="Write blind-METHOD.html beside the results: single faces, real or replaced? Contains originals.",
            rich_help_panel=_OF_METHODS,
        ),
    ] = False,
    fail_above_chance: Annotated[
        bool,
        typer.Option(
            "--fail-above-chance",
            help="Exit with code 10 unless every method leaves persons as unrecognisable as by chance.",
            rich_help_panel=_OF_METHODS,
        ),
    ] = False,
    limit: Annotated[
        int | None,
        typer.Option(
            help="Most images, persons and single faces, drawn with the seed.", min=1, rich_help_panel=_OF_METHODS
        ),
    ] = None,
    sample: Annotated[
        int | None,
        typer.Option(
            help=f"Number of rows to measure, drawn with the seed; default {DEFAULT_SAMPLE:,}.",
            min=1,
            show_default=False,
            rich_help_panel=_OF_RELEASES,
        ),
    ] = None,
    share: Annotated[
        float | None,
        typer.Option(
            help="Share of the rows to measure instead; 1 measures all.",
            min=1e-9,
            max=1.0,
            rich_help_panel=_OF_RELEASES,
        ),
    ] = None,
    ledger: Annotated[
        str | None,
        typer.Option(
            help="Ledger of the run, which leads to the originals; default OUTPUT-ledger.", rich_help_panel=_OF_RELEASES
        ),
    ] = None,
    no_ledger: Annotated[
        bool,
        typer.Option("--no-ledger", help="Measure the published images alone.", rich_help_panel=_OF_RELEASES),
    ] = False,
    address: Annotated[
        str | None,
        typer.Option(
            help="Key `engine.address`: the Ray cluster that measures, e.g. `auto`.", rich_help_panel=_OF_RELEASES
        ),
    ] = None,
    workers: Annotated[
        int | None,
        typer.Option(
            help="Key `engine.workers`: number of Ray actors. Without it and --address, a small sample needs no Ray.",
            min=1,
            rich_help_panel=_OF_RELEASES,
        ),
    ] = None,
) -> None:
    """Measure methods on a manifest, or a finished release.

    `evaluate MANIFEST` compares methods: precision kept, re-identification, identity, looks, speed; with contact sheets of faces.

    `evaluate OUTPUT` measures the release of a run against its originals, on a sample of its rows.

    It writes OUTPUT/evaluation.json, which is public, evaluates the gates again, and returns 10 if one is exceeded.
    """
    keys = dict(parse_override(text) for text in settings)
    scorer_keys: dict[str, Any] = {"name": scorer, "scale": scorer_scale, "threshold": scorer_threshold}
    second = None if scorer == "none" else validate(DetectorConfig, scorer_keys, "--scorer")
    from anon_batch.evaluate.attacks.audit import AttackSettings

    attacks = AttackSettings(_names(attack), attack_copies, attack_steps, attack_faces)
    if target is not None and is_release(target, job):
        _refuse(
            context,
            _METHOD_OPTIONS,
            f"{target} is a release, which is measured as it is; compare methods on a manifest",
        )
        options = ReleaseOptions(
            output=target,
            ledger=ledger,
            no_ledger=no_ledger,
            sample=sample,
            share=share,
            seed=seed,
            scorer=second,
            job=job,
            keys=keys,
            address=address,
            workers=workers,
            features=tuple(features or ()),
            label_column=label_column,
            pairs=pairs,
            embedders=tuple(embedder or ()),
            attacks=attacks,
            as_json=json,
        )
        evaluate_release(options)
        return
    _refuse(context, _RELEASE_OPTIONS, f"there is no release at {target or 'the job, name its OUTPUT'}")
    if target is not None:
        keys["manifest"] = target
    listed = job is not None or "manifest" in keys
    config = load_job(job, {**({} if listed else {"manifest": _NO_MANIFEST}), **keys, "output": output})
    from anon_batch.evaluate.setup import EvaluationConfig

    _compare_methods(
        EvaluationConfig(
            job=config,
            methods=_names(methods),
            output=output,
            manifest=config.manifest if listed else None,
            scorer=second,
            embedders=tuple(embedder or ()),
            attacks=attacks,
            pairs=pairs,
            faces=faces,
            only=only,
            wider=wider,
            features=tuple(features or ()),
            label_column=label_column,
            blind=blind,
            limit=limit,
            seed=seed,
        ),
        as_json=json,
        fail_above_chance=fail_above_chance,
    )


def _refuse(context: typer.Context, names: Sequence[str], why: str) -> None:
    """Raise if an option was given that the target has no use for.

    Raises:
        ConfigError: names the option.
    """
    for name in names:
        source = context.get_parameter_source(name)
        if source is not None and source.name == "COMMANDLINE":
            raise ConfigError(f"--{name.replace('_', '-')}: {why}")


def _compare_methods(evaluation: EvaluationConfig, *, as_json: bool, fail_above_chance: bool) -> None:
    from anon_batch.evaluate.evaluation import evaluate as run

    measures = run(evaluation, lambda text: err.print(text, markup=False))
    if as_json:
        print_json(measures.to_dict())
    else:
        _print(measures, evaluation.output)
    if fail_above_chance and not measures.all_at_chance:
        raise typer.Exit(int(ExitCode.GATE_EXCEEDED))


def _print(measures: Measures, output: str) -> None:
    from anon_batch.evaluate.measures import FILENAME

    out.print(draw_table(measures))
    for line in verdicts(measures):
        out.print(line, markup=False)
    for line in utility_lines(measures):
        out.print(line, markup=False)
    for measure, reason in measures.skipped.items():
        out.print(f"skipped: {measure.replace('_', ' ')}: {reason}", markup=False)
    for name, counts in measures.plan.inputs.items():
        if counts.failures:
            out.print(f"{name}: images skipped: {dict(counts.failures)}", markup=False)
    out.print(f"{join(absolute(output), FILENAME)}, {len(measures.sheets)} contact sheets", markup=False)
    for name in measures.blind_pages:
        out.print(f"{join(absolute(output), name)}: contains originals, keep it private", markup=False)


def _names(text: str) -> tuple[str, ...]:
    return tuple(name.strip() for name in text.split(",") if name.strip())
