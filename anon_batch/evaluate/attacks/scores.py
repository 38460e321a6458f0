"""What an attack gives: how much each probe resembles each known person, and who is found by that.

A probe is an image of the release, the gallery is what the attacker knows of each person. With two images of each person there
are two directions: the first images are known and the second ones are probes, and the reverse.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from anon_batch.evaluate import recognition
from anon_batch.evaluate.recognition import Values
from anon_batch.records import FloatArray


@dataclass(frozen=True, slots=True, eq=False)
class PairFeatures:
    """Features of the two images of each person.

    Args:
        first: (N, D); a row of NaN if there is no output.
        second: likewise.
    """

    first: FloatArray
    second: FloatArray

    @property
    def sides(self) -> tuple[FloatArray, FloatArray]:
        """Both, in order."""
        return self.first, self.second


@dataclass(frozen=True, slots=True, eq=False)
class Scores:
    """Similarities of probes with persons, one square for each direction.

    Args:
        directions: each (N, N) float64, probe by person; NaN where there is no probe or nothing known of the person.
    """

    directions: tuple[Values, Values]

    def __post_init__(self) -> None:
        shapes = {part.shape for part in self.directions}
        if len(shapes) != 1 or len(set(next(iter(shapes)))) != 1:
            raise ValueError(f"scores of {shapes}, expected two squares of one size")

    @property
    def persons(self) -> int:
        """N."""
        return len(self.directions[0])

    def found(self) -> Values:
        """Return (N, N): the probability that person j is named for the probes of person i, mean of the directions.

        The most similar person is named, one of k with probability 1 / k. A row of NaN: there is no probe of that person.
        """
        named = np.stack([_named(part) for part in self.directions])
        present = np.isfinite(named[:, :, 0])
        total = np.where(present[:, :, None], named, 0).sum(axis=0)
        count = present.sum(axis=0)[:, None]
        return np.where(count > 0, total / np.maximum(count, 1), np.nan)

    def hits(self) -> Values:
        """Return (M,): for each person with a probe the share of the probes for which the person is named."""
        own = np.diagonal(self.found())
        return np.asarray(own[np.isfinite(own)], np.float64)

    def genuine(self) -> Values:
        """Return similarities (directions, N) of probes with their own person, NaN where missing."""
        return np.stack([np.diagonal(part) for part in self.directions])

    def impostor(self) -> Values:
        """Return similarities (directions, N, N) of probes with other persons, NaN on the diagonal and where missing."""
        square = np.stack(self.directions).astype(np.float64)
        square[:, np.arange(self.persons), np.arange(self.persons)] = np.nan
        return square


def compare(gallery: PairFeatures, probes: PairFeatures) -> Scores:
    """Return cosines of probes with a gallery of one image a person: first with second images, and the reverse."""
    return Scores((_cosines(probes.second, gallery.first), _cosines(probes.first, gallery.second)))


def standardised(similarity: Values) -> Values:
    """Return each probe's similarities with mean 0 and deviation 1 over the gallery, so that probes share a threshold.

    This is the normalisation by a cohort (Z-norm) of Auckenthaler, Carey, Lloyd-Thomas 2000, "Score normalization for
    text-independent speaker verification systems".
    """
    centred = similarity - similarity.mean(axis=1, keepdims=True)
    return np.asarray(centred / np.maximum(centred.std(axis=1, keepdims=True), 1e-9), np.float64)


def _cosines(probes: FloatArray, gallery: FloatArray) -> Values:
    values = recognition.cosines(probes, gallery)
    values[~np.isfinite(probes).all(axis=1)] = np.nan
    values[:, ~np.isfinite(gallery).all(axis=1)] = np.nan
    return values


def _named(similarity: Values) -> Values:
    """Return the probability (N, N) that each person is named; rows of NaN for probes that are missing or not in the gallery."""
    seen = np.isfinite(similarity)
    present = np.isfinite(np.diagonal(similarity))
    filled = np.where(seen, similarity, -np.inf)
    best = filled >= filled.max(axis=1, keepdims=True)
    best &= seen
    shares = best / np.maximum(best.sum(axis=1, keepdims=True), 1)
    return np.where(present[:, None], shares, np.nan)
