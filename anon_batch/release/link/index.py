"""The index of faces of a finished release, opened with recipients' private keys."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from anon_batch.errors import IntegrityError
from anon_batch.formats.face_record import CODEC, FaceRecord, State
from anon_batch.recognition.templates import TEMPLATE_BYTES, TemplateKey
from anon_batch.records import FloatArray
from anon_batch.release.reveal.sealed_release import SealedRelease, open_keks
from anon_batch.sealing.envelope import Sealed, open_sealed
from anon_batch.sealing.key_files import PrivateKey, WrongKeyError

Scores = npt.NDArray[np.float64]


class Place(NamedTuple):
    """A face in the index, or one that is not in it.

    Args:
        row: number in the release.
        image_id: its id.
        region: index in its published regions.
        person: token of whom it shows; None where no identity is kept.
    """

    row: int
    image_id: str
    region: int
    person: str | None

    @property
    def name(self) -> str:
        """ID/INDEX, as options take it."""
        return f"{self.image_id}/{self.region}"


class FaceIndex:
    """All faces of a release that can be found.

    Args:
        place: the release, with its index.
        keys: private keys of recipients, as many as are needed.

    Attributes:
        faces: those with a template.
        others: regions without one -> why.
        images: number of images with a region.

    Raises:
        IntegrityError: release or ledger is damaged, or something was changed.
    """

    def __init__(self, place: SealedRelease, keys: Sequence[PrivateKey]) -> None:
        self.faces: list[Place] = []
        self.others: dict[Place, State] = {}
        self.images = 0
        self._groups: dict[bytes, tuple[list[int], list[bytes]]] = {}  # key of the templates -> positions, templates
        for row, image_id, record in _records(place, keys):
            self.images += 1
            positions, templates = self._groups.setdefault(record.key, ([], []))
            for region, face in enumerate(record.faces):
                own = Place(row, image_id, region, face.person)
                if face.state != "indexed":
                    self.others[own] = face.state
                    continue
                positions.append(len(self.faces))
                templates.append(face.template)
                self.faces.append(own)

    def scores(self, feature: FloatArray) -> Scores:
        """Return the similarity of a feature to each face, -1 to 1."""
        found = np.zeros(len(self.faces))
        for key, (positions, templates) in self._groups.items():
            own = np.frombuffer(b"".join(templates), np.uint8).reshape(-1, TEMPLATE_BYTES)
            found[positions] = TemplateKey(key).similarities(feature, own)
        return found

    def missing(self) -> dict[str, int]:
        """Return why faces are not in the index -> how many; regions of other labels do not count."""
        return dict(Counter(state for state in self.others.values() if state != "no face"))


def _records(place: SealedRelease, keys: Sequence[PrivateKey]) -> Iterator[tuple[int, str, FaceRecord]]:
    """Yield row number, id and opened record of each anonymized image."""
    for spec, attempt, rows in place.shards():
        public = [(number, row) for number, row in rows if row["status"] == "anonymized"]
        if not public:
            continue
        sealed = place.store.read(spec, attempt, place.run_id)
        keks = open_keks(sealed.keks, keys)
        records = {own.place.image_id: own for own in sealed.records}
        for number, row in public:
            image_id = row["image_id"]
            own = records.get(image_id)
            if own is None or own.place.codec != CODEC:
                raise IntegrityError(f"{image_id}: not in the index of faces; restore the ledger from a copy")
            try:
                plain = _open(own, keks[own.kek_id].data_key(own))
            except (WrongKeyError, KeyError):
                raise IntegrityError(f"{image_id}: its record in the index of faces was changed") from None
            record = FaceRecord.from_bytes(plain, image_id)
            if len(record.faces) != len(row["regions"]):
                raise IntegrityError(f"{image_id}: the index of faces holds other regions than the release")
            yield number, image_id, record


def _open(own: Sealed, data_key: bytes) -> bytes:
    return open_sealed(own, data_key)
