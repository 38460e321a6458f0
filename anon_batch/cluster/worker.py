"""The Ray actor: holds the models, takes shards, and ends itself when it hangs."""

from __future__ import annotations

import contextlib
import ctypes
import logging
import os
import threading
import time
import traceback

from anon_batch.errors import AnonBatchError
from anon_batch.pipeline.run import Run
from anon_batch.records import ShardResult, ShardSpec

log = logging.getLogger(__name__)
_WATCH_INTERVAL_S = 1.0
# Options of glibc's mallopt (malloc.h): M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX.
_MALLOC = ((-1, 256 << 20), (-4, 0), (-8, 1))


class ShardActor:
    """Takes one shard at a time.

    Every exception comes back as a result: Ray's answer to one that escapes is to drop blocks in silence or to retry for
    ever. A fault while the models are loaded is held back likewise, and ends the run as a message to the user.

    Args:
        run: what to do and where.
    """

    def __init__(self, run: Run) -> None:
        self._fault = ""
        try:
            limit_threads(max(1, int(run.config.engine.num_cpus)))
            keep_freed_memory()
            from anon_batch.pipeline.shard import ShardProcessor

            self._processor = ShardProcessor(run)
        except AnonBatchError as exc:
            self._fault = str(exc)
        except Exception:
            self._fault = traceback.format_exc()
        else:
            threading.Thread(target=self._watch, args=(run.config.engine.row_timeout_s,), daemon=True).start()

    def ready(self) -> bool:
        """Answers once the models are loaded, or have failed to."""
        return True

    def process(self, spec: ShardSpec) -> ShardResult:
        """One attempt at a shard."""
        if self._fault:
            return ShardResult(spec, "error", error=f"a worker could not start: {self._fault}", retryable=False)
        return self._processor.process(spec)

    def _watch(self, timeout_s: float) -> None:
        while True:
            time.sleep(_WATCH_INTERVAL_S)
            if self._processor.busy and time.monotonic() - self._processor.progress_at > timeout_s:
                log.critical(
                    "no row was finished for %.0f s: this worker ends itself, the shard is tried again", timeout_s
                )
                os.abort()  # sys.exit would leave Ray's pool waiting for the actor


def limit_threads(threads: int) -> None:
    """Libraries size their pools by the machine; an actor has only what it reserved."""
    import cv2
    import pyarrow as pa

    cv2.setNumThreads(threads)
    pa.set_cpu_count(threads)
    pa.set_io_thread_count(max(2, threads))
    os.environ["OMP_NUM_THREADS"] = str(threads)


def keep_freed_memory() -> None:
    """Has the C library reuse freed memory, whichever thread freed it, where it would give arrays of 12 megapixels back to
    the system, which takes CPU time to hand out fresh pages. More than 256 MB in one piece still go back. Libraries other
    than glibc are left as they are.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOC:
            mallopt(option, value)
