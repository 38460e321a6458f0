"""Keys of `models`: where model weights come from."""

from __future__ import annotations

from pydantic import Field

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
