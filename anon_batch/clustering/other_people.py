"""How alike different people look in a data set: faces of one image, which are different people by construction.

Thresholds from portraits are wrong elsewhere: of two faces in one street photograph about 1 % have a cosine above 0.5 where
2,550 pairs of portraits have none. So the rate of false pairs is measured on the images themselves. Beyond the largest similarity
seen it is continued by an exponential tail of Fisher's z, the inverse hyperbolic tangent of the cosine: the excess over a high
quantile keeps its mean (Embrechts, Klueppelberg and Mikosch 1997, "Modelling extremal events", section 6.5, with shape 0).
Between directions that are spread evenly over d dimensions, z has a density proportional to sech(z)**(d - 1). Its tail is
exponential, and the rate of decay rises towards it, so that a tail fitted nearer by gives too many false pairs: the safe error.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np

from anon_batch.clustering.neighbours import Features, Numbers, Values, cosines_of_pairs
from anon_batch.geometry import pairwise_iou
from anon_batch.keys import generator
from anon_batch.records import FloatArray

MIN_PAIRS, MIN_IMAGES = 200, 30  # below which no rate is estimated
MOST_PAIRS = 45  # of one image, those of ten faces, because pairs of a crowd are not independent
TWICE = 0.9  # cosine from which two faces of one image are one person: a mirror, a collage, a poster
_TAIL = 0.05  # share of the pairs that the tail is fitted to
_LEAST_TAIL = 20  # pairs in it
_RESAMPLES = 200
_MOST_USED = 50_000  # pairs, so that the resamples take little memory
_GRID = np.round(np.arange(0.2, 0.951, 0.01), 2)


class Expected(NamedTuple):
    """Expected number of false pairs: estimate, and 95 % interval from resampling the images."""

    value: float
    low: float
    high: float


@dataclass(frozen=True, eq=False)
class OtherPeople:
    """Similarities of faces of one image.

    Args:
        similarity: (M,) cosines, ascending.
        images: (M,) number of the image of each pair.
        doubles: pairs that were left out, because their boxes overlap: one face found twice.
        twice: pairs that were left out, because they show one person twice.
    """

    similarity: Values
    images: Numbers
    doubles: int
    twice: int

    @property
    def is_enough(self) -> bool:
        """Whether a rate can be estimated."""
        own = self.counts()
        return own["pairs"] >= MIN_PAIRS and own["images"] >= MIN_IMAGES

    def counts(self) -> dict[str, int]:
        """Return what the estimate comes from."""
        images = len(np.unique(self.images))
        return {"pairs": len(self.similarity), "images": images, "doubles": self.doubles, "twice": self.twice}

    def expected(self, threshold: float, pairs: int) -> Expected:
        """Return how many of `pairs` pairs of different people have at least this cosine."""
        rates = pairs * np.array([tail.rate(threshold) for tail in self._tails])
        low, high = np.percentile(rates[1:], (2.5, 97.5))
        return Expected(float(rates[0]), float(min(low, rates[0])), float(max(high, rates[0])))

    def threshold(self, pairs: int, most: float) -> float | None:
        """Return the least threshold, above 99 % of the pairs, at which at most `most` are expected; None above 0.95."""
        least, tail = float(np.quantile(self.similarity, 0.99)), self._tails[0]
        return next((float(t) for t in _GRID if t >= least and pairs * tail.rate(float(t)) <= most), None)

    @cached_property
    def _tails(self) -> list[_Tail]:
        """The tail of all pairs, then those of resamples of the images."""
        _, image = np.unique(self.images, return_inverse=True)
        n = int(image.max()) + 1
        draws = generator(0).multinomial(n, np.full(n, 1 / n), size=_RESAMPLES)
        return [_fit(self.similarity, np.asarray(own[image], np.float64)) for own in (np.ones(n), *draws)]


def find_other_people(features: Features, images: Numbers, boxes: FloatArray) -> OtherPeople:
    """Return the pairs of faces of one image.

    Args:
        features: (N, D) of length 1.
        images: (N,) number of the image of each face, ascending.
        boxes: (N, 4) xyxy, px.
    """
    order = np.split(np.arange(len(images)), np.flatnonzero(np.diff(images)) + 1)
    first, second, doubles = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], 0
    for faces in (own for own in order if len(own) > 1):
        one, other = np.triu_indices(len(faces), 1)
        apart = pairwise_iou(boxes[faces], boxes[faces])[one, other] <= 0
        doubles += int((~apart).sum())
        one, other = one[apart], other[apart]
        chosen = (
            np.unique(np.linspace(0, len(one) - 1, min(len(one), MOST_PAIRS)).round().astype(np.int64))
            if len(one)
            else one
        )
        first.append(faces[one[chosen]])
        second.append(faces[other[chosen]])
    left, right = np.concatenate(first), np.concatenate(second)
    similarity = cosines_of_pairs(features, left, right)
    strange = similarity < TWICE
    own_images, similarity = images[left[strange]], similarity[strange]
    twice = int((~strange).sum())
    if len(similarity) > _MOST_USED:  # those of images that are evenly spread
        names = np.unique(own_images)
        wanted = names[:: math.ceil(len(similarity) / _MOST_USED)]
        used = np.isin(own_images, wanted)
        own_images, similarity = own_images[used], similarity[used]
    rising = np.argsort(similarity, kind="stable")
    return OtherPeople(similarity[rising], own_images[rising], doubles, twice)


def pairs_compared(images: Numbers, groups: Numbers) -> int:
    """Return the number of pairs of faces of one group and of different images."""
    of_groups = np.unique(groups, return_counts=True)[1].astype(object)
    of_images = np.unique(images, return_counts=True)[1].astype(object)
    return int(sum(n * (n - 1) // 2 for n in of_groups) - sum(n * (n - 1) // 2 for n in of_images))


@dataclass(frozen=True, slots=True, eq=False)
class _Tail:
    """How similarities are distributed.

    Args:
        similarity: (M,) ascending.
        above: (M,) share of the pairs with at least this similarity.
        start: from this z on the tail counts.
        share: of the pairs in it.
        excess: mean of z over `start` in it.
    """

    similarity: Values
    above: Values
    start: float
    share: float
    excess: float

    def rate(self, threshold: float) -> float:
        """Return the share of the pairs with at least this similarity."""
        if (over := math.atanh(threshold) - self.start) > 0:
            return self.share * math.exp(-over / self.excess) if self.excess > 0 else 0.0
        return float(self.above[int(np.searchsorted(self.similarity, threshold))])


def _fit(similarity: Values, weights: Values) -> _Tail:
    above = np.cumsum(weights[::-1])[::-1] / weights.sum()
    share = max(_TAIL, _LEAST_TAIL / len(similarity))
    at = int(np.searchsorted(-above, -share))
    z, own = np.arctanh(similarity[at:]), weights[at:]
    return _Tail(similarity, above, float(z[0]), float(above[at]), float((own * (z - z[0])).sum() / own.sum()))
