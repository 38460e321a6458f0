"""What a training is told: the file that `anon-batch train` reads."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal

import yaml
from pydantic import BaseModel, ConfigDict, Field, field_validator

from anon_batch.config import validate
from anon_batch.errors import ConfigError


class _Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)


class Weights(_Section):
    """Weights of the generator's losses."""

    adversarial: float = Field(1.0, ge=0, description="Against the patch discriminator; its feature heads count half.")
    truth: float = Field(3.0, ge=0, description="L1 to the truth where a face is its own donor.")
    features: float = Field(1.0, ge=0, description="L1 on the detector's features there.")
    donor: float = Field(1.2, ge=0, description="L1 to another donor, both normalised, where it lies.")
    colour: float = Field(1.0, ge=0, description="L1 to the truth on means over 16 x 16 px, with another donor.")


class TrainConfig(_Section):
    """A training of the generator."""

    faces: tuple[str, ...] = Field(
        min_length=1,
        description="Where faces come from: folders with crops/ and meta.jsonl, folders of pictures, or manifests (.parquet), "
        "in whose pictures faces are found.",
    )
    faces_note: str = Field("", description="Whose faces these are and under which terms, for the model card.")
    output: Path = Field(description="Folder for checkpoints, sheets, metrics and the exported generator.")
    donors: Path | None = Field(None, description="Bank of donors; null: the bundled one.")
    start: Path | None = Field(
        None,
        description="A generator.safetensors that a new training starts from, e.g. the bundled one; null: from nothing.",
    )
    min_face_px: float = Field(64, ge=16, description="Longer side of the smallest face that is taken from a picture.")
    min_score: float = Field(0.6, ge=0, le=1, description="Lowest score of a face that is taken from a picture.")
    steps: int = Field(20_000, ge=1, description="Steps in all; a training that is begun again goes on to this number.")
    batch_size: int = Field(16, ge=2, le=4096, description="Faces a step, on each process.")
    own_share: float = Field(0.5, ge=0, le=1, description="Share of faces that are their own, disturbed donor.")
    views: int = Field(2, ge=1, description="Crops of each face and of its mirror image, with different expansions.")
    expansions: tuple[float, float] = Field((1.1, 1.45), description="Range of the regions' expansion.")
    channels: tuple[int, ...] = Field(
        (32, 64, 128, 192), min_length=2, max_length=6, description="Of the generator, by level."
    )
    generator_rate: float = Field(2e-4, gt=0, description="Adam's rate for the generator.")
    discriminator_rate: float = Field(4e-4, gt=0, description="Adam's rate for the discriminators.")
    decay_from: float = Field(
        0.6, ge=0, le=1, description="Share of the steps after which rates fall linearly to a tenth."
    )
    ema: float = Field(
        0.999, ge=0, lt=1, description="Decay of the average of the generator's weights that is exported."
    )
    weights: Weights = Field(default_factory=Weights, description="Of the losses.")
    precision: Literal["bf16", "fp32"] = Field("bf16", description="Of the forward passes.")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="`auto`: CUDA where there is one.")
    threads: int | None = Field(None, ge=1, description="CPU threads of torch; null: its own choice.")
    seed: int = Field(0, ge=0, lt=2**24, description="Of everything that is drawn.")
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
            raise ValueError(f"{list(value)}: two numbers from 1 to 2, the smaller first")
        return value

    @field_validator("channels")
    @classmethod
    def _positive(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if min(value) < 1:
            raise ValueError(f"{list(value)}: numbers of channels are 1 or more")
        return value


def load_training(path: Path, overrides: Mapping[str, Any]) -> TrainConfig:
    """Reads a training file (YAML) and lays `overrides` (dotted key -> value) over it.

    Raises:
        ConfigError: unreadable, unknown key (names the nearest one), or a value out of range.
    """
    try:
        content = yaml.safe_load(path.read_text("utf-8"))
    except OSError as exc:
        raise ConfigError(f"training file {path}: {exc.strerror or exc}") from None
    except (yaml.YAMLError, ValueError, RecursionError) as exc:
        raise ConfigError(f"training file {path} is not YAML: {' '.join(str(exc).split())}") from None
    content = {} if content is None else content
    if not isinstance(content, dict):
        raise ConfigError(f"training file {path}: expected keys and values at the top, found {type(content).__name__}")
    for key, value in overrides.items():
        _set(content, key, value)
    return validate(TrainConfig, content, f"training file {path}")


def effective_text(config: TrainConfig) -> str:
    """The configuration as a training file with every key."""
    return yaml.safe_dump(config.model_dump(mode="json"), sort_keys=False)


def _set(content: dict[str, Any], dotted: str, value: Any) -> None:
    *parents, last = dotted.split(".")
    for parent in parents:
        if content.get(parent) is None:
            content[parent] = {}
        content = content[parent]
        if not isinstance(content, dict):
            raise ConfigError(f"{dotted}: {parent} is a value, not a section")
    content[last] = value
