"""The Ray actor of a run: loads the models once, processes shards, and is killed when it hangs."""

from __future__ import annotations

from typing import TYPE_CHECKING

from anon_batch.cluster.actor import Actor
from anon_batch.pipeline.run import Run
from anon_batch.records import ShardResult, ShardSpec

if TYPE_CHECKING:
    from anon_batch.pipeline.shard import ShardProcessor


class ShardActor(Actor["ShardProcessor"]):
    """Processes one shard at a time. Every exception is returned as a result.

    An error while the models are loaded is returned for the first shard; it stops the run with a message.

    Args:
        run: the run, with its configuration and addresses.
    """

    def __init__(self, run: Run) -> None:
        super().__init__(run.config.engine, lambda: _load(run))

    def process(self, spec: ShardSpec) -> ShardResult:
        """Make one attempt at a shard."""
        if self.worker is None:
            away = self.start_is_retryable
            return ShardResult(
                spec, "error", error=self.start_error, retryable=away, store_is_away=away, code=self.start_code
            )
        return self.worker.process(spec)


def _load(run: Run) -> ShardProcessor:
    from anon_batch.pipeline.shard import ShardProcessor  # here, because it loads the networks' libraries

    return ShardProcessor(run)
