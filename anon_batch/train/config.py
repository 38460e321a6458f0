"""The training file, which `anon-batch train` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from anon_batch.config import SourcesConfig, validate
from anon_batch.errors import ConfigError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class Weights(_Section):
    """Weights of the generator's losses."""

    adversarial: float = Field(1.0, ge=0, description="Adversarial loss; feature heads count half.")
    truth: float = Field(3.0, ge=0, description="L1 to the truth, for faces that are their own donor.")
    low: float = Field(0.0, ge=0, description="The same between means over 16 x 16 px.")
    features: float = Field(1.0, ge=0, description="L1 on the detector's features, for the same faces.")
    donor: float = Field(1.2, ge=0, description="L1 to the inserted donor, both normalized, for the other faces.")
    colour: float = Field(1.0, ge=0, description="L1 to the truth on means over 16 x 16 px, for the other faces.")


class TrainConfig(_Section):
    """A training of the generator."""

    faces: tuple[str, ...] = Field(
        min_length=1,
        description="Sources of faces: folders with crops/ and meta.jsonl, or image folders and manifests (.parquet), in "
        "whose images faces are detected.",
    )
    faces_note: str = Field("", description="Origin and terms of use of the faces, for the model card.")
    output: Path = Field(description="Folder for checkpoints, sheets, metrics and the exported generator.")
    donors: Path | None = Field(None, description="Donor bank; null: the bundled one.")
    start: Path | None = Field(
        None,
        description="Initial weights of a new training, a generator.safetensors; null: random weights.",
    )
    min_face_px: float = Field(64, ge=16, description="Smallest face that is used from an image: its longer side.")
    min_score: float = Field(
        0.6, ge=0, le=1, description="Lowest detection score of a face that is used from an image."
    )
    steps: int = Field(20_000, ge=1, description="Total number of steps; a resumed training continues up to it.")
    batch_size: int = Field(16, ge=2, le=4096, description="Faces in a step, on each process.")
    own_share: float = Field(0.5, ge=0, le=1, description="Share of faces that are their own, disturbed donor.")
    views: int = Field(
        2, ge=1, description="Crops of each face and of its mirror image, in different lights and with different masks."
    )
    expansions: tuple[float, float] = Field((1.1, 1.3), description="Range of the mask's expansion around the box.")
    side: int = Field(128, ge=64, le=256, multiple_of=16, description="Side of the crops, px.")
    smooth: bool = Field(
        False,
        description="Whether the generator changes light and colour only, by a smooth field; it is small and quick.",
    )
    channels: tuple[int, ...] = Field(
        (32, 64, 128, 192), min_length=2, max_length=6, description="Channels of the generator at each level."
    )
    generator_rate: float = Field(2e-4, gt=0, description="Learning rate of the generator.")
    discriminator_rate: float = Field(4e-4, gt=0, description="Learning rate of the discriminators.")
    decay_from: float = Field(
        0.6, ge=0, le=1, description="Share of the steps after which the learning rates fall linearly to a tenth."
    )
    ema: float = Field(
        0.999, ge=0, lt=1, description="Decay of the moving average of the generator's weights, which is exported."
    )
    weights: Weights = Field(default_factory=Weights, description="Weights of the losses.")
    precision: Literal["bf16", "fp32"] = Field("bf16", description="Numeric precision of the forward passes.")
    sources: SourcesConfig = Field(default_factory=SourcesConfig, description="What manifests may name, as in a job.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="Device; `auto`: CUDA if available.")
    threads: int | None = Field(None, ge=1, description="CPU threads of torch; null: its default.")
    seed: int = Field(0, ge=0, lt=2**24, description="Seed of all random draws.")
    checkpoint_s: float = Field(300, gt=0, description="Seconds between checkpoints.")
    sheet_steps: int = Field(500, ge=1, description="Steps between sample sheets and held-out metrics.")
    log_steps: int = Field(50, ge=1, description="Steps between lines of metrics.jsonl.")

    @field_validator("faces", mode="before")
    @classmethod
    def _one_or_many(cls, value: Any) -> Any:
        given = [value] if isinstance(value, str | Path) else value
        return [str(v) if isinstance(v, Path) else v for v in given] if isinstance(given, list | tuple) else given

    @field_validator("expansions")
    @classmethod
    def _ordered(cls, value: tuple[float, float]) -> tuple[float, float]:
        if not 1 <= value[0] <= value[1] <= 2:
            raise ValueError(f"{list(value)}: expected two numbers from 1 to 2, the smaller first")
        return value

    @field_validator("channels")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError(f"{list(value)}: expected channel counts of 1 or more")
        return value


def load_training(path: Path, overrides: Mapping[str, Any]) -> TrainConfig:
    """Read a training file (YAML) and apply `overrides` (dotted key -> value).

    Raises:
        ConfigError: unreadable file, unknown key (suggests the nearest one), or a value out of range.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as exc:
        raise ConfigError(f"training file {path}: {exc.strerror or exc}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ConfigError(f"training file {path} is not YAML: {' '.join(str(exc).split())}") from None
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(f"training file {path}: expected a mapping at the top level, found {type(content).__name__}")
    for key, value in overrides.items():
        _set(content, key, value)
    return validate(TrainConfig, content, f"training file {path}")


def effective_text(config: TrainConfig) -> str:
    """Return the configuration as a training file with every key."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _set(content: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        if content.get(parent) is None:
            content[parent] = {}
        content = content[parent]
        if not isinstance(content, dict):
            raise ConfigError(f"{dotted}: {parent} is not a section")
    content[last] = value
