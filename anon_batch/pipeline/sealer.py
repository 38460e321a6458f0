"""Seal the images of one attempt at a shard, in its worker."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from anon_batch.errors import WithheldError
from anon_batch.imaging.jpeg.changed_blocks import CODEC as BLOCKS
from anon_batch.imaging.jpeg.changed_blocks import UnsealableError, pack_regions
from anon_batch.imaging.source import SourceImage
from anon_batch.outcomes import Anonymized
from anon_batch.pipeline.keeping import Kept
from anon_batch.records import EncodedImage, RegionRecord
from anon_batch.sealing.envelope import WHOLE_IMAGE, Kek, Need, Sealed, WrappedKek
from anon_batch.sealing.key_files import PublicKey

FILE = "file-v1"  # the bytes of the source
What = Literal["region", "file"]


class Sealer:
    """Seals images with one random key, which it forgets when it is deleted. Threads may share it.

    Args:
        run_id: of the release.
        recipients: whose private keys open what is sealed.
        what: `region` seals each region by itself where source and output are JPEGs that differ in the regions' blocks alone,
            and the source's file elsewhere; `file` seals the source's file of each image.
        need: how many of the recipients are needed to open it.
    """

    def __init__(self, run_id: str, recipients: Sequence[PublicKey], what: What, need: Need = "any") -> None:
        self._kek = Kek.new(run_id)
        self._what = what
        self.wrapped: WrappedKek = self._kek.wrap(recipients, need)

    def keep(self, outcome: Anonymized, output: EncodedImage) -> Kept:
        """Seal what the regions of an image showed.

        Raises:
            WithheldError: `seal`, because an image is not published whose original is to be restored and cannot be.
        """
        try:
            return Kept(self._seal(outcome.source, output, outcome.records))
        except Exception as exc:
            raise WithheldError("seal", f"{type(exc).__name__}: {exc}") from exc

    def _seal(self, source: SourceImage, output: EncodedImage, regions: Sequence[RegionRecord]) -> tuple[Sealed, ...]:
        if self._what == "region" and source.format == output.format == "JPEG":
            try:
                packed = pack_regions(source.data, output.data, regions, source.orientation)
            except UnsealableError:
                pass
            else:
                return tuple(self._kek.seal(source.image_id, at, BLOCKS, data) for at, data in enumerate(packed))
        return (self._kek.seal(source.image_id, WHOLE_IMAGE, FILE, source.data),)
