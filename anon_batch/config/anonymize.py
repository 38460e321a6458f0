"""Keys of `anonymize`: what happens to the regions of each label, and the options of each method."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import ConfigDict, Field, field_validator, model_validator

from anon_batch.config.old_keys import OLD_KEYS
from anon_batch.config.section import Section
from anon_batch.config.treatment_defaults import complete
from anon_batch.records import Shape

_OWN_KEYS = ("face", "default", "options")
_OLD_NAMES = frozenset(
    key.removeprefix("anonymize.") for key in OLD_KEYS if key.startswith("anonymize.") and key.count(".") == 1
)
_FALLBACKS = {
    "gan": ("swap", "inpaint", "pixelate", "solid"),
    "swap": ("inpaint", "pixelate", "solid"),
    "plate": ("inpaint", "solid"),
    "mannequin": ("inpaint", "solid"),
}


class TreatmentConfig(Section):
    """What happens to the regions of one label."""

    method: str = Field(
        "solid",
        description="First method to try: `gan`, `swap`, `plate`, `mannequin`, `pixelate`, `blur`, `inpaint`, `solid`, or one of "
        "a plug-in.",
    )
    fallback: tuple[str, ...] | None = Field(
        None,
        description="Methods to try in turn for a region that `method` refuses or fails on; when the last one fails too, the "
        "image is withheld. null: `pixelate`, `solid`; before them `inpaint` for `swap`, and `swap`, `inpaint` for `gan`; "
        "`inpaint`, `solid` for `plate` and `mannequin`.",
    )
    expansion: float | None = Field(
        None,
        ge=1,
        le=4,
        description="Factor by which the detected box grows about its centre. null: 1.15 for the shape `face`, 1.5 for the label "
        "`licence_plate`, 1.1 for `text`, else 1.3. `face` takes at least 1.1. An `outline` grows on all sides by as much as "
        "the box along its shorter side; null: 1.1.",
    )
    shape: Shape | None = Field(
        None,
        description="Mask: an `ellipse` inscribed in the expanded box; the whole `rectangle`; or a `face`, a tighter egg that is "
        "turned with the face and holds the landmarks of all detectors. A face that is not well found gets an `ellipse` with an "
        "expansion of at least 1.3 instead; or the `outline` that the detector gives, as `person` does, and the rectangle where "
        "it gives none. null: `outline` where there is one, `face` for `swap` and `gan`, `rectangle` for the labels "
        "`licence_plate` and `text`, else `ellipse`.",
    )
    soft_edge: float | None = Field(
        None,
        ge=0,
        le=0.5,
        description="Width of the blend around the mask, as a share of the mask's longer side. The blend lies outside the mask. "
        "null: 0.16 for `swap` and `gan` with the shape `face`, as room for a seam, else 0.",
    )
    min_side_px: float = Field(
        0.0,
        ge=0,
        description="Methods that generate what they show (`swap`, `gan`) skip regions whose expanded box has a shorter longest "
        "side; the next method gets them. `anonymize.options.gan.min_side_px` adds a limit for `gan` alone.",
    )
    min_score: float = Field(
        0.0,
        ge=0,
        le=1,
        description="Methods that generate what they show skip detections with a lower score; the next method gets them.",
    )

    @field_validator("fallback", mode="before")
    @classmethod
    def _list_of_names(cls, value: Any) -> Any:
        return [value] if isinstance(value, str) else value

    @model_validator(mode="after")
    def _covers_enough(self) -> TreatmentConfig:
        complete(self.method, self.shape, self.expansion, self.soft_edge)
        return self

    @property
    def ladder(self) -> tuple[str, ...]:
        """Methods in the order in which a region tries them, each once."""
        fallback = self.fallback
        if fallback is None:
            fallback = _FALLBACKS.get(self.method, ("pixelate", "solid"))
        return tuple(dict.fromkeys((self.method, *fallback)))


class FaceConfig(TreatmentConfig):
    """What happens to faces."""

    method: str = Field("gan", description=TreatmentConfig.model_fields["method"].description)


class AnonymizeConfig(Section):
    """What happens to the regions of each label. A further key is a label, with the keys of `default`."""

    model_config = ConfigDict(extra="allow")
    __pydantic_extra__: dict[str, TreatmentConfig] = Field(init=False)

    face: FaceConfig = Field(default_factory=FaceConfig, description="Regions with the label `face`.")
    default: TreatmentConfig = Field(
        default_factory=TreatmentConfig, description="Regions of every label that has no key of its own."
    )
    options: dict[str, dict[str, Any]] = Field(
        default_factory=dict,
        description="Options of the methods by name, e.g. `{pixelate: {cells: 8}}`. Each method checks its own.",
    )

    @model_validator(mode="before")
    @classmethod
    def _refuse_old_keys(cls, value: Any) -> Any:
        if isinstance(value, Mapping) and (old := [str(key) for key in value if key in _OLD_NAMES]):
            raise ValueError("; ".join(f"`anonymize.{key}` {OLD_KEYS[f'anonymize.{key}']}" for key in old))
        return value

    @field_validator("options", mode="before")
    @classmethod
    def _empty_is_the_defaults(cls, value: Any) -> Any:
        if not isinstance(value, Mapping):
            return {} if value is None else value
        return {name: {} if own is None else own for name, own in value.items()}

    def labels(self) -> Iterator[tuple[str, TreatmentConfig]]:
        """Yield (label, its section) of every label with a key of its own, in the order of the file, faces first."""
        yield "face", self.face
        yield from (self.__pydantic_extra__ or {}).items()

    def with_method(self, method: str) -> AnonymizeConfig:
        """Return the same section with another method for faces."""
        return self.model_copy(update={"face": self.face.model_copy(update={"method": method})})
