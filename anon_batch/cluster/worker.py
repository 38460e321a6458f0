"""The Ray actor: loads the models once, processes shards, and aborts its process when it hangs."""

from __future__ import annotations

import logging
import os
import threading
import time
import traceback

from anon_batch.errors import AnonBatchError
from anon_batch.pipeline.run import Run
from anon_batch.process import keep_freed_memory, limit_threads
from anon_batch.records import ShardResult, ShardSpec

log = logging.getLogger(__name__)
_WATCH_INTERVAL_S = 1.0


class ShardActor:
    """Processes one shard at a time.

    Every exception is returned as a result, because Ray retries a call that raises without end. An error while the models are
    loaded is kept and returned for the first shard; it stops the run with a message.

    Args:
        run: the run, with its configuration and addresses.
    """

    def __init__(self, run: Run) -> None:
        self._start_error = ""
        try:
            limit_threads(max(1, int(run.config.engine.num_cpus)))
            keep_freed_memory()
            from anon_batch.pipeline.shard import ShardProcessor

            self._processor = ShardProcessor(run)
        except AnonBatchError as exc:
            self._start_error = str(exc)
        except Exception:
            self._start_error = traceback.format_exc()
        else:
            threading.Thread(target=self._watch, args=(run.config.engine.row_timeout_s,), daemon=True).start()

    def ready(self) -> bool:
        """Return once the models are loaded, or have failed to load."""
        return True

    def process(self, spec: ShardSpec) -> ShardResult:
        """Make one attempt at a shard."""
        if self._start_error:
            return ShardResult(spec, "error", error=f"a worker failed to start: {self._start_error}", retryable=False)
        return self._processor.process(spec)

    def _watch(self, timeout_s: float) -> None:
        while True:
            time.sleep(_WATCH_INTERVAL_S)
            if self._processor.busy and time.monotonic() - self._processor.progress_at > timeout_s:
                log.critical(
                    "no row was finished for %.0f s: aborting this worker; the shard will be retried", timeout_s
                )
                os.abort()  # because sys.exit in a thread would not end the process
