"""What becomes of an image: clean, anonymized or withheld."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

from anon_batch.errors import RowError
from anon_batch.imaging.source import SourceImage
from anon_batch.records import AnonymizedImage, BoolArray, Detections, PixelArray, Region, RegionRecord


@dataclass(frozen=True, slots=True, eq=False)
class Clean:
    """An image in which nothing was found that the policy covers.

    Args:
        source: the image.
        detections: what was found and left on the owner's word (`keep` in the ground truth); mostly empty.
        checks: image check -> what it counted.
    """

    source: SourceImage
    detections: Detections
    checks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    status: Literal["clean"] = "clean"

    @property
    def pixels(self) -> PixelArray:
        """The image's own pixels, (H, W, 3) uint8 RGB, upright."""
        return self.source.decode().pixels


@dataclass(frozen=True, slots=True, eq=False)
class Anonymized:
    """An image whose every region was anonymized.

    Args:
        source: the image as it was.
        result: the new pixels, where they may differ from the source's, and the method of each region.
        detections: what was found.
        regions: what was anonymized, in the order of the detections.
        synthetic: indices of the regions whose pixels a model generated.
        checks: check -> what it counted.
    """

    source: SourceImage
    result: AnonymizedImage
    detections: Detections
    regions: tuple[Region, ...]
    synthetic: frozenset[int]
    checks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)
    status: Literal["anonymized"] = "anonymized"

    @property
    def pixels(self) -> PixelArray:
        """The anonymized pixels, (H, W, 3) uint8 RGB, upright."""
        return self.result.pixels

    @property
    def touched(self) -> BoolArray:
        """The pixels that may differ from the source's, (H, W) bool."""
        return self.result.touched

    @property
    def methods(self) -> Mapping[int, str]:
        """Region index -> name of the method that rendered it."""
        return self.result.methods

    @property
    def records(self) -> tuple[RegionRecord, ...]:
        """The regions as the provenance publishes them."""
        return tuple(
            RegionRecord(*r.extent, label=r.label, method=self.methods[r.index], synthetic=r.index in self.synthetic)
            for r in self.regions
        )


@dataclass(frozen=True, slots=True, eq=False)
class Withheld:
    """An image that must not be published.

    Args:
        image_id: of the image.
        error: why; a FailedError when the source could not be read.
        detections: what was found, None when detection did not finish.
        checks: check -> what it counted.
    """

    image_id: str
    error: RowError
    detections: Detections | None = None
    checks: Mapping[str, Mapping[str, int]] = field(default_factory=dict)

    @property
    def status(self) -> str:
        """`withheld`, or `failed` when the source could not be read."""
        return self.error.status

    @property
    def reason(self) -> str:
        """The published reason code."""
        return self.error.reason


Outcome = Clean | Anonymized | Withheld
