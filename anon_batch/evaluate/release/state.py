"""What was measured on some rows of a release: numbers only, in a form that merges."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from anon_batch.evaluate.release.precision import PrecisionState
from anon_batch.evaluate.release.residual import ResidualState
from anon_batch.evaluate.utility.state import UtilityState
from anon_batch.stats import counts


@dataclass(frozen=True, slots=True)
class ReleaseState:
    """All measures of some rows. Merging is exact, associative and commutative, with the empty state as identity.

    Features of originals in `utility` are personal data: a state stays in memory, and only what is computed from it is written.

    Args:
        statuses: status in the release -> sampled rows.
        unread: reason -> sampled rows whose source could not be read or decoded again, or differs from what the run read.
        unmeasured: reason -> sampled rows that could not be measured.
        precision, residual, utility: what was measured.
    """

    statuses: Mapping[str, int] = field(default_factory=dict)
    unread: Mapping[str, int] = field(default_factory=dict)
    unmeasured: Mapping[str, int] = field(default_factory=dict)
    precision: PrecisionState = field(default_factory=PrecisionState)
    residual: ResidualState = field(default_factory=ResidualState)
    utility: UtilityState = field(default_factory=UtilityState)

    @property
    def rows(self) -> int:
        """Number of sampled rows."""
        return sum(self.statuses.values())

    def merge(self, other: ReleaseState) -> ReleaseState:
        """Return the sum of both; neither changes."""
        return ReleaseState(
            counts.add(self.statuses, other.statuses),
            counts.add(self.unread, other.unread),
            counts.add(self.unmeasured, other.unmeasured),
            self.precision.merge(other.precision),
            self.residual.merge(other.residual),
            self.utility.merge(other.utility),
        )
