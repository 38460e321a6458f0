"""`swap`: the face of a synthetic donor, chosen and toned by what lies around the face that it replaces."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from pydantic import Field

from anon_batch.anonymize.faces.donors import MODEL_NAME
from anon_batch.anonymize.faces.replace import FaceReplacer, render_patch
from anon_batch.anonymize.protocol import Method, Patch, Refusal, Target
from anon_batch.models.runtime import Runtime
from anon_batch.plugins import PluginOptions


class SwapOptions(PluginOptions):
    """Options of `swap`."""

    min_side_px: float = Field(
        4,
        ge=0,
        description="Longer side of the expanded box below which a face is refused, because it has no features to align.",
    )
    donor_by: Literal["surroundings", "subject"] = Field(
        "surroundings",
        description="What chooses the donor. `surroundings`: one that fits, by the seed among the best; looks best. `subject`: "
        "the seed alone, so that one subject has one face everywhere, which fits less well.",
    )


class Swap(Method):
    """Replaces faces by donors."""

    name = "swap"
    models = (MODEL_NAME,)
    synthetic = True
    overlap = "surer"
    Options = SwapOptions

    def __init__(self, options: SwapOptions, runtime: Runtime) -> None:
        super().__init__(options, runtime)
        self._by_subject = options.donor_by == "subject"
        self._replacer = FaceReplacer(runtime.store.load(MODEL_NAME), runtime, options.min_side_px, self._by_subject)

    @property
    def keeps_faces(self) -> bool:
        """Whether the subject alone chooses the donor."""
        return self._by_subject

    def render(self, targets: Sequence[Target]) -> list[Patch | Refusal]:
        """Return a patch for every face that is large enough and for which a donor fits."""
        return [
            face if isinstance(face, Refusal) else render_patch(face, face.composite.pixels)
            for face in self._replacer.prepare(targets)
        ]
