"""`gan`: a donor's composite that a generator may change until it fits its surroundings.

The generator is off by default, because so far it did not beat the composite alone (see the model card); then `gan` renders what
`swap` does. It sees what `swap` renders, the masks and landmarks, and the latent of the seed. Faces of all images of a batch go
through together, yet no result depends on the other faces: on CUDA in calls of one fixed size, on a CPU each in its own call.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from pydantic import Field

from anon_batch.anonymize.faces.align import Crop
from anon_batch.anonymize.faces.donors import MODEL_NAME as DONORS
from anon_batch.anonymize.faces.generator import load_generator
from anon_batch.anonymize.faces.generator_network import GeneratorNetwork
from anon_batch.anonymize.faces.replace import FaceReplacer, Replacement, render_patch
from anon_batch.anonymize.methods.swap import SwapOptions
from anon_batch.anonymize.protocol import Method, Patch, Refusal, Target
from anon_batch.models.runtime import Runtime
from anon_batch.records import FloatArray

MODEL_NAME = "generator"
_MAX_SATURATED = 0.5  # share of the new pixels beyond black or white
_MIN_DEVIATION = 2.0  # of the new pixels, levels: less is no face


class GanOptions(SwapOptions):
    """Options of `gan`."""

    min_side_px: float = Field(
        8,
        ge=0,
        description="Longer side of the expanded box below which a face is refused, and the next method gets it.",
    )
    generator: bool = Field(
        False,
        description="Whether a generator changes what `swap` would render: the bundled one, or your own in `models.files`. The "
        "bundled one did not beat the composite alone, so it is off.",
    )


class Gan(Method):
    """Replaces faces by generated ones."""

    name = "gan"
    models: tuple[str, ...] = (DONORS,)
    synthetic = True
    overlap = "surer"
    Options = GanOptions

    def __init__(self, options: GanOptions, runtime: Runtime) -> None:
        super().__init__(options, runtime)
        self._by_subject = options.donor_by == "subject"
        self._replacer = FaceReplacer(runtime.store.load(DONORS), runtime, options.min_side_px, self._by_subject)
        self._network: GeneratorNetwork | None = None
        if options.generator:
            self.models = (DONORS, MODEL_NAME)
            generator = load_generator(runtime.store.load(MODEL_NAME))
            self._network = GeneratorNetwork(generator, runtime.threads, runtime.device)

    @property
    def keeps_faces(self) -> bool:
        """Whether the subject alone chooses the donor."""
        return self._by_subject

    def render(self, targets: Sequence[Target]) -> list[Patch | Refusal]:
        """Return a patch for every face that is large enough and for which a donor fits."""
        prepared = list(self._replacer.prepare(targets))
        if self._network is None:
            return [
                face if isinstance(face, Refusal) else render_patch(face, face.composite.pixels) for face in prepared
            ]
        corrected = self._network.correct([face for face in prepared if isinstance(face, Replacement)])
        return [face if isinstance(face, Refusal) else _finish(face, next(corrected)) for face in prepared]


def _finish(face: Replacement, pixels: FloatArray) -> Patch | Refusal:
    fault = fault_of(face.crop, pixels)
    return Refusal(fault) if fault else render_patch(face, pixels)


def fault_of(crop: Crop, pixels: FloatArray) -> str:
    """Return why a generated face cannot be one; empty when it can."""
    new = pixels[crop.unknown]
    if not np.isfinite(new).all():
        return "the generator gave values that are not finite"
    saturated = float(((new < 0) | (new > 255)).mean())
    if saturated > _MAX_SATURATED:
        return f"{saturated:.0%} of the generated pixels lie beyond black or white"
    if float(new.clip(0, 255).std()) < _MIN_DEVIATION:
        return "the generated face is one flat colour"
    return ""
