"""OpenLineage events of a run: one OpenLineage run for each start of the driver, all with the same parent."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable

from anon_batch.pipeline.lineage import LineageRun, Sink, open_sink
from anon_batch.pipeline.lineage_datasets import manifest_of, release_at
from anon_batch.pipeline.observers import Ending
from anon_batch.pipeline.run import Run
from anon_batch.records import ShardResult


class RunLineage:
    """Sends the events; an `Observer` of the driver. A driver that is killed leaves its START without an end.

    Args:
        run: the run.
        sink: where they go.
    """

    def __init__(self, run: Run, sink: Sink) -> None:
        self._run = run
        self._events = LineageRun(sink, run.config.name, "run", run.plan.run_id, run.invocation)

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None:
        """Send START."""
        self._events.start([manifest_of(run.plan)], [release_at(run.release.uri, 1)])

    def shard(self, result: ShardResult) -> None:
        """Nothing, because events are about the whole run."""

    def note(self, text: str) -> None:
        """Nothing, because events hold no messages."""

    def workers(self, number: int) -> None:
        """Nothing."""

    def ended(self, ending: Ending) -> None:
        """Send how it ended, with the figures of the release if it finished."""
        self._events.end(
            ending, [manifest_of(self._run.plan)], [release_at(self._run.release.uri, 1, stats=ending.stats)]
        )


def lineage_of(run: Run, warn: Callable[[str], None]) -> list[RunLineage]:
    """Return the observer that sends events of a run, if the environment names a place for them."""
    sink = open_sink(warn)
    return [] if sink is None else [RunLineage(run, sink)]
