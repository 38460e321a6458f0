"""Keys of `models`: where model weights come from."""

from __future__ import annotations

from pydantic import Field, field_validator

from anon_batch.config.local_paths import absolute_path
from anon_batch.config.section import Section


class ModelsConfig(Section):
    """Sources of model weights."""

    mirror: str | None = Field(
        None,
        description="fsspec prefix with the registry's files by name; tried before the public address. The environment "
        "variable ANON_BATCH_MODEL_MIRROR does the same.",
    )
    cache: str | None = Field(
        None,
        description="Folder for downloaded weights; null: what the environment variable ANON_BATCH_MODEL_CACHE names, else "
        "~/.cache/anon-batch.",
    )
    files: dict[str, str] = Field(
        default_factory=dict,
        description="Your own files instead of the registry's: model -> address, e.g. a `generator` from `anon-batch train`. "
        "Their digests are part of fingerprint and provenance.",
    )

    @field_validator("mirror", "cache")
    @classmethod
    def _absolute_folder(cls, value: str | None) -> str | None:
        return None if value is None else absolute_path(value)

    @field_validator("files")
    @classmethod
    def _absolute_files(cls, value: dict[str, str]) -> dict[str, str]:
        return {model: absolute_path(address) for model, address in value.items()}
