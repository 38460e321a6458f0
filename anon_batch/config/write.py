"""Keys of `write`: format and layout of the outputs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator

from anon_batch.config.section import Section


class WriteConfig(Section):
    """Format and layout of the outputs."""

    layout: Literal["files", "webdataset", "parquet"] = Field(
        "files",
        description="`files`: one object for each image; `webdataset`: one tar for each shard; `parquet`: one Parquet file "
        "with an `image` struct for each shard.",
    )
    format: Literal["keep", "jpeg", "png", "webp"] = Field(
        "keep", description="`keep` writes each image in its own format; any other value is the format of all outputs."
    )
    quality: Literal["keep"] | int = Field(
        "keep",
        description="`keep` reuses a JPEG's own quantisation tables and sampling (quality 92 for images that have none); 1 to "
        "100 sets the quality.",
    )
    mark_generated: bool = Field(
        True,
        description="Mark images in which a model generated a region (column `synthetic`): one XMP packet with IPTC's digital "
        "source type, the same in every file. BMP cannot hold it.",
    )

    @field_validator("quality")
    @classmethod
    def _quality_range(cls, value: str | int) -> str | int:
        if isinstance(value, int) and not 1 <= value <= 100:
            raise ValueError(f"{value} is not `keep` or 1 to 100")
        return value
