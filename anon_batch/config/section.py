"""Base class of all sections of a job file."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, model_validator


class Section(BaseModel):
    """Refuses unknown keys; immutable."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)

    @model_validator(mode="before")
    @classmethod
    def _empty_section_is_the_default(cls, value: Any) -> Any:
        return {} if value is None else value  # because all keys of a section may be commented out
