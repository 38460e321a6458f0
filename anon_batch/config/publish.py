"""Keys of `publish`: what else of the manifest a release shows."""

from __future__ import annotations

from typing import Any

from pydantic import Field, field_validator

from anon_batch.config.section import Section


class PublishConfig(Section):
    """What else of the manifest a release shows."""

    columns: tuple[str, ...] = Field(
        (),
        description="Pass-through columns, or keys inside one such as `json.url`, that are published as they are although they "
        "look like addresses, digests, camera metadata, places, persons or accounts.",
    )

    @field_validator("columns", mode="before")
    @classmethod
    def _one_name_is_a_list(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value
