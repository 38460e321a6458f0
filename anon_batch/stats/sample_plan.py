"""How many images people must review so that a clean review proves "at most x % of the images show a missed face".

The bound holds for a sample in strata, drawn without replacement, in releases of any size. Of a release of N images, K show a
face that was missed; a stratum of N_h images gives n_h to the review. The number that the review finds is a sum of
hypergeometric variables, and each of these is a sum of at most min(K_h, n_h) independent Bernoulli variables (V. A. Vatutin,
V. G. Mikhailov, Limit theorems for the number of empty cells in an equiprobable scheme for group allocation of particles, Theory
of Probability and its Applications 27 (1982), 734-743); a reviewer who sees each with probability r thins them. So its mean is at
least f r K, f being the smallest n_h / N_h, and by W. Hoeffding (On the distribution of the number of successes in independent
trials, Annals of Mathematical Statistics 27 (1956), 713-721, theorem 4)

    P(found <= x | K) <= P(B <= x),   B binomial with m = min(K, n) trials of probability f r K / m,   for x <= f r K - 1 and for
    x = 0.

The upper bound is the largest K that this does not refute. For a large release and r = 1 it is Clopper and Pearson's bound: 299
clean images prove 1 %. A small release needs fewer images, and never more than all.

Strata are drawn in proportion to their size because then every f_h is the same: only the smallest one counts, as nobody knows
where the missed faces are. A stratum drawn more densely than the others costs work and proves nothing more.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from scipy.special import bdtr

from anon_batch.stats.counts import OTHER
from anon_batch.stats.exact import lower_bound

_ROUNDING = 1e-9


@dataclass(frozen=True, slots=True)
class SamplePlan:
    """Which numbers of images to review, and how many faces to plant among them.

    Args:
        claim: share of the images that show a missed face, at most, if the review is clean.
        confidence: least probability that the claim is refuted where it is false.
        strata: stratum -> images of the release.
        images: stratum -> images to review, at least one of each stratum that has any.
        pooled: strata that are too small to get an image of their own; together they are the stratum `other`.
        planted: faces to plant, each in an image that is shown in addition. 0: the reviewer is taken to see every face.
        missed: the claim is proven as long as the review finds no more images with missed faces than this.
        uncaught: and as long as the reviewer misses no more of the planted faces than this.
    """

    claim: float
    confidence: float
    strata: Mapping[str, int]
    images: Mapping[str, int]
    pooled: frozenset[str] = frozenset()
    planted: int = 0
    missed: int = 0
    uncaught: int = 0

    @property
    def total(self) -> int:
        """Return how many images are reviewed, without those that show planted faces."""
        return sum(self.images.values())

    def stratum(self, name: str) -> str:
        """Return the plan's stratum of the images of `name`."""
        return OTHER if name in self.pooled else name


def plan_sample(
    strata: Mapping[str, int],
    claim: float,
    confidence: float = 0.95,
    *,
    planted: int | None = None,
    missed: int = 0,
    uncaught: int = 0,
) -> SamplePlan:
    """Return the smallest sample whose review proves that at most a share of `claim` of the images shows a missed face.

    Plan once, before the review. A sample that is made larger because something was found has had two chances to pass, and the
    claim no longer has its confidence: anonymize what was missed, and review a fresh sample; or allow for some with `missed`.

    Args:
        strata: stratum -> images of the release, 0 or more. The numbers are rounded up, which costs less than one image for each
            stratum.
        claim: above 0, below 1.
        confidence: above 0, below 1.
        planted: faces to plant, which measure how many missed faces the reviewer sees; None for the number that makes images and
            planted faces together the fewest; 0 for none, and then the claim holds only for a reviewer who sees every face.
        missed: images with a missed face that the review may find.
        uncaught: planted faces that the reviewer may miss.

    Raises:
        ValueError: a number outside its range, or no sample of this release and with so many planted faces proves the claim.
    """
    _check(claim, confidence)
    if any(number < 0 for number in strata.values()) or min(missed, uncaught, planted or 0) < 0:
        raise ValueError("strata, planted, missed and uncaught must not be below 0")
    if planted == 0:
        plan = _smallest(strata, claim, confidence, missed, (0, 0))
    elif planted is not None:
        plan = _smallest(strata, claim, confidence, missed, (planted, uncaught))
    else:
        plan = _fewest_together(strata, claim, confidence, missed, uncaught)
    if plan is None:
        raise ValueError(
            f"no sample of {sum(strata.values())} images proves that at most {claim:g} show a missed face"
            + (f" with {planted} planted faces" if planted else "")
            + ": plant more faces, allow fewer misses, or raise the claimed share"
        )
    return plan


def missed_bound(
    missed: int, reviewed: Mapping[str, int], population: Mapping[str, int], confidence: float = 0.95
) -> float:
    """Return the upper bound of the share of images with a missed face, for a reviewer who sees every face.

    Args:
        missed: reviewed images in which a missed face was found.
        reviewed: stratum -> images reviewed, drawn at random from the stratum.
        population: stratum -> images of the release. A stratum of which nothing was reviewed may hold anything, so that
            the bound is near 1.
        confidence: least probability that the true share is not above the bound.

    Raises:
        ValueError: a number outside its range.
    """
    return _bound(missed, reviewed, population, 1.0, confidence)


