"""What all Ray actors of this package share: they load once, never raise, and end their process when they hang."""

from __future__ import annotations

import sys
import time
import traceback
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from anon_batch.cluster.watchdog import Watchdog
from anon_batch.config.engine import EngineConfig
from anon_batch.errors import AnonBatchError, ExitCode, error_code
from anon_batch.process import keep_freed_memory, limit_threads
from anon_batch.redaction import redact


class Worker(Protocol):
    """Does tasks in an actor.

    Attributes:
        progress_at: when it last got further, by the monotonic clock.
        busy: whether a task is in progress.
    """

    progress_at: float
    busy: bool


_Worker = TypeVar("_Worker", bound=Worker)


class Actor(Generic[_Worker]):
    """An actor around one worker.

    Because Ray retries a call that raises without end, an error while the worker is built is kept, for the first task to return.

    Args:
        engine: threads, and the time after which a task without progress ends the process.
        build: returns the worker; loads the models.

    Attributes:
        worker: None if it could not be built.
        start_error: why it could not; empty if it could.
        start_exit_code: of that error.
        start_is_retryable: whether another try may succeed.
        start_code: code of that error.
    """

    def __init__(self, engine: EngineConfig, build: Callable[[], _Worker]) -> None:
        began = time.monotonic()
        self.worker: _Worker | None = None
        self.start_error, self.start_exit_code, self.start_is_retryable = "", int(ExitCode.UNEXPECTED), False
        self.start_code = ""
        try:
            self._watchdog = Watchdog(engine.row_timeout_s, self._progress)
            limit_threads(max(1, int(engine.num_cpus)))
            keep_freed_memory()
            self.worker = build()
        except AnonBatchError as exc:
            self.start_exit_code, self.start_is_retryable, self.start_code = (
                int(exc.exit_code),
                exc.retryable,
                error_code(exc),
            )
            self.start_error = f"a worker failed to start: {exc}"
        except Exception as exc:
            sys.stderr.write(redact(traceback.format_exc()))  # into this worker's log, where Ray keeps it
            what, self.start_code = redact(f"{type(exc).__name__}: {exc}"), error_code(exc)
            self.start_error = f"a worker failed to start: {what} (the worker's log has the traceback)"
        self._start_s = time.monotonic() - began

    def ready(self) -> float:
        """Return the seconds that the start took, once the models are loaded or have failed to load."""
        return self._start_s

    def _progress(self) -> float | None:
        """Return when the worker last got further; None while no task is in progress."""
        return self.worker.progress_at if self.worker is not None and self.worker.busy else None
