"""Whom a published face of a release with identities may belong to: its donor is recognised, then who got this donor.

Only pixels of the published face are needed. A person's donor follows from the run key and the person's token, which the index
holds. Several persons may share a donor, and a photograph tells them apart.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from anon_batch import keys
from anon_batch.anonymize.faces.donors import MODEL_NAME as DONORS
from anon_batch.anonymize.faces.donors import DonorBank
from anon_batch.anonymize.faces.retrieve import image_of_seed
from anon_batch.errors import ConfigError, StorageError
from anon_batch.formats.current_run import current_run
from anon_batch.pipeline.secret_keys import run_key_check
from anon_batch.recognition.embedder import Embedder, Face
from anon_batch.recognition.impostors import Expected, Impostors
from anon_batch.records import FloatArray
from anon_batch.release.link.index import FaceIndex, Place
from anon_batch.release.link.photo import Photo
from anon_batch.release.link.tools import LinkTools
from anon_batch.release.reveal.sealed_release import SealedRelease
from anon_batch.storage import absolute

_MOST_FALSE = 0.05  # impostors that may be expected among the donors at the similarity of the recognised one


class RecognisedDonor(NamedTuple):
    """The donor that a published face looks most like.

    Args:
        image: number in the bank.
        score: cosine of their features.
        next_score: of the second most similar donor.
        expected: donors that are expected to look so much alike by accident.
    """

    image: int
    score: float
    next_score: float
    expected: Expected

    @property
    def is_sure(self) -> bool:
        """Whether it is hardly another one."""
        return self.expected.high <= _MOST_FALSE


def donor_features(bank: DonorBank, embedder: Embedder) -> FloatArray:
    """Return the features (n, D) of a bank's n images."""
    donors = (bank.donor(2 * image) for image in range(len(bank) // 2))
    return np.concatenate([embedder.embed([Face(own.pixels, own.points)]) for own in donors])


def recognise_donor(feature: FloatArray, donors: FloatArray) -> RecognisedDonor:
    """Return the donor of a published face.

    Args:
        feature: (D,) of the published face.
        donors: (n, D) of the donors.
    """
    scores: npt.NDArray[np.float64] = np.asarray(donors @ feature, np.float64)
    second, first = np.argsort(scores)[-2:].tolist()
    score = float(scores[first])
    return RecognisedDonor(first, score, float(scores[second]), Impostors(scores).expected(score))


def persons_with(index: FaceIndex, donor: int, donors: int, run_key: bytes) -> dict[str, list[Place]]:
    """Return the persons whose face became a donor -> their faces in the index, and their regions that are not in it.

    Args:
        index: of the release.
        donor: number of the donor's image.
        donors: how many images the bank has.
        run_key: secret of the run.
    """
    found: dict[str, list[Place]] = {}
    for place in [*index.faces, *index.others]:
        if place.person is not None:
            found.setdefault(place.person, []).append(place)
    return {
        person: places
        for person, places in found.items()
        if image_of_seed(keys.seed(run_key, places[0].image_id, person), donors) == donor
    }


class DonorQuery:
    """A published face whose donor is recognised.

    Args:
        tools: compute features.
        place: the release.
        virtual: image with the published face.
        run_key: address of the run key; None takes the ledger's.

    Raises:
        ConfigError: the release keeps no identities or used other donors, there is no run key or another one, or no face.
        ModelError: the donors' file cannot be used.
    """

    def __init__(self, tools: LinkTools, place: SealedRelease, virtual: Photo, run_key: str | None) -> None:
        record = current_run(place.release.read_run_json(), place.release.versions)
        if "identity" not in record.config:
            raise ConfigError(
                f"{place.release.uri}: --virtual needs a run with `identity`; in others a person has another new face in each "
                "image, and none of them leads to a person"
            )
        if f"{DONORS}@{tools.runtime.store.digest(DONORS)}" not in record.models:
            raise ConfigError(f"{place.release.uri}: its new faces come from other donors than those of this version")
        self._run_key = read_run_key(place, run_key)
        bank = DonorBank(tools.runtime.store.load(DONORS))
        self._donors = len(bank) // 2
        self.donor = recognise_donor(tools.feature_of(virtual), donor_features(bank, tools.embedder))

    def persons(self, index: FaceIndex) -> dict[str, list[Place]]:
        """Return whose face became this donor; see `persons_with`."""
        return persons_with(index, self.donor.image, self._donors, self._run_key)


def read_run_key(place: SealedRelease, address: str | None) -> bytes:
    """Return the run key of a release.

    Args:
        place: the release.
        address: of a file with the key; None takes the ledger's.

    Raises:
        ConfigError: there is none, it cannot be read, or it is that of another run.
    """
    if address is not None:
        try:
            key = place.release.storage.read(absolute(address))
        except StorageError as exc:
            raise ConfigError(f"--run-key: {exc}") from None
        plan = place.ledger.plan()
        # Because seeds of another key lead to other persons, or to nobody, without a word.
        if plan is None or run_key_check(key) != plan.fingerprint.get("run key"):
            raise ConfigError(f"--run-key {address}: not the run key of {place.release.uri}")
        return key
    if (kept := place.ledger.run_key()) is None:
        raise ConfigError(f"{place.ledger.uri}: no run key here; name it by --run-key, unless it was destroyed")
    return kept
