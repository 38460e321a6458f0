"""A planted fault: a blur a third as strong as the one of this package, as another library once shipped it."""

from pydantic import Field

from anon_batch.anonymize.methods.blur import gaussian
from anon_batch.anonymize.protocol import Method, Patch
from anon_batch.geometry import longer_side_px
from anon_batch.plugins import PluginOptions


class WeakBlur(Method):
    """Blurs too little."""

    name = "weak_blur"
    sees_original = True

    class Options(PluginOptions):
        sigma: float = Field(
            0.2 / 3, gt=0, description="Sigma of the Gaussian, as a share of the region's longer side."
        )

    def render(self, targets):
        return [
            Patch(gaussian(one.pixels, one.region.extent, self.options.sigma * longer_side_px(one.region)))
            for one in targets
        ]
