"""The interfaces of methods and of checks of their results.

A method renders patches; it never sees or returns a whole result. The ladder erases the masks before it asks a method, and
`compose` writes the patches into the image. See `tests/anonymize/test_plugin_method.py` for a complete plug-in.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal

from pydantic import BaseModel

from anon_batch.config import DetectConfig
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions
from anon_batch.records import BoolArray, Detections, FloatArray, GroundTruth, PixelArray, Region

Overlap = Literal["larger", "surer"]


@dataclass(frozen=True, slots=True, eq=False)
class Target:
    """One region to render.

    Args:
        image_id: of the image.
        region: what to render; its patch covers `region.extent`.
        seed: the only source of randomness; 0 .. 2**64 - 1, derived from the secret run key.
        width: of the image, px.
        height: of the image, px.
        view: returns `pixels` and `erased`. Computed on demand, because a batch may hold many large images.
    """

    image_id: str
    region: Region
    seed: int
    width: int
    height: int
    view: Callable[[], tuple[PixelArray, BoolArray]]

    @property
    def shape(self) -> tuple[int, int, int]:
        """(h, w, 3), the shape of the patch's pixels."""
        x1, y1, x2, y2 = self.region.extent
        return y2 - y1, x2 - x1, 3

    @property
    def pixels(self) -> PixelArray:
        """The whole image, (H, W, 3) uint8 RGB, read-only.

        The masks of all regions that are still to do, of every label, are erased to 0. A method that declares `sees_original`
        sees the original in its own regions and in those of other such methods. Regions that are done show what their method
        rendered.
        """
        return self.view()[0]

    @property
    def erased(self) -> BoolArray:
        """The pixels that are erased in `pixels`, (H, W) bool, read-only."""
        return self.view()[1]


@dataclass(frozen=True, slots=True, eq=False)
class Patch:
    """New pixels of one region.

    Args:
        pixels: (h, w, 3) uint8 RGB on `region.extent`.
        alpha: (h, w) float32 in [0, 1] on `region.extent`, the share of `pixels` in the result: 1 inside the mask, anything
            outside. None: 1 inside the mask, then the soft edge of the region's policy.
        traits: of a generated face, as its model was labelled, such as {"age": "young"}. For evaluations of groups alone: nothing
            writes them to a release or ledger. Never those of the person who was replaced.
        front: (h, w) bool on `region.extent`, where the patch shows something; elsewhere it shows what is behind, and another
            patch's front wins where regions overlap. None: it shows something everywhere.
    """

    pixels: PixelArray
    alpha: FloatArray | None = None
    traits: Mapping[str, str] = field(default_factory=dict)
    front: BoolArray | None = None


@dataclass(frozen=True, slots=True)
class Refusal:
    """A method's answer for a region that it cannot render. The next method of the region's policy gets it.

    Args:
        reason: for the private audit.
    """

    reason: str


class Plugin(ABC):
    """What methods and checks have in common.

    Attributes:
        name: as in the job file.
        models: the models of the registry whose weights it uses, for the provenance.
        Options: a pydantic model of its own settings: `anonymize.options.NAME` of a method, `checks.NAME` of a check.
    """

    name: str
    models: tuple[str, ...] = ()
    Options: ClassVar[type[BaseModel]] = PluginOptions

    def __init__(self, options: Any, runtime: Runtime | None = None) -> None:
        """Load what is needed; here, keep the options.

        Args:
            options: validated, an instance of `Options`.
            runtime: weights, threads and device; None for what needs no models.
        """
        self.options = options