def corrected_bound(
    missed: int,
    reviewed: Mapping[str, int],
    caught: int,
    planted: int,
    population: Mapping[str, int],
    confidence: float = 0.95,
) -> float:
    """Return the upper bound of the share of images with a missed face, corrected by how many planted faces were caught.

    The reviewer's catch rate is at least r, the exact lower bound of caught / planted; the share is bounded as for a reviewer
    who sees each missed face with probability r. Each of both bounds fails with at most half of 1 - confidence, so
    together they hold with `confidence` (Bonferroni). It holds as far as the planted faces are no easier to see than missed ones.

    Args:
        missed: as for `missed_bound`, as are the others.
        reviewed: stratum -> images reviewed.
        population: stratum -> images of the release.
        confidence: of both bounds together.
        caught: planted faces that the reviewer marked.
        planted: planted faces that the reviewer was shown. Without any nothing is known about the reviewer: the bound is 1.

    Raises:
        ValueError: a number outside its range.
    """
    half = (1 + confidence) / 2
    return _bound(missed, reviewed, population, lower_bound(caught, planted, half), half)


def _bound(
    missed: int, reviewed: Mapping[str, int], population: Mapping[str, int], catch_rate: float, confidence: float
) -> float:
    everything, total = sum(population.values()), sum(reviewed.values())
    if not 0 <= missed <= total or not 0 < confidence < 1:
        raise ValueError(f"{missed} of {total} at confidence {confidence}: expected 0 to {total}, and 0 to 1")
    if any(not 0 <= reviewed.get(name, 0) <= number for name, number in population.items()) or set(reviewed) - set(
        population
    ):
        raise ValueError("a stratum has fewer images than were reviewed of it")
    if not everything:
        return 0.0
    share = catch_rate * _smallest_share(reviewed, population)
    most = everything if catch_rate < 1 else missed + everything - total  # a perfect reviewer leaves only the others
    low, high = missed, most + 1  # `low` is not refuted; `high` is, or is more than there can be
    while high - low > 1:
        middle = (low + high) // 2
        if _refuted(middle, missed, total, share, 1 - confidence):
            high = middle
        else:
            low = middle
    return low / everything


def _refuted(images: int, missed: int, reviewed: int, share: float, error: float) -> bool:
    """Return whether a review that finds `missed` refutes that `images` show a missed face; see the module's text."""
    trials, mean = min(images, reviewed), share * images
    if not trials or (missed and missed > mean - 1):
        return False
    return float(bdtr(missed, trials, min(1.0, mean / trials))) <= error + _ROUNDING


def _smallest_share(reviewed: Mapping[str, int], population: Mapping[str, int]) -> float:
    return min(reviewed.get(name, 0) / number for name, number in population.items() if number)


def _smallest(
    strata: Mapping[str, int], claim: float, confidence: float, missed: int, plants: tuple[int, int]
) -> SamplePlan | None:
    """Return the plan with the fewest images for a number of planted faces and how many of them may be uncaught."""
    planted, uncaught = plants
    if uncaught > planted:
        return None
    everything = sum(strata.values())
    half = (1 + confidence) / 2 if planted else confidence
    catch_rate = lower_bound(planted - uncaught, planted, half) if planted else 1.0
    too_many = int(claim * everything + _ROUNDING) + 1

    def plan(images: int) -> SamplePlan:
        pooled, joined = _pool(strata, images)
        drawn = {name: -(-images * number // everything) for name, number in joined.items()}
        return SamplePlan(claim, confidence, joined, drawn, pooled, planted, missed, uncaught)

    def proves(own: SamplePlan) -> bool:
        share = catch_rate * _smallest_share(own.images, own.strata)
        return _refuted(too_many, missed, own.total, share, 1 - half) or (
            catch_rate == 1 and missed + everything - own.total < too_many
        )

    if not everything:
        return SamplePlan(claim, confidence, {}, {}, frozenset(), planted, missed, uncaught)
    images = _first(lambda number: proves(plan(number)), everything)
    return plan(images) if images is not None else None


def _fewest_together(
    strata: Mapping[str, int], claim: float, confidence: float, missed: int, uncaught: int
) -> SamplePlan | None:
    least = _smallest(strata, claim, (1 + confidence) / 2, missed, (0, 0))  # no number of planted faces makes it less
    if least is None or not least.total:
        return least
    best: SamplePlan | None = None
    planted = uncaught + 1
    while planted <= 1000 * (uncaught + 1):
        if best is not None and planted + least.total >= best.planted + best.total:
            break
        own = _smallest(strata, claim, confidence, missed, (planted, uncaught))
        if own is not None and (best is None or own.planted + own.total < best.planted + best.total):
            best = own
        planted += 1
    return best


def _pool(strata: Mapping[str, int], images: int) -> tuple[frozenset[str], dict[str, int]]:
    """Return the strata that would get less than one of `images`, and all strata with those as one."""
    everything = sum(strata.values())
    small = frozenset(name for name, number in strata.items() if number * images < everything)
    if len(small) < 2:
        small = frozenset()
    joined = {name: number for name, number in strata.items() if number and name not in small}
    if together := sum(strata[name] for name in small):
        joined[OTHER] = joined.get(OTHER, 0) + together
    return small, joined


def _first(holds: Callable[[int], bool], last: int) -> int | None:
    """Return the first of 1 .. last for which `holds` is true, which then is true for all that follow; None without."""
    if not holds(last):
        return None
    low, high = 0, last
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if holds(middle) else (middle, high)
    return high


def _check(claim: float, confidence: float) -> None:
    if not 0 < claim < 1 or not 0 < confidence < 1:
        raise ValueError(f"claim {claim} and confidence {confidence} must lie between 0 and 1")
