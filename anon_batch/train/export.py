"""What a training leaves for use: generator.safetensors, and the model card that says what is known of it."""

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
from anon_batch.train import step as learner
from anon_batch.train.config import TrainConfig
from anon_batch.train.face_crops import held_out, listed_faces
from anon_batch.train.metrics import HELD_OUT, last_held_out

WEIGHTS = "generator.safetensors"
CARD = "MODEL_CARD.md"
_TEMPLATE = "model_card.md.jinja"


@dataclass(frozen=True, slots=True)
class Source:
    """A folder of faces as the card tells of it.

    Args:
        address: as the configuration names it.
        learned: faces that are learned from.
        held_out: faces kept from that.
    """

    address: str
    learned: int
    held_out: int


def count_faces(addresses: Sequence[str], folders: Sequence[Path]) -> list[Source]:
    """Faces of each source, whose crops lie in the folder of the same position.

    Raises:
        ConfigError: a listing cannot be read.
    """
    sources = []
    for address, folder in zip(addresses, folders, strict=True):
        kept = [held_out(entry.name) for entry in listed_faces(folder)]
        sources.append(Source(address, len(kept) - sum(kept), sum(kept)))
    return sources


def export(config: TrainConfig, generator: Generator, step: int, faces_seen: int, sources: Sequence[Source]) -> Path:
    """Writes weights and card into the training's folder.

    Args:
        config: of the training.
        generator: the averaged one.
        step: steps done.
        faces_seen: faces in all batches.
        sources: what was learned from.

    Returns:
        The weights' file, float16; its metadata hold the network's shape, seed, steps, faces and the package's version.

    Raises:
        StorageError: the folder cannot be written.
    """
    faces_count = sum(source.learned for source in sources)
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
    except Exception as exc:  # safetensors has an error of its own for what the system refuses
        with contextlib.suppress(OSError):
            partial.unlink()
        if isinstance(exc, OSError) or type(exc).__module__.startswith("safetensors"):
            raise StorageError(f"the generator cannot be written: {exc}", str(config.output)) from None
        raise
    return path


def _card(
    config: TrainConfig, generator: Generator, step: int, faces_seen: int, sources: Sequence[Source], size_bytes: int
) -> str:
    measured = last_held_out(config.output, step)
    figures: dict[str, Any] = {
        "config": config,
        "version": __version__,
        "shape": generator.shape,
        "side": align.CROP_SIDE,
        "context": align.CONTEXT,
        "parameters": sum(values.numel() for values in generator.parameters()),
        "size_bytes": size_bytes,
        "step": step,
        "faces_seen": faces_seen,
        "sources": sources,
        "learned": sum(source.learned for source in sources),
        "held_out": sum(source.held_out for source in sources),
        "weights": config.weights.model_dump(),
        "betas": learner.BETAS,
        "heads_weight": learner.HEADS_WEIGHT,
        "measured": {key.removeprefix(HELD_OUT): value for key, value in measured.items() if key.startswith(HELD_OUT)},
        "measured_step": measured.get("step"),
    }
    template = files("anon_batch.train").joinpath(_TEMPLATE).read_text("utf-8")
    environment = Environment(undefined=StrictUndefined, keep_trailing_newline=True, trim_blocks=True, autoescape=False)  # noqa: S701 - Markdown
    return environment.from_string(template).render(figures)
