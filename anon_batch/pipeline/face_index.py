"""Put the faces of one attempt at a shard into the encrypted index that photographs are searched in, in its worker."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from anon_batch.errors import WithheldError
from anon_batch.face_shape import are_plausible
from anon_batch.formats.face_record import CODEC, FaceRecord, IndexedFace
from anon_batch.outcomes import Anonymized
from anon_batch.pipeline.keeping import Kept
from anon_batch.recognition.embedder import Embedder, Face
from anon_batch.recognition.templates import TemplateKey
from anon_batch.records import DEFAULT_LABEL, EncodedImage, Region
from anon_batch.sealing.envelope import WHOLE_IMAGE, Kek, Need, WrappedKek
from anon_batch.sealing.key_files import PublicKey


class FaceIndexer:
    """Makes templates with one random key and encrypts both with another, and forgets the keys when it is deleted.

    Threads may share it.

    Args:
        run_id: of the release.
        recipients: whose private keys open the index.
        embedder: the recogniser.
        min_face_px: faces with a shorter side below it are not in the index.
        need: how many of the recipients are needed to open it.
    """

    def __init__(
        self,
        run_id: str,
        recipients: Sequence[PublicKey],
        embedder: Embedder,
        min_face_px: int,
        need: Need = "any",
    ) -> None:
        self._kek, self._key = Kek.new(run_id), TemplateKey.new()
        self._embedder, self._min_face_px = embedder, min_face_px
        self.wrapped: WrappedKek = self._kek.wrap(recipients, need)

    def keep(self, outcome: Anonymized, output: EncodedImage) -> Kept:
        """Index the faces of an image: one record, also where no face has a template.

        Raises:
            WithheldError: `link`, because a search would not find an image whose faces could not be indexed.
        """
        try:
            faces = tuple(self._face(outcome, region) for region in outcome.regions)
            record = FaceRecord(self._key.secret, faces).to_bytes()
            sealed = self._kek.seal(outcome.source.image_id, WHOLE_IMAGE, CODEC, record)
        except Exception as exc:
            raise WithheldError("link", f"{type(exc).__name__}: {exc}") from exc
        states = Counter(face.state for face in faces)
        missing = sum(states.values()) - states["indexed"] - states["no face"]
        return Kept((sealed,), {"indexed": states["indexed"], "not_indexed": missing})

    def _face(self, outcome: Anonymized, region: Region) -> IndexedFace:
        person = region.subject if isinstance(region.subject, str) else None
        x1, y1, x2, y2 = region.box
        if region.label != DEFAULT_LABEL:
            return IndexedFace("no face", person)
        if region.landmarks is None or not are_plausible(region.landmarks.tolist(), region.box):
            return IndexedFace("no landmarks", person)
        if min(x2 - x1, y2 - y1) < self._min_face_px:
            return IndexedFace("small", person)
        pixels = outcome.source.decode().pixels
        [feature] = self._embedder.embed([Face(pixels, np.asarray(region.landmarks, np.float64))])
        return IndexedFace("indexed", person, self._key.template(feature))