class Method(Plugin):
    """A method of anonymization.

    Attributes:
        sees_original: whether its targets show the original pixels under the masks. For a method that does not declare it they
            are erased.
        synthetic: whether a model generates what it shows.
        uses_keypoints: whether its regions come with the keypoints of the persons in them, which are found in the original.
        overlap: which of two overlapping regions wins: the larger one, so that a small detection inside a large face cannot
            bring fine detail back into it; or the one detected with the higher score.
    """

    sees_original: ClassVar[bool] = False
    synthetic: ClassVar[bool] = False
    uses_keypoints: ClassVar[bool] = False
    overlap: ClassVar[Overlap] = "larger"

    @property
    def keeps_faces(self) -> bool:
        """Whether equal seeds give one recognisable face in different images."""
        return False

    def claim(self, region: Region, width: int, height: int) -> Region:
        """Return a region with a mask that holds what the method will draw; here, the region.

        The mask may grow and never shrinks, and depends on nothing but the region, so that no pixel under it is read. It is
        asked once, before anything is erased.

        Args:
            region: as its policy makes it, with its keypoints.
            width: of the image, px.
            height: of the image, px.
        """
        return region

    @abstractmethod
    def render(self, targets: Sequence[Target]) -> Sequence[Patch | Refusal]:
        """Return one patch or refusal for each target, in the targets' order.

        A target's patch must not depend on the other targets, nor on anything random but the target's seed, because a release
        must be the same however it is cut into batches.

        Args:
            targets: regions of one or several images. Targets of one image are next to each other.

        Raises:
            Exception: anything. The images are then tried one by one; regions of an image that fails again go to the next
                method.
        """


class RegionCheck(Plugin):
    """Looks at regions before and after anonymization. A region that fails goes to the next method of its policy."""

    @abstractmethod
    def check(self, before: PixelArray, after: PixelArray, regions: Sequence[Region]) -> Mapping[int, str]:
        """Return the regions that fail: region index -> why, for the private audit.

        Args:
            before: (H, W, 3) uint8, the original image, read-only.
            after: (H, W, 3) uint8, the composed image, read-only.
            regions: to check, of one image.

        Raises:
            Exception: anything. All of the regions then fail.
        """


@dataclass(frozen=True, slots=True, eq=False)
class CheckedImage:
    """One image as an ImageCheck sees it.

    Args:
        image_id: of the image.
        width: of the image, px.
        height: of the image, px.
        regions: what was anonymized.
        ground_truth: the manifest's regions; what the owner marked `keep` is untouched on purpose. None if there are none.
        seed: 0 .. 2**64 - 1, derived from the secret run key, the image and the check: the only source of randomness.
        look: how often this check saw the image before; regions were added in between.
        is_last: whether nothing can be added any more: an image in which this look adds something is withheld.
        view: returns `pixels`. Decoded on demand, because a check may look at a sample of the images.
    """

    image_id: str
    width: int
    height: int
    regions: Sequence[Region]
    ground_truth: GroundTruth | None
    seed: int
    look: int
    is_last: bool
    view: Callable[[], PixelArray]

    @property
    def pixels(self) -> PixelArray:
        """The anonymized image, (H, W, 3) uint8 RGB, read-only."""
        return self.view()


@dataclass(frozen=True, slots=True, eq=False)
class Finding:
    """What an ImageCheck says about one image.

    Args:
        add: further detections to anonymize, in px of the image.
        withhold: why the image must not be published; None lets it pass.
        counts: name -> count, added into the statistics.
    """

    add: Detections = field(default_factory=Detections.empty)
    withhold: str | None = None
    counts: Mapping[str, int] = field(default_factory=dict)


class ImageCheck(Plugin):
    """Looks at whole images after anonymization. It may add regions or withhold the image."""

    def prepare(self, detect: DetectConfig) -> None:
        """Take note of how the job detects; called once, before the first image. Here, do nothing.

        Args:
            detect: section `detect` of the job.

        Raises:
            ConfigError: the check does not fit the job.
        """

    @abstractmethod
    def check(self, images: Sequence[CheckedImage]) -> Sequence[Finding]:
        """Return one finding for each image, in order.

        Raises:
            Exception: anything. The images are then withheld.
        """
