"""The Ray actor: loads the models once, processes shards, and is killed when it hangs."""

from __future__ import annotations

import sys
import traceback
from typing import TYPE_CHECKING

from anon_batch.cluster.watchdog import Watchdog
from anon_batch.errors import AnonBatchError
from anon_batch.pipeline.run import Run
from anon_batch.process import keep_freed_memory, limit_threads
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.redaction import redact

if TYPE_CHECKING:
    from anon_batch.pipeline.shard import ShardProcessor


class ShardActor:
    """Processes one shard at a time.

    Every exception is returned as a result, because Ray retries a call that raises without end. An error while the models are
    loaded is kept and returned for the first shard; it stops the run with a message.

    Args:
        run: the run, with its configuration and addresses.
    """

    def __init__(self, run: Run) -> None:
        self._start_error, self._is_retryable = "", False
        self._processor: ShardProcessor | None = None
        try:
            self._watchdog = Watchdog(run.config.engine.row_timeout_s, self._progress)
            limit_threads(max(1, int(run.config.engine.num_cpus)))
            keep_freed_memory()
            from anon_batch.pipeline.shard import ShardProcessor

            self._processor = ShardProcessor(run)
        except AnonBatchError as exc:
            self._start_error, self._is_retryable = str(exc), exc.retryable
        except Exception as exc:
            sys.stderr.write(redact(traceback.format_exc()))  # into this worker's log, where Ray keeps it
            self._start_error = redact(f"{type(exc).__name__}: {exc} (the worker's log has the traceback)")

    def ready(self) -> bool:
        """Return once the models are loaded, or have failed to load."""
        return True

    def process(self, spec: ShardSpec) -> ShardResult:
        """Make one attempt at a shard."""
        if self._processor is None:
            message = f"a worker failed to start: {self._start_error}"
            return ShardResult(
                spec, "error", error=message, retryable=self._is_retryable, store_is_away=self._is_retryable
            )
        return self._processor.process(spec)

    def _progress(self) -> float | None:
        """Return when the last row was finished; None while no shard is in progress."""
        processor = self._processor
        return processor.progress_at if processor is not None and processor.busy else None
