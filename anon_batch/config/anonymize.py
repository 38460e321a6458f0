"""Keys of `anonymize`: what is done to each region."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import Field, field_validator

from anon_batch.config.section import Section


class AnonymizeConfig(Section):
    """What is done to each face."""

    method: str = Field(
        "gan", description="`gan`, `swap`, `pixelate`, `blur`, `inpaint`, `solid`, or one of a plug-in."
    )
    fallback: tuple[str, ...] | None = Field(
        None,
        description="Methods tried in turn for a face that `method` refuses or fails on; after the last one the picture is "
        "withheld. null: `pixelate`, `solid`, and for `gan` before them `swap`.",
    )
    expansion: float = Field(
        1.3, ge=1, le=4, description="The box grows by this factor about its centre before it is treated."
    )
    shape: Literal["ellipse", "rectangle"] = Field(
        "ellipse", description="`ellipse` inscribed in the expanded box, or the whole `rectangle`."
    )
    soft_edge: float = Field(
        0.0,
        ge=0,
        le=0.5,
        description="Width of the blend around the mask, as a share of the region's "
        "longer side; it lies outside the mask, where treated pixels fade into the picture.",
    )
    min_replaced_score: float = Field(
        0.0,
        ge=0,
        le=1,
        description="`swap` and `gan` leave faces that were detected with a lower score to the next method. They paint doubtful "
        "small ones faintly as it is.",
    )
    min_generated_px: float = Field(
        8,
        ge=0,
        description="`gan` leaves faces whose expanded box's longer side is smaller than this to the next method.",
    )
    color: tuple[int, int, int] = Field((0, 0, 0), description="RGB of `solid`.")
    cells: int = Field(8, ge=2, le=64, description="`pixelate` paints this many cells across the region's longer side.")
    blur_sigma: float = Field(
        0.2,
        ge=0.1,
        le=2,
        description="`blur`: sigma of the Gaussian as a share of the region's longest side; at least 0.1.",
    )

    @field_validator("color")
    @classmethod
    def _color_in_range(cls, value: tuple[int, int, int]) -> tuple[int, int, int]:
        if any(not 0 <= channel <= 255 for channel in value):
            raise ValueError(f"{list(value)}: each of the three channels is 0 to 255")
        return value

    @field_validator("fallback", mode="before")
    @classmethod
    def _list_of_names(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @property
    def ladder(self) -> tuple[str, ...]:
        """Methods in the order in which a face tries them, each once."""
        fallback = self.fallback
        if fallback is None:
            fallback = ("swap", "pixelate", "solid") if self.method == "gan" else ("pixelate", "solid")
        return tuple(dict.fromkeys((self.method, *fallback)))
