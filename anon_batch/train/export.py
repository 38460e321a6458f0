"""Export a trained generator: generator.safetensors and its model card."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

from jinja2 import Environment, StrictUndefined

from anon_batch import __version__
from anon_batch.anonymize.faces import align
from anon_batch.anonymize.faces.generator import Generator, load_generator, save_generator
from anon_batch.errors import StorageError
from anon_batch.train.config import TrainConfig
from anon_batch.train.face_crops import is_held_out, read_listing
from anon_batch.train.metrics import HELD_OUT, last_held_out
from anon_batch.train.step import HEADS_WEIGHT, betas_of

WEIGHTS = "generator.safetensors"
CARD = "MODEL_CARD.md"
_TEMPLATE = "model_card.md.jinja"


@dataclass(frozen=True, slots=True)
class FaceSource:
    """A source of faces in the model card.

    Args:
        address: as in the configuration.
        training: number of training faces.
        held_out: number of held-out faces.
    """

    address: str
    training: int
    held_out: int


def count_faces(addresses: Sequence[str], folders: Sequence[Path]) -> list[FaceSource]:
    """Count the faces of each source, whose crops are in the folder at the same position.

    Raises:
        ConfigError: a listing cannot be read.
    """
    sources = []
    for address, folder in zip(addresses, folders, strict=True):
        held_out = [is_held_out(entry.name) for entry in read_listing(folder)]
        sources.append(FaceSource(address, len(held_out) - sum(held_out), sum(held_out)))
    return sources


def export(
    config: TrainConfig, generator: Generator, step: int, faces_seen: int, sources: Sequence[FaceSource]
) -> Path:
    """Write weights and card into the training's folder.

    Args:
        config: of the training.
        generator: the averaged generator.
        step: steps done.
        faces_seen: faces in all batches.
        sources: of the training faces.

    Returns:
        The weights file, float16, with the network's shape, seed, steps, faces and the package's version as metadata.

    Raises:
        StorageError: the folder cannot be written.
    """
    faces_count = sum(source.training for source in sources)
    notes = {
        "seed": config.seed,
        "steps": step,
        "faces_seen": faces_seen,
        "faces": faces_count,
        "anon_batch": __version__,
    }
    path = config.output / WEIGHTS
    partial = config.output / f".{WEIGHTS}-{os.getpid()}"
    try:
        save_generator(generator, str(partial), {key: str(value) for key, value in notes.items()})
        load_generator(partial.read_bytes())
        os.replace(partial, path)
        card = _card(config, generator, step, faces_seen, sources, path.stat().st_size)
        (config.output / CARD).write_text(card, "utf-8")
    except Exception as exc:  # because safetensors raises its own type for system errors
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(exc, OSError) or type(exc).__module__.startswith("safetensors"):
            raise StorageError(f"cannot write the generator: {exc}", str(config.output)) from None
        raise
    return path


def _card(
    config: TrainConfig,
    generator: Generator,
    step: int,
    faces_seen: int,
    sources: Sequence[FaceSource],
    size_bytes: int,
) -> str:
    measured = last_held_out(config.output, step)
    figures: dict[str, Any] = {
        "config": config,
        "version": __version__,
        "shape": generator.shape,
        "side": generator.shape.side,
        "context": align.CONTEXT,
        "parameters": sum(values.numel() for values in generator.parameters()),
        "size_bytes": size_bytes,
        "step": step,
        "faces_seen": faces_seen,
        "sources": sources,
        "training": sum(source.training for source in sources),
        "held_out": sum(source.held_out for source in sources),
        "weights": config.weights.model_dump(),
        "betas": betas_of(config),
        "heads_weight": HEADS_WEIGHT,
        "measured": {key.removeprefix(HELD_OUT): value for key, value in measured.items() if key.startswith(HELD_OUT)},
        "measured_step": measured.get("step"),
    }
    template = files("anon_batch.train").joinpath(_TEMPLATE).read_text("utf-8")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False)  # noqa: S701 - Markdown
    return environment.from_string(template).render(figures)
