"""Keys of `models`: where model weights come from."""

from __future__ import annotations

from pydantic import Field

from anon_batch.config.section import Section


class ModelsConfig(Section):
    """Where weights come from."""

    mirror: str | None = Field(
        None,
        description="A fsspec prefix that holds the registry's files by name; asked before the "
        "public address. The variable ANON_BATCH_MODEL_MIRROR does the same.",
    )
    cache: str | None = Field(None, description="Folder for fetched weights; null: ~/.cache/anon-batch.")
    files: dict[str, str] = Field(
        default_factory=dict,
        description="Own files in place of the registry's, address by model, e.g. `generator:` one that `anon-batch train` made. "
        "Their digests go into fingerprint and provenance.",
    )
