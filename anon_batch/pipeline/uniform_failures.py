"""Notice that every row of a run fails for one reason, because no further row would end in another way."""

from __future__ import annotations

from anon_batch.errors import RunStoppedError
from anon_batch.formats import layout
from anon_batch.formats.release import Release
from anon_batch.reasons import REASONS
from anon_batch.records import ShardResult

_LOST_SHARDS = 10  # many, because one row that kills its worker loses the attempts of its whole shard
_REGARDLESS = "To go on regardless, set engine.stop_after_uniform_failures=0"


class UniformFailures:
    """Watch the shards of one start of the driver; what earlier starts committed does not count.

    Args:
        limit: rows that must have failed alike before the run stops; 0 or None never stops it.
    """

    def __init__(self, limit: int | None) -> None:
        self._limit = limit or 0
        self._watching = self._limit > 0
        self._reason: str | None = None
        self._failed: list[ShardResult] = []
        self._lost: list[ShardResult] = []

    @property
    def reached(self) -> bool:
        """Whether enough failed alike: no shard should be started. One in flight may still show another end."""
        return self._watching and (_rows(self._failed) >= self._limit or self._lost_too_many)

    def add(self, result: ShardResult) -> None:
        """Count a shard."""
        if self._watching and result.outcome == "exhausted":
            self._lost.append(result)
        elif self._watching and result.outcome == "committed":
            self._add_commit(result)

    def _add_commit(self, result: ShardResult) -> None:
        reason = next(iter(result.reasons), None)
        if result.reasons.get(reason or "") != result.spec.count or self._reason not in (None, reason):
            self._watching = False  # because one row that ends in another way shows that others may, too
            return
        self._reason = reason
        self._failed.append(result)

    @property
    def _lost_too_many(self) -> bool:
        return not self._failed and len(self._lost) >= _LOST_SHARDS and _rows(self._lost) >= self._limit

    def stop(self, release: Release) -> RunStoppedError:
        """Withdraw the commits of the rows that failed, so that a resumed run tries them again; return the error to raise."""
        release.delete(layout.provenance_part(result.spec.name) for result in self._failed)
        return RunStoppedError(self._describe_failures() if self._failed else self._describe_losses())

    def _describe_failures(self) -> str:
        first = min(self._failed, key=lambda result: result.spec.start)
        reason = REASONS[self._reason or ""]
        return (
            f"stopped, because all {_rows(self._failed):,} rows so far ended as {reason.status}({reason.code}): "
            f"{reason.meaning}. The first is {first.first_without_output!r}; the ledger's audit has the details. To fix it: "
            f"{reason.fix}; then run the same command again, which tries these rows again. {_REGARDLESS}"
        )

    def _describe_losses(self) -> str:
        first = min(self._lost, key=lambda result: result.spec.start).spec
        return (
            f"stopped, because no attempt at the first {len(self._lost)} shards ({_rows(self._lost):,} rows, the first is row "
            f"{first.start}) could be committed: each ended its worker's process or failed. A crashing plug-in or too little "
            "memory are likely; see the notes above and the workers' logs. To fix it: correct the plug-in, lower "
            "detect.batch_size and engine.read_ahead, or give a worker more memory; then run the same command again. "
            f"{_REGARDLESS}"
        )


def _rows(results: list[ShardResult]) -> int:
    return sum(result.spec.count for result in results)
