"""What is known of a run's committed rows while it runs: rows by status, and the gates that can be evaluated meanwhile."""

from __future__ import annotations

from collections import Counter

from anon_batch.config import GatesConfig
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.release import Release
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline.gates import evaluate_gates
from anon_batch.shards import effective
from anon_batch.stats import ShardStats, summarise

_KNOWN_MEANWHILE = ("withheld", "failed", "residual")  # the others need all rows, or what is measured after the run


class Totals:
    """Sums over commits, of the counts alone, because whole statistics would take the driver too long to merge."""

    def __init__(self) -> None:
        self._rows = 0
        self._statuses: Counter[str] = Counter()
        self._reasons: Counter[str] = Counter()
        self._checks: Counter[str] = Counter()

    @classmethod
    def read(cls, release: Release) -> Totals:
        """Return the totals of all rows that are committed.

        Raises:
            IntegrityError: a part is damaged.
        """
        totals = cls()
        for _, meta in release.read_metas(effective(release.parts())):
            totals.add(ShardStats.from_json(meta.stats))
        return totals

    @property
    def statuses(self) -> dict[str, int]:
        """Status -> rows."""
        return dict(self._statuses)

    def add(self, stats: ShardStats) -> None:
        """Add a commit."""
        self._rows += stats.rows
        self._statuses.update(stats.statuses)
        self._reasons.update(stats.reasons)
        self._checks.update(stats.checks)

    def gates(self, limits: GatesConfig) -> Gates:
        """Return the gates that the committed rows alone decide."""
        known = ShardStats(
            rows=self._rows, statuses=self.statuses, reasons=dict(self._reasons), checks=dict(self._checks)
        )
        gates = evaluate_gates(StatsJson(summarise(known)), limits)
        return Gates(tuple(own for own in gates.results if own.name in _KNOWN_MEANWHILE))
