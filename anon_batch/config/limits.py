"""Keys of `limits`: how large an input may be."""

from __future__ import annotations

from pydantic import Field

from anon_batch.config.section import Section


class LimitsConfig(Section):
    """Input size limits."""

    max_pixels: int = Field(200_000_000, ge=1, description="Images with more pixels end as `failed(too_many_pixels)`.")
    max_bytes: int = Field(256 * 2**20, ge=1, description="Sources with more bytes end as `failed(too_many_bytes)`.")
