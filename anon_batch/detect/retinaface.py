"""RetinaFace (Deng et al. 2020, CVPR) and networks of its shape, in an ONNX file of the user's own; none comes with the package.

Two layouts, which differ in the outputs: boxes, scores and landmarks relative to priors, as most exports of RetinaFace have, and
distances from cells at each stride, as SCRFD and the later RetinaFace of its authors have.
"""

from __future__ import annotations

from typing import cast

from pydantic import BaseModel, Field, model_validator

from anon_batch.detect.looks import build_looks
from anon_batch.detect.own_model import InputOptions, ModelOptions, takes
from anon_batch.detect.protocol import Detector, DetectorSettings
from anon_batch.detect.row_finder import OwnNetwork, image_input
from anon_batch.detect.row_layouts import Distances, Priors
from anon_batch.models.runtime import Runtime

DEFAULT_THRESHOLD = 0.15
MEAN_BGR = (104.0, 117.0, 123.0)


class PriorOptions(ModelOptions):
    """Options of detectors with priors, in a file of the user's own."""

    input: InputOptions = Field(default_factory=InputOptions, description="How the network takes its image.")
    strides: tuple[int, ...] = Field((8, 16, 32), min_length=1, description="Strides of its maps, px.")
    anchors: tuple[tuple[float, ...], ...] = Field(
        ((16, 32), (64, 128), (256, 512)),
        min_length=1,
        description="Sides of the square priors of each stride, px.",
    )
    variances: tuple[float, float] = Field((0.1, 0.2), description="Of the shift of priors and of their sides.")

    @model_validator(mode="after")
    def _fit(self) -> PriorOptions:
        if len(self.strides) != len(self.anchors):
            raise ValueError(f"{len(self.strides)} strides, but anchors of {len(self.anchors)}")
        if min(self.strides) < 1 or not all(side > 0 for sides in self.anchors for side in sides):
            raise ValueError("strides and anchors must be above 0")
        if not all(own > 0 for own in self.variances):
            raise ValueError("variances must be above 0")
        return self

    @property
    def priors(self) -> Priors:
        """The layout of these options."""
        return Priors(self.strides, self.anchors, self.variances)


@takes(PriorOptions)
def create(options: BaseModel, runtime: Runtime, settings: DetectorSettings) -> Detector:
    """See DetectorFactory. The input of a file with priors is BGR minus its mean, of one with distances RGB -1..1."""
    own = cast(PriorOptions, options)
    families = (
        (own.priors, image_input(own.input, "bgr", MEAN_BGR, 1.0)),
        (Distances(), image_input(own.input, "rgb", (127.5, 127.5, 127.5), 1 / 128)),
    )
    network = OwnNetwork(own, families, runtime, settings)
    return build_looks(network.finder, network.settings, DEFAULT_THRESHOLD)
