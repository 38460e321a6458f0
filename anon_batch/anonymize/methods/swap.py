"""`swap`: the face of a synthetic donor, chosen, aligned and toned by what lies around the face that it replaces."""

from __future__ import annotations

from collections.abc import Sequence

from pydantic import Field

from anon_batch.anonymize.faces.donors import MODEL_NAME, DonorBank
from anon_batch.anonymize.faces.replace import prepare, render_patch
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


class Swap(Method):
    """Replaces faces by donors."""

    name = "swap"
    models = (MODEL_NAME,)
    synthetic = True
    overlap = "surer"
    Options = SwapOptions

    def __init__(self, options: SwapOptions, runtime: Runtime) -> None:
        super().__init__(options, runtime)
        self._min_side_px = options.min_side_px
        self._bank = DonorBank(runtime.store.load(MODEL_NAME))

    def render(self, targets: Sequence[Target]) -> list[Patch | Refusal]:
        """Return a patch for every face that is large enough and has something of the image around it."""
        return [self._render_one(target) for target in targets]

    def _render_one(self, target: Target) -> Patch | Refusal:
        face = prepare(target, self._bank, self._min_side_px)
        return face if isinstance(face, Refusal) else render_patch(face, face.composite.pixels)
