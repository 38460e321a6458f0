"""What to do with the regions of each label."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from anon_batch import geometry
from anon_batch.config import AnonymizeConfig, TreatmentConfig
from anon_batch.config.treatment_defaults import FACE_METHODS, PLATE_METHOD, RECTANGLES, MaskSettings, complete
from anon_batch.errors import ConfigError
from anon_batch.records import PERSON_LABEL, PLATE_LABEL, TEXT_LABEL, Detections, Region, Shape

# Method -> labels that it must not be given to, because what it draws is something else.
_DRAWN_ELSEWHERE: Mapping[str, tuple[str, ...]] = {
    **dict.fromkeys(FACE_METHODS, (PERSON_LABEL, PLATE_LABEL, TEXT_LABEL)),
    PLATE_METHOD: (PERSON_LABEL, TEXT_LABEL),
}


@dataclass(frozen=True, slots=True)
class Treatment:
    """What to do with the regions of one label.

    Args:
        method: name of the first method to try.
        fallback: names of the methods to try next, in order.
        expansion: factor by which a detected box grows about its centre. None: 1.15 for the shape `face`, 1.5 for the method
            `plate`, else 1.3.
        shape: of the mask. None: `face` for `swap` and `gan`, `rectangle` for `plate`, else `ellipse`. `outline` is a rectangle
            where the detector gives none.
        soft_edge: width of the blend outside the mask, as a share of the mask's longer side. None: 0.16 for `swap` and `gan` with
            the shape `face`, else 0.
        min_side_px: longer side of the expanded box below which synthetic methods are skipped.
        min_score: score below which synthetic methods are skipped.
        outlined: what the masks of detections with an outline are made with; None makes them as the others'. Left out, it
            depends on the shape: None and `outline` take the outline.

    Raises:
        ConfigError: the expansion of the shape `face` is below 1.1.
    """

    method: str
    fallback: tuple[str, ...] = ()
    expansion: float = None  # type: ignore[assignment]
    shape: Shape = None  # type: ignore[assignment]
    soft_edge: float = None  # type: ignore[assignment]
    min_side_px: float = 0.0
    min_score: float = 0.0
    outlined: MaskSettings | None = field(default=None, kw_only=True)

    def __post_init__(self) -> None:
        if self.outlined is None and self.shape in (None, "outline"):
            outlined = _complete(self.method, "outline", self.expansion, self.soft_edge)
            object.__setattr__(self, "outlined", outlined)
        settings = _complete(self.method, self.shape, self.expansion, self.soft_edge)
        for name, value in settings._asdict().items():
            object.__setattr__(self, name, value)

    @property
    def ladder(self) -> tuple[str, ...]:
        """The methods in the order in which a region tries them, each once."""
        return tuple(dict.fromkeys((self.method, *self.fallback)))

    @classmethod
    def from_config(cls, config: TreatmentConfig, label: str | None = None) -> Treatment:
        """Return the treatment that a section of the job file describes, for a label; None for all others."""
        method, *fallback = config.ladder
        mask = _complete(method, config.shape, config.expansion, config.soft_edge, label)
        outlined = None
        if config.shape in (None, "outline"):
            outlined = _complete(method, "outline", config.expansion, config.soft_edge, label)
        return cls(
            method,
            tuple(fallback),
            mask.expansion,
            mask.shape,
            mask.soft_edge,
            config.min_side_px,
            config.min_score,
            outlined=outlined,
        )

    @property
    def mask(self) -> MaskSettings:
        """What the masks of detections without an outline are made with."""
        return MaskSettings(self.shape, self.expansion, self.soft_edge)


def _complete(
    method: str, shape: Shape | None, expansion: float | None, soft_edge: float | None, label: str | None = None
) -> MaskSettings:
    try:
        return complete(method, shape, expansion, soft_edge, label)
    except ValueError as exc:
        raise ConfigError(f"treatment with `{method}`: {exc}") from None


@dataclass(frozen=True, slots=True)
class Policy:
    """A treatment for every label.

    Args:
        by_label: label -> treatment. The order is that in which methods run when labels share a level of the ladder.
        default: for every other label, so that a label that nobody configured is anonymized too.
    """

    by_label: Mapping[str, Treatment] = field(default_factory=dict)
    default: Treatment = field(default_factory=lambda: Treatment("solid", ("pixelate",)))

    @classmethod
    def from_config(cls, config: AnonymizeConfig) -> Policy:
        """Return the policy of a job file's section `anonymize`.

        Raises:
            ConfigError: a method draws a face or a number plate where a label says that something else is.
        """
        for label, section in config.labels():
            for method in section.ladder:
                if label in _DRAWN_ELSEWHERE.get(method, ()):
                    what = "number plates" if method == PLATE_METHOD else "faces"
                    raise ConfigError(
                        f"`anonymize.{label}`: `{method}` draws {what}, in the size of the whole region: choose another method"
                    )
        by_label = {label: Treatment.from_config(section, label) for label, section in config.labels()}
        for label in RECTANGLES:  # because what has corners gets such a mask where the default's is not given
            by_label.setdefault(label, Treatment.from_config(config.default, label))
        return cls(by_label, Treatment.from_config(config.default))

    def __getitem__(self, label: str) -> Treatment:
        return self.by_label.get(label, self.default)

    def regions_of(
        self, detections: Detections, width: int, height: int, subjects: Sequence[int | str] | None = None
    ) -> list[Region]:
        """Return the regions to anonymize, one for each detection, in the detections' order.

        Args:
            detections: px of the upright image.
            width: of the image, px.
            height: of the image, px.
            subjects: what each region's seed derives from; None takes the position among the detections.
        """
        regions = []
        for index, label in enumerate(detections.labels):
            how = self[label]
            mask = how.mask if detections.outlines[index] is None else how.outlined or how.mask
            subject = index if subjects is None else subjects[index]
            regions.append(
                geometry.region_of(
                    detections, index, width, height, mask.expansion, mask.shape, mask.soft_edge, subject=subject
                )
            )
        return regions

    @property
    def treatments(self) -> tuple[Treatment, ...]:
        """All treatments, the default last."""
        return (*self.by_label.values(), self.default)

    @property
    def methods(self) -> tuple[str, ...]:
        """The names of all methods that any label may try, each once."""
        return tuple(dict.fromkeys(name for treatment in self.treatments for name in treatment.ladder))
