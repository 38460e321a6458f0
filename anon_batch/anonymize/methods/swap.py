"""`swap`: the face of a synthetic donor, chosen, placed and toned by what lies around the face that it replaces."""

from __future__ import annotations

from anon_batch.anonymize.faces.donors import MODEL_NAME, DonorBank
from anon_batch.anonymize.faces.replace import Limits, painted, replacements
from anon_batch.anonymize.protocol import Batch
from anon_batch.config import AnonymizeConfig
from anon_batch.models.store import ModelStore
from anon_batch.records import AnonymizedImage

MIN_SIDE_PX = 4.0  # of the expanded box: below, a face has no features to lay on others


class Swap:
    """Replaces faces by donors.

    Args:
        bank: donors.
        limits: which faces are replaced.
        soft_edge: width of the blend outside the mask, as a share of the region's longer side.
    """

    def __init__(self, bank: DonorBank, limits: Limits, soft_edge: float = 0.0) -> None:
        self.name = "swap"
        self.model_names: tuple[str, ...] = (MODEL_NAME,)
        self._bank, self._limits = bank, limits
        self._soft_edge = soft_edge

    def anonymize(self, batch: Batch, run_key: bytes) -> list[AnonymizedImage]:
        """Treats faces within the limits that have something of the picture around them."""
        results = []
        for image, regions in batch:
            made, refused = replacements(image, regions, self._bank, run_key, self._limits)
            faces = [(face, face.composite.pixels) for face in made]
            results.append(painted(image, faces, refused, self._soft_edge, self.name))
        return results


def create(config: AnonymizeConfig, store: ModelStore, threads: int, device: str) -> Swap:
    """Factory of the registry."""
    return Swap(DonorBank(store.load(MODEL_NAME)), Limits(MIN_SIDE_PX, config.min_replaced_score), config.soft_edge)
