"""The options of the table's command, and the data sets that they name."""

from __future__ import annotations

import argparse
import os
import posixpath
from dataclasses import replace
from pathlib import Path

from anon_batch.config import DetectorConfig, JobConfig, load_job, parse_override, validate
from anon_batch.errors import ConfigError
from anon_batch.evaluate.attacks.attackers import DEFAULT_ATTACKS
from anon_batch.evaluate.attacks.audit import DEFAULT_COPIES, AttackSettings
from anon_batch.evaluate.attacks.inversion import DEFAULT_STEPS
from anon_batch.evaluate.setup import EvaluationConfig
from anon_batch.manifest.build import build_manifest
from anon_batch.storage import Storage, absolute, join
from benchmarks.peers import PEERS
from benchmarks.table_settings import METHODS, Section

DATA_VARIABLE = "ANON_BATCH_TEST_DATA"
SAMPLE = Path(__file__).parents[1] / "manifests/sample"
_WIDER_THRESHOLD = 0.02  # of the second detector, whose curve must reach high recalls


def add_options(parser: argparse.ArgumentParser) -> None:
    """Add the command's options."""
    parser.add_argument("manifest", nargs="?", metavar="MANIFEST", help="photographs with ground truth, or `none`")
    parser.add_argument("--methods", default=",".join((*METHODS, *PEERS)), help="comma-separated; default: %(default)s")
    parser.add_argument("--pairs", help="CSV with columns person, neutral, smiling; needs --embedder")
    parser.add_argument(
        "--embedder", action="append", default=[], help="face recogniser (.onnx or a declaration .yaml); repeatable"
    )
    parser.add_argument(
        "--attack", default=",".join(DEFAULT_ATTACKS), help="comma-separated; default: %(default)s; invert takes long"
    )
    parser.add_argument(
        "--attack-copies", type=int, default=DEFAULT_COPIES, help="of a known image; default: %(default)s"
    )
    parser.add_argument("--attack-steps", type=int, default=DEFAULT_STEPS, help="of an inversion; default: %(default)s")
    parser.add_argument("--wider", help="folder with wider_face_split, WIDER_val and eval_tools/ground_truth")
    parser.add_argument("--scorer", default="yunet_n", help="detector that measures precision; default: %(default)s")
    parser.add_argument("--scorer-scale", type=float, default=2.0, help="default: %(default)s")
    parser.add_argument("--limit", type=int, help="most images and persons, drawn with the seed")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--job", type=Path, help="job file: detection, settings of methods, storage")
    parser.add_argument("--set", action="append", default=[], metavar="KEY=VALUE", help="set any key of the job")
    parser.add_argument(
        "-o", "--output", default="table", help="folder of the results, with faces of originals: private"
    )


def find_sections(options: argparse.Namespace, parser: argparse.ArgumentParser) -> tuple[Storage, list[Section]]:
    """Return the storage and the data sets, whose manifests are written to the output where there are none yet.

    Raises:
        UsageError, StorageError: an option is wrong, or an input cannot be read.
    """
    methods = names_of(options.methods)
    if not methods:
        parser.error("--methods names none")
    keys = {"manifest": "none", "engine.num_cpus": 1, **dict(parse_override(text) for text in options.set)}
    job = load_job(options.job, {**keys, "output": options.output})
    storage = Storage(job.storage)
    sections = [*_photographs(options, storage, job, methods), *_wider(options, storage, job, methods)]
    if not sections:
        parser.error("MANIFEST is `none` and there is no --wider: nothing to measure")
    return storage, sections


def _photographs(
    options: argparse.Namespace, storage: Storage, job: JobConfig, methods: tuple[str, ...]
) -> list[Section]:
    if options.manifest == "none":
        return []
    data = os.environ.get(DATA_VARIABLE)
    folder = Path(data) if data else None
    pairs = options.pairs or (str(folder / "pairs/pairs.csv") if folder and options.embedder else None)
    if pairs and not options.embedder:
        raise ConfigError("--pairs needs --embedder: a recogniser that says who is who")
    if options.manifest:
        title, manifest = f"Photographs: {Path(options.manifest).name}", options.manifest
    elif folder:
        title = "Photographs: street, crowd and press"
        manifest, job = _listed(
            storage, options.output, job, str(folder / "photos/images"), str(folder / "photos/boxes.json")
        )
    else:
        title = "Photographs: the sample that ships, which shows that the command works and proves nothing"
        manifest, job = _listed(storage, options.output, job, str(SAMPLE / "photos"), str(SAMPLE / "faces.json"))
    if pairs and job.sources.allow is not None:
        job = _allowed(job, posixpath.dirname(absolute(pairs)))
    config = _config(options, job, methods, manifest, None)
    return [Section("photographs", title, _with_pairs(config, pairs, options))]


def _wider(options: argparse.Namespace, storage: Storage, job: JobConfig, methods: tuple[str, ...]) -> list[Section]:
    if not options.wider:
        return []
    root = absolute(options.wider)
    labels = join(root, "wider_face_split/wider_face_val_bbx_gt.txt")
    manifest, job = _listed(storage, options.output, job, labels, None, allow=join(root, "WIDER_val/images"))
    config = _config(options, job, methods, manifest, _WIDER_THRESHOLD)
    return [
        Section("wider", "WIDER FACE, validation set", replace(config, wider=join(root, "eval_tools/ground_truth")))
    ]


def _listed(
    storage: Storage, output: str, job: JobConfig, source: str, truth: str | None, allow: str | None = None
) -> tuple[str, JobConfig]:
    """Write a manifest; return its address, and the job that may read its images."""
    name = posixpath.splitext(posixpath.basename(source))[0]
    uri = join(absolute(output), f"{name}.parquet")
    build_manifest(storage, [source], uri, ground_truth=truth)
    return uri, _allowed(job, allow or source)


def _allowed(job: JobConfig, address: str) -> JobConfig:
    sources = job.sources.model_copy(update={"allow": (*(job.sources.allow or ()), address)})
    return job.model_copy(update={"sources": sources})


def _config(
    options: argparse.Namespace, job: JobConfig, methods: tuple[str, ...], manifest: str, threshold: float | None
) -> EvaluationConfig:
    scorer = {"name": options.scorer, "scale": options.scorer_scale, "threshold": threshold}
    return EvaluationConfig(
        job=job,
        methods=methods,
        output=options.output,
        manifest=manifest,
        scorer=validate(DetectorConfig, scorer, "--scorer"),
        limit=options.limit,
        seed=options.seed,
    )


def _with_pairs(config: EvaluationConfig, pairs: str | None, options: argparse.Namespace) -> EvaluationConfig:
    attacks = AttackSettings(names_of(options.attack), options.attack_copies, options.attack_steps)
    return replace(config, pairs=pairs, embedders=tuple(options.embedder) if pairs else (), attacks=attacks)


def names_of(text: str) -> tuple[str, ...]:
    """Return comma-separated names, each once."""
    return tuple(dict.fromkeys(name.strip() for name in text.split(",") if name.strip()))
