"""Search a release for a face, or compare a face with some of its regions. The access log hears of it first."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from anon_batch.errors import ConfigError
from anon_batch.formats.access_log import Access, AccessLog
from anon_batch.recognition.impostors import MIN_IMPOSTORS, Expected, Impostors
from anon_batch.records import FloatArray
from anon_batch.release.link.index import FaceIndex, Place, Scores
from anon_batch.release.reveal.reveal import Asked
from anon_batch.release.reveal.sealed_release import SealedRelease, name_keys
from anon_batch.sealing.key_files import PrivateKey

TOO_FEW = f"fewer than {MIN_IMPOSTORS} faces are in the index, too few to say how alike other people look"
TOO_VARIED = (
    "the similarities vary so much that no hit would be sure enough: too few faces are in the index, or a sixth of them are "
    "of one person"
)


class Scored(NamedTuple):
    """A face of the index beside the photograph.

    Args:
        place: where it is.
        score: similarity, -1 to 1.
    """

    place: Place
    score: float


@dataclasses.dataclass(frozen=True, slots=True)
class Search:
    """What a search found.

    Args:
        ranked: all faces of the index, the most similar first.
        threshold: from this score on a face counts as a hit; None if nothing can be decided.
        expected: number of other people among all faces that are expected to be hits; None likewise.
        undecided: why nothing can be decided; "" otherwise.
    """

    ranked: tuple[Scored, ...]
    threshold: float | None = None
    expected: Expected | None = None
    undecided: str = ""

    @property
    def hits(self) -> tuple[Scored, ...]:
        """The faces that count as those of the person."""
        if self.threshold is None:
            return ()
        return tuple(own for own in self.ranked if own.score >= self.threshold)

    @property
    def margin(self) -> float | None:
        """By how much the first face leads the second."""
        return self.ranked[0].score - self.ranked[1].score if len(self.ranked) > 1 else None


@dataclasses.dataclass(frozen=True, slots=True)
class Comparison:
    """What a comparison with one face gave.

    Args:
        scored: the face.
        chance: probability that somebody else scores at least so much; None if the index holds too few faces to tell.
        same: whether they count as one person; None likewise.
    """

    scored: Scored
    chance: Expected | None
    same: bool | None


class Log:
    """The entry of one search in the access log, which is written before the index is opened, and again with what came of it.

    Args:
        place: the release.
        keys: private keys that open the index.
        asked: who asks, and why.
        photo: bytes of the photograph, of which the log keeps a code; b"" without one.
    """

    def __init__(self, place: SealedRelease, keys: Sequence[PrivateKey], asked: Asked, photo: bytes) -> None:
        self._log = AccessLog(place.ledger)
        first = min(keys, key=lambda own: own.public.key_id)
        code = first.code_of(photo) if photo else ""
        self._entry = Access("link", asked.by, asked.reason, asked.case, name_keys(keys), (), photo=code)
        self.number = self._log.append(self._entry)

    def close(self, outcome: str, found: Sequence[Place]) -> None:
        """Write what came of it."""
        rows = tuple((own.row, own.region) for own in found)
        self._log.append(dataclasses.replace(self._entry, outcome=outcome, of=self.number, rows=rows))


def search(index: FaceIndex, feature: FloatArray, max_false_hits: float) -> Search:
    """Return all faces by their similarity, and from where on they count.

    Args:
        index: of the release.
        feature: (D,) of the photograph.
        max_false_hits: impostors that may be expected among the hits, by the upper bound of the interval.
    """
    scores = index.scores(feature)
    order = np.argsort(-scores, kind="stable")
    ranked = tuple(Scored(index.faces[at], float(scores[at])) for at in order)
    if len(scores) < MIN_IMPOSTORS:
        return Search(ranked, undecided=TOO_FEW)
    impostors = Impostors(scores)
    threshold = impostors.threshold(max_false_hits)
    if threshold > 1:
        return Search(ranked, undecided=TOO_VARIED)
    return Search(ranked, threshold, impostors.expected(threshold))


def compare(
    index: FaceIndex, feature: FloatArray, wanted: Sequence[Place], max_false_rate: float
) -> tuple[Comparison, ...]:
    """Return for some faces of the index whether they show the person of the photograph.

    Args:
        index: of the release.
        feature: (D,) of the photograph.
        wanted: faces of the index.
        max_false_rate: probability at which somebody else may be taken for the person, by the upper bound of its interval.
    """
    scores = index.scores(feature)
    at = {place: position for position, place in enumerate(index.faces)}
    impostors = Impostors(scores) if len(scores) >= MIN_IMPOSTORS else None
    return tuple(_compare(place, scores, at[place], impostors, max_false_rate) for place in wanted)


def find_face(index: FaceIndex, name: str) -> Place:
    """Return the face ID/INDEX of the index.

    Raises:
        ConfigError: there is none, or it is not in the index.
    """
    for place, state in index.others.items():
        if place.name == name:
            why = {"no face": "its label is not `face`", "small": "it is too small"}.get(state, f"it has {state}")
            raise ConfigError(f"{name}: this region is not in the index of faces, because {why}")
    for place in index.faces:
        if place.name == name:
            return place
    raise ConfigError(f"{name}: no region of an anonymized image; expected ID/INDEX, for example people/a.jpg/0")


def _compare(
    place: Place, scores: Scores, position: int, impostors: Impostors | None, max_false_rate: float
) -> Comparison:
    scored = Scored(place, float(scores[position]))
    if impostors is None:
        return Comparison(scored, None, None)
    chance = impostors.chance(scored.score)
    return Comparison(scored, chance, chance.high <= max_false_rate)
