"""Keys of `write`: how outputs are stored."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from anon_batch.config.section import Section


class WriteConfig(Section):
    """How outputs are stored."""

    layout: Literal["files", "webdataset", "parquet"] = Field(
        "files",
        description="`files`: one object a picture; `webdataset`: a tar a shard; `parquet`: a Parquet file with an "
        "`image` struct a shard.",
    )
    format: Literal["keep", "jpeg", "png", "webp"] = Field(
        "keep", description="`keep` writes each picture in its own format; else the format of all outputs."
    )
    quality: Literal["keep"] | int = Field(
        "keep",
        description="`keep` re-uses a JPEG's own quantisation tables and sampling (92 where there are none); 1 to 100 "
        "sets it.",
    )

    @field_validator("quality")
    @classmethod
    def _quality_range(cls, value: str | int) -> str | int:
        if isinstance(value, int) and not 1 <= value <= 100:
            raise ValueError(f"{value}: `keep`, or 1 to 100")
        return value
