"""Which traits the generated faces of a release have.

Neither release nor ledger says which donor a face got. The run's key decides it, so the images are rendered again with it, and a
face's traits are believed where the result is what was published: another version of a model may choose another donor.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from anon_batch.anonymize.compose import mask_on_extent
from anon_batch.anonymize.ladder import Ladder, build_ladder
from anon_batch.anonymize.policy import Policy
from anon_batch.evaluate.release.job import ReleaseJob
from anon_batch.geometry import crop
from anon_batch.imaging.source import SourceImage
from anon_batch.models.runtime import Runtime
from anon_batch.records import AnonymizedImage, PixelArray, Region

_WITH_DONORS = frozenset({"gan", "swap"})
_MOST_DIFFERENCE = 8.0  # mean levels inside a mask: more than encoding changes, less than another face

Traits = Mapping[int, Mapping[str, str]]


class TraitReader:
    """Finds the traits of generated faces.

    Args:
        job: names the ledger, which holds the run's key, and the methods.
        runtime: where weights come from, and what the methods run on.

    Raises:
        ConfigError, ModelError: a method cannot be loaded.
    """

    def __init__(self, job: ReleaseJob, runtime: Runtime) -> None:
        self._key = None if job.ledger is None else job.ledger.run_key()
        self._ladder: Ladder | None = None
        if self._key is not None and not _WITH_DONORS.isdisjoint(Policy.from_config(job.config.anonymize).methods):
            self._ladder = build_ladder(job.config.anonymize, runtime)

    def traits_of(self, source: SourceImage, output: PixelArray, regions: Sequence[Region]) -> Traits:
        """Return region index -> traits, of the faces that look as published.

        Args:
            source: the original.
            output: the published image, (H, W, 3) uint8 RGB.
            regions: that were anonymized, of all labels.
        """
        image = source.decode()
        if self._ladder is None or self._key is None or not regions or output.shape != image.pixels.shape:
            return {}
        [again] = self._ladder.anonymize([(image, regions)], self._key)
        if not isinstance(again, AnonymizedImage):
            return {}
        return {
            region.index: again.traits[region.index]
            for region in regions
            if region.index in again.traits and _looks_equal(again.pixels, output, region)
        }


def _looks_equal(again: PixelArray, output: PixelArray, region: Region) -> bool:
    mask = mask_on_extent(region)
    difference = np.abs(crop(again, region.extent)[mask].astype(np.int16) - crop(output, region.extent)[mask])
    return bool(difference.mean() <= _MOST_DIFFERENCE)
