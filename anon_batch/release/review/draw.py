"""The sample of a review: which outputs people look at, and which are left for planted faces."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from anon_batch.errors import ConfigError
from anon_batch.formats.release import Release
from anon_batch.formats.run_json import RunJson
from anon_batch.release.review.sample import Candidate, Output, read_candidates, sample_digest
from anon_batch.stats.sample_plan import SamplePlan, plan_sample

CONFIDENCE = 0.95
_ENDLESS = 10**9  # images of a release whose size does not matter


@dataclass(frozen=True, slots=True)
class ReviewSettings:
    """What a review is to prove; with a release it decides the sample.

    Args:
        claim: share of the outputs that show a missed region, at most.
        seed: of the sample.
        allow_missed: outputs with a missed region that may be found.
        allow_uncaught: planted faces that the reviewer may miss.
    """

    claim: float = 0.01
    seed: int = 0
    allow_missed: int = 0
    allow_uncaught: int = 2

    def __post_init__(self) -> None:
        if not 0 < self.claim < 1:
            raise ConfigError(f"--claim {self.claim:g}: expected a share above 0 and below 1, for example 0.01 for 1 %")
        if min(self.seed, self.allow_missed, self.allow_uncaught) < 0:
            raise ConfigError("--seed, --allow-missed and --allow-uncaught must not be below 0")

    def to_json(self) -> dict[str, Any]:
        """Return the settings as JSON."""
        return {name: getattr(self, name) for name in ("claim", "seed", "allow_missed", "allow_uncaught")}


@dataclass(frozen=True, slots=True)
class Sample:
    """The sample of a release.

    Args:
        run_id: of the run that wrote the release.
        name: of its job.
        settings: what decides it.
        plan: how many outputs of which stratum.
        outputs: to review, in random order.
        spare: others, in random order, in which faces can be planted; empty where all are reviewed.
    """

    run_id: str
    name: str
    settings: ReviewSettings
    plan: SamplePlan
    outputs: Sequence[Output]
    spare: Sequence[Output]

    @property
    def sha256(self) -> str:
        """Digest of the sampled outputs' ids and files."""
        return sample_digest(self.outputs)

    @property
    def outputs_count(self) -> int:
        """Number of outputs of the whole release."""
        return sum(self.plan.strata.values())


def draw_sample(
    release: Release, settings: ReviewSettings, progress: Callable[[int, int], None] = lambda _done, _all: None
) -> Sample:
    """Draw the sample of a finished release; the same settings give the same one.

    Args:
        release: on storage.
        settings: of the review.
        progress: receives rows read and rows of the release.

    Raises:
        ConfigError: there is no finished release, it holds no image, or none of its samples proves the claim.
        IntegrityError: it is damaged.
    """
    record = finished(release)
    largest = _plan({"": _ENDLESS}, settings)
    most = largest.total + largest.planted
    candidates = read_candidates(release, settings.seed, most, lambda rows: progress(rows, record.rows))
    plan = _plan(candidates.sizes, settings)
    pooled: dict[str, list[Candidate]] = {}
    for name, own in candidates.first.items():
        pooled.setdefault(plan.stratum(name), []).extend(own)
    chosen: list[Candidate] = []
    spare: list[Candidate] = []
    for name, several in pooled.items():
        several.sort(key=_order)
        chosen += several[: plan.images[name]]
        spare += several[plan.images[name] :]
    ordered = ([own.output for own in sorted(some, key=_order)] for some in (chosen, spare))
    outputs, others = ordered
    return Sample(record.run_id, record.name, settings, plan, outputs, list(itertools.islice(others, most)))


def finished(release: Release) -> RunJson:
    """Return the run.json of a finished release.

    Raises:
        ConfigError: there is no release, or it is not finished.
        IntegrityError: run.json is damaged.
    """
    record = release.read_run_json()
    if not record.is_finished:
        raise ConfigError(
            f"{release.uri}: this run is not finished, and a sample of a part says nothing about the whole; run the same job "
            "again to resume it (`anon-batch status` shows its progress)"
        )
    return record


def _plan(sizes: Mapping[str, int], settings: ReviewSettings) -> SamplePlan:
    try:
        return plan_sample(
            sizes,
            settings.claim,
            CONFIDENCE,
            missed=settings.allow_missed,
            uncaught=settings.allow_uncaught,
        )
    except ValueError as exc:
        raise ConfigError(f"--claim {settings.claim:g}: {exc}") from None


def _order(own: Candidate) -> tuple[int, str]:
    return own.place, own.output.image_id
