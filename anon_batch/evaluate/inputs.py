"""The inputs of an evaluation: what is listed, before any image is read, and which measures lack theirs."""

from __future__ import annotations

from dataclasses import dataclass, field

from anon_batch.errors import ConfigError
from anon_batch.evaluate.pairs_csv import Pair, read_pairs, sample_pairs
from anon_batch.evaluate.samples import Selection, read_names, select_faces, select_from_manifest
from anon_batch.evaluate.setup import EvaluationConfig
from anon_batch.evaluate.wider.lists import WiderLists, read_lists, wider_key
from anon_batch.storage import Storage


@dataclass(slots=True, eq=False)
class Inputs:
    """What is listed.

    Args:
        images: of the manifest.
        pairs: the chosen persons.
        pairs_listed: number of persons before the choice.
        faces: images of one face each.
        wider: lists of WIDER FACE.
    """

    images: Selection | None = None
    pairs: list[Pair] | None = None
    pairs_listed: int = 0
    faces: Selection | None = None
    wider: WiderLists = field(default_factory=dict)


def list_inputs(config: EvaluationConfig, storage: Storage) -> Inputs:
    """List and choose the inputs.

    Raises:
        ConfigError: there is nothing to measure, or an option lacks its counterpart.
        ManifestError, StorageError: a list cannot be read.
    """
    if config.only is not None and config.faces is None:
        raise ConfigError("--only chooses images of --faces: use both options")
    inputs, limit, seed = Inputs(), config.limit, config.seed
    if config.manifest is not None:
        labelled_only = config.scorer is not None and config.label_column is None
        inputs.images = select_from_manifest(
            storage,
            config.manifest,
            limit=limit,
            seed=seed,
            labelled_only=labelled_only,
            renames=config.job.sources.columns,
        )
    if config.wider is not None:
        inputs.wider = _wider_lists(config, storage, config.wider, inputs.images)
    if config.pairs is not None and config.embedders:
        listed = read_pairs(storage, config.pairs)
        inputs.pairs_listed, inputs.pairs = len(listed), sample_pairs(listed, limit, seed)
    if config.faces is not None:
        only = None if config.only is None else read_names(storage, config.only)
        inputs.faces = select_faces(storage, config.faces, only=only, limit=limit, seed=seed)
    if config.manifest is None and inputs.pairs is None and inputs.faces is None:
        raise ConfigError("nothing to measure: give a MANIFEST with ground truth, --pairs with --embedder, or --faces")
    return inputs


def _wider_lists(config: EvaluationConfig, storage: Storage, folder: str, images: Selection | None) -> WiderLists:
    if images is None or config.scorer is None:
        raise ConfigError("--wider needs a MANIFEST of WIDER FACE's validation set and a --scorer")
    lists = read_lists(storage, folder)
    if not any(wider_key(row.image_id) in lists for row in images.iterate()):
        first = next(images.iterate()).image_id
        raise ConfigError(
            f"--wider {folder}: none of the images of {images.address} is in the lists; the first is {first!r}, the lists have "
            f"{next(iter(lists))!r}"
        )
    return lists


def skipped_measures(config: EvaluationConfig) -> dict[str, str]:
    """Return measure -> the options that it needs, for measures without them."""
    missing = {
        "MANIFEST": config.manifest is None,
        "--scorer DETECTOR": config.scorer is None,
        "--pairs FILE": config.pairs is None,
        "--embedder FILE": not config.embedders,
        "--faces FOLDER": config.faces is None,
        "--features FILE": not config.features,
        "--label-column NAME": config.label_column is None,
    }
    needs = {
        "average_precision": ("MANIFEST", "--scorer DETECTOR"),
        "reidentification": ("--pairs FILE", "--embedder FILE"),
        "identity": ("--pairs FILE", "--embedder FILE"),
        "frechet": ("--faces FOLDER", "--embedder FILE"),
        "landmarks": ("--faces FOLDER",),
        "canary": ("MANIFEST", "--features FILE", "--label-column NAME"),
        "distances": ("MANIFEST", "--features FILE"),
    }
    needed = {measure: [option for option in options if missing[option]] for measure, options in needs.items()}
    return {measure: f"give {' and '.join(options)}" for measure, options in needed.items() if options}
