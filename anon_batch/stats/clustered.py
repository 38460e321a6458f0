"""A share of things that come in clusters, such as faces in images: seven whole numbers that merge exactly, and an interval.

Faces in one image are dependent: the image that is too dark for the detector is so for all of its faces. So the interval counts
fewer faces than there are, n / deff (E. L. Korn, B. I. Graubard, Confidence intervals for proportions with small expected number
of positive counts estimated from survey data, Survey Methodology 24 (1998), 193-201): the design effect deff is the variance of
the share between images, divided by the variance that independent faces would have, and Clopper and Pearson's interval is that
of the smaller number. The variance is the linearised one of a ratio (W. G. Cochran, Sampling Techniques, 1977, section 6.3).

Few images with a miss say little about the dependence, and none say nothing. So the design effect is the mean of the measured
one, weighted with the number of those images, and of the largest there can be, where all faces of an image are alike, with
the weight of one (L. Kish, Survey Sampling, 1965). Simulated with clustered faces it covers the true share in 94.5 to 100 of 100
samples, with few misses and with many; a bootstrap over images covers it in 31 of 100 where misses are few, because
a sample without one gives the interval from 0 to 0. See docs/guides/missed-faces.md.
"""

from __future__ import annotations

from dataclasses import dataclass

from scipy.special import betaincinv, stdtrit


@dataclass(frozen=True, slots=True)
class ClusteredShare:
    """Sums over the images that hold at least one face.

    Args:
        images: with a face.
        hit_images: with a hit.
        faces: in all images.
        hits: faces of which the thing is true.
        faces_squared: sum over images of the square of the faces.
        hits_squared: of the hits.
        products: of faces times hits.
    """

    images: int = 0
    hit_images: int = 0
    faces: int = 0
    hits: int = 0
    faces_squared: int = 0
    hits_squared: int = 0
    products: int = 0

    @classmethod
    def of(cls, hits: int, faces: int) -> ClusteredShare:
        """Return the sums of one image; `faces` 0 gives the empty state."""
        if not 0 <= hits <= faces:
            raise ValueError(f"{hits} of {faces}: expected 0 to {faces}")
        return cls(int(faces > 0), int(hits > 0), faces, hits, faces * faces, hits * hits, faces * hits)

    def merge(self, other: ClusteredShare) -> ClusteredShare:
        """Return the sums of both; neither changes."""
        return ClusteredShare(*(a + b for a, b in zip(self.to_state(), other.to_state(), strict=True)))

    @property
    def share(self) -> float | None:
        """Return hits / faces; None without faces."""
        return self.hits / self.faces if self.faces else None

    @property
    def design_effect(self) -> float:
        """Return by what factor dependence within images widens the variance, at least 1."""
        if not self.faces:
            return 1.0
        most = self.faces_squared / self.faces
        if self.images < 2 or self.hits in (0, self.faces):
            return most
        share = self.hits / self.faces
        squares = self.hits_squared - 2 * share * self.products + share * share * self.faces_squared
        variance = self.images / (self.images - 1) * max(squares, 0.0) / self.faces**2
        measured = variance / (share * (1 - share) / self.faces)
        return max(1.0, (self.hit_images * measured + most) / (self.hit_images + 1))

    def interval(self, confidence: float = 0.95) -> tuple[float, float] | None:
        """Return the two-sided interval of the share; None without faces.

        Raises:
            ValueError: a confidence outside 0 to 1.
        """
        if not 0 < confidence < 1:
            raise ValueError(f"confidence {confidence} must lie between 0 and 1")
        if not self.faces:
            return None
        tail = (1 - confidence) / 2
        number = self.faces / self.design_effect
        if self.images > 1 and 0 < self.hits < self.faces:  # because the variance was estimated from so few images
            number *= float(stdtrit(self.faces - 1, 1 - tail) / stdtrit(self.images - 1, 1 - tail)) ** 2
        hits = number * self.hits / self.faces
        low = 0.0 if not self.hits else float(betaincinv(hits, number - hits + 1, tail))
        high = 1.0 if self.hits == self.faces else float(betaincinv(hits + 1, number - hits, 1 - tail))
        return low, high

    def to_state(self) -> list[int]:
        """Return a JSON value."""
        sums = (self.images, self.hit_images, self.faces, self.hits)
        return [*sums, self.faces_squared, self.hits_squared, self.products]

    @classmethod
    def from_state(cls, state: list[int]) -> ClusteredShare:
        """Return what `to_state` wrote.

        Raises:
            ValueError, TypeError: anything else.
        """
        if not all(type(number) is int and number >= 0 for number in state):
            raise ValueError(f"{str(state)[:80]}: expected whole numbers from 0")
        own = cls(*state)
        ordered = own.hit_images <= own.images <= own.faces and own.hit_images <= own.hits <= own.faces
        if not ordered or bool(own.images) != bool(own.faces) or bool(own.hit_images) != bool(own.hits):
            raise ValueError(f"{state}: sums that contradict each other")
        return own
