"""Keys of `write`: format and layout of the outputs."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, field_validator, model_validator

from anon_batch.config.section import Section


class WriteConfig(Section):
    """Format and layout of the outputs."""

    layout: Literal["files", "webdataset", "parquet"] = Field(
        "files",
        description="`files`: one object for each image; `webdataset`: one tar for each shard; `parquet`: one Parquet file "
        "with an `image` struct for each shard.",
    )
    shards: Literal["rows", "source"] = Field(
        "rows",
        description="What a shard is: `rows`, `engine.shard_rows` rows; `source`, a tar or Parquet file of the source, for the "
        "layouts `webdataset` and `parquet`, with at most 65,536 images and 4 GiB, because a shard is written from memory.",
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

    @model_validator(mode="after")
    def _shards_of_a_layout_with_shards(self) -> WriteConfig:
        if self.shards == "source" and self.layout == "files":
            raise ValueError("`shards: source` needs the layout `webdataset` or `parquet`; `files` writes no shards")
        return self
