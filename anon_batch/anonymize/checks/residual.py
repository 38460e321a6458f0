"""`residual`: other detectors look for what is left in the output.

The detectors that chose the regions would miss the same faces again. What others find outside all regions is anonymized, or
the image is withheld. On some images a synthetic face is planted on a copy of the output, to measure how much the check finds.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from functools import partial
from typing import Any, Literal

from pydantic import Field, field_validator

from anon_batch.anonymize.checks.residual_plant import is_chosen, measure_recall
from anon_batch.anonymize.checks.residual_search import Passes, search, uncovered
from anon_batch.anonymize.faces.donors import MODEL_NAME, DonorBank
from anon_batch.anonymize.protocol import CheckedImage, Finding, ImageCheck
from anon_batch.config import DetectConfig
from anon_batch.config.detect import DetectorConfig
from anon_batch.detect.ensemble import Ensemble, build_detector
from anon_batch.detect.from_manifest import NAME as MANIFEST
from anon_batch.errors import ConfigError
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions
from anon_batch.records import PixelArray

DEFAULT_DETECTORS = ("yunet_n", "centerface", "yunet")  # the first that the job does not detect with
_KEY = "checks.residual.detectors"
_SEEDS = 1 << 64


class ResidualOptions(PluginOptions):
    """Options of `residual`."""

    detectors: tuple[DetectorConfig, ...] | None = Field(
        None,
        min_length=1,
        description="Detectors that look, as in `detect.detectors`; none that the job detects with. null takes the first of "
        "`yunet_n`, `centerface` and `yunet` that the job does not use.",
    )
    threshold: float = Field(
        0.3,
        ge=0,
        le=1,
        description="Lowest score of a detection, for detectors without a `threshold` of their own.",
    )
    scales: tuple[float, ...] = Field(
        (1.0, 2.0),
        description="Factors by which the image is enlarged, one pass for each; 1 is the image as it stands.",
    )
    turns: tuple[int, ...] = Field((90, 180, 270), description="Degrees by which it is turned, one pass for each.")
    turned_threshold: float = Field(
        0.6,
        ge=0,
        le=1,
        description="Lowest score of a detection in turned passes, which show every upright thing upside down or on its side.",
    )
    max_side_px: int = Field(
        2048,
        ge=64,
        description="Longest side of an image in enlarged and turned passes. A larger image is not enlarged, and turned ones are "
        "downscaled.",
    )
    policy: Literal["anonymize", "withhold"] = Field(
        "anonymize",
        description="`anonymize`: what is found is anonymized like every other detection, and the image is searched again; where "
        "something is left after two rounds, it is withheld. `withhold`: withhold the image at once.",
    )
    share: float = Field(
        1.0,
        gt=0,
        le=1,
        description="Share of the images that are checked, chosen by the run's key. Below 1 the gate is an estimate.",
    )
    plant: float = Field(
        0.1,
        ge=0,
        le=1,
        description="Share of the checked images on whose copy a synthetic face is planted and searched for; never published. 0 "
        "measures no recall, and the gate `residual` then counts as not measured.",
    )

    @field_validator("detectors", mode="before")
    @classmethod
    def _names_to_mappings(cls, value: Any) -> Any:
        value = [value] if isinstance(value, str) else value
        return (
            [{"name": own} if isinstance(own, str) else own for own in value] if isinstance(value, Sequence) else value
        )

    @field_validator("scales")
    @classmethod
    def _are_enlargements(cls, value: tuple[float, ...]) -> tuple[float, ...]:
        if 1 not in value or not all(1 <= scale <= 8 for scale in value):
            raise ValueError("expected factors from 1 to 8, 1 among them")
        return tuple(dict.fromkeys(value))

    @field_validator("turns")
    @classmethod
    def _are_right_angles(cls, value: tuple[int, ...]) -> tuple[int, ...]:
        if not set(value) <= {90, 180, 270}:
            raise ValueError("expected some of 90, 180 and 270")
        return tuple(dict.fromkeys(value))


class Residual(ImageCheck):
    """Finds what is left in an output, and counts it.

    Counts: `checked` and `skipped` images; `found`, the images in which the first look finds something; `boxes`, how much that
    is; `added`, the same at any look; `withheld` images; `planted_<band>` and `planted_found_<band>`: see
    `measure_recall`.
    """

    name = "residual"
    Options = ResidualOptions

    def __init__(self, options: ResidualOptions, runtime: Runtime) -> None:
        super().__init__(options, runtime)
        self._runtime = runtime
        self._detect: DetectConfig | None = None
        self._detector: Ensemble | None = None
        self._passes = Passes(options.scales, options.turns, options.max_side_px, options.turned_threshold)
        self._bank = DonorBank(runtime.store.load(MODEL_NAME)) if options.plant else None

    def prepare(self, detect: DetectConfig) -> None:
        """Load the detectors.

        Raises:
            ConfigError: one of them is a detector of the job, or there is none.
            UnknownNameError, ModelError: as `build_detector`.
        """
        chosen = _choose(self.options.detectors, [own.name for own in detect.detectors])
        low = [
            own if own.threshold is not None else own.model_copy(update={"threshold": self.options.threshold})
            for own in chosen
        ]
        config = detect.model_copy(
            update={"detectors": tuple(low), "scale": 1.0, "refine_small": False, "rotated": False}
        )
        self._detect, self._detector = detect, build_detector(config, self._runtime)
        self.models = (*self._detector.models, *([MODEL_NAME] if self._bank else []))

    @property
    def requests(self) -> dict[str, int]:
        """Number of requests so far to each detector that is a service, by name."""
        return {} if self._detector is None else self._detector.requests

    def check(self, images: Sequence[CheckedImage]) -> Sequence[Finding]:
        """Return what is left in each image."""
        return [self._check(image) for image in images]

    def _check(self, image: CheckedImage) -> Finding:
        first = image.look == 0
        if image.seed >= self.options.share * _SEEDS:
            return Finding(counts={"skipped": 1} if first else {})
        look = partial(self._search, image.image_id)
        found = look(image.pixels)
        left = uncovered(found, image.regions, image.ground_truth, image.width, image.height, is_first=first)
        counts: Counter[str] = Counter()
        if first:
            counts.update(checked=1, found=int(len(left) > 0), boxes=len(left))
            if self._bank is not None and is_chosen(image.seed, self.options.plant):
                others = [] if image.ground_truth is None else image.ground_truth.boxes.tolist()
                taken = [*left.boxes.tolist(), *others]
                counts.update(measure_recall(image.pixels, image.seed, self._bank, image.regions, taken, look))
        if not len(left):
            return Finding(counts=+counts)  # without zeros
        if self.options.policy == "withhold" or image.is_last:
            return Finding(withhold=f"{len(left)} detections outside all regions", counts=counts + Counter(withheld=1))
        return Finding(left, counts=counts + Counter(added=len(left)))

    def _search(self, image_id: str, pixels: PixelArray) -> Any:
        if self._detector is None:
            raise RuntimeError("residual: `prepare` was not called")
        return search(image_id, pixels, self._detector, self._passes)

    def __reduce__(self) -> tuple[Any, ...]:
        """Pickle the settings instead of the loaded networks."""
        return _load, (self.options, self._runtime, self._detect)


def _load(options: ResidualOptions, runtime: Runtime, detect: DetectConfig | None) -> Residual:
    check = Residual(options, runtime)
    if detect is not None:
        check.prepare(detect)
    return check


def _choose(named: tuple[DetectorConfig, ...] | None, used: Sequence[str]) -> tuple[DetectorConfig, ...]:
    if named is None:
        free = [name for name in DEFAULT_DETECTORS if name not in used]
        if not free:
            raise ConfigError(
                f"{_KEY}: the job detects with {', '.join(DEFAULT_DETECTORS)}; name another detector here"
            )
        return (DetectorConfig(name=free[0]),)
    for own in named:
        if own.name == MANIFEST:
            raise ConfigError(f"{_KEY}: `{MANIFEST}` looks at no pixels; name a detector that does")
        if own.name in used:
            raise ConfigError(
                f"{_KEY}: `{own.name}` is in detect.detectors too, so it would miss the same faces again; name another one"
            )
    return named
