"""What every method of anonymization is."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, Protocol, runtime_checkable

from anon_batch.config import AnonymizeConfig
from anon_batch.records import AnonymizedImage, DecodedImage, Region

Batch = Sequence[tuple[DecodedImage, Sequence[Region]]]


@runtime_checkable
class RegionAnonymizer(Protocol):
    """A method that treats the regions of pictures.

    Attributes:
        name: as the job file calls it; it is what the result's `methods` holds.
        model_names: models of the registry whose weights it uses, for the provenance.
    """

    name: str
    model_names: tuple[str, ...]

    def anonymize(self, batch: Batch, run_key: bytes) -> list[AnonymizedImage]:
        """Treats every pixel of the masks of all regions, or refuses the face.

        Args:
            batch: pictures with the regions to treat in each. Inputs are never modified.
            run_key: the run's secret; what is random draws from `seeding.face_seed(run_key, image_id,
                index)`.

        Returns:
            One result a picture, in the batch's order. Each region's face is in `methods` or, with the
            reason, in `refused`; pixels outside `touched` equal the input's; `touched` holds the whole mask
            of each face in `methods`.

        Raises:
            Exception: anything; the ladder then tries the pictures one by one, and after that the next
            method.
        """
        ...


# (the job file's section, the model store, threads of a network, device such as "cpu" or "cuda") -> method
Factory = Callable[[AnonymizeConfig, Any, int, str], RegionAnonymizer]
