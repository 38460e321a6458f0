"""Settings of the whole process: threads of libraries, memory allocator, signals."""

from __future__ import annotations

import contextlib
import ctypes
import math
import os
import signal
import threading
from collections.abc import Iterator

from anon_batch.errors import StoppedError, TerminatedError

# Options of glibc's mallopt (malloc.h): M_TRIM_THRESHOLD, M_MMAP_MAX, M_ARENA_MAX.
_MALLOC_OPTIONS = ((-1, 256 << 20), (-4, 0), (-8, 1))
_CLEAN_UP_S = 5.0  # of a notice, because Ray takes a while to end
_IN_A_RAY_JOB, _STOP_WAIT, _STOP_WAIT_S = "RAY_JOB_CONFIG_JSON_ENV_VAR", "RAY_JOB_STOP_WAIT_TIME_S", 3.0  # Ray's own


def limit_threads(threads: int) -> None:
    """Set the thread pools of OpenCV, Arrow and OpenMP to `threads`.

    By default these libraries start a thread for each CPU of the machine, but an actor owns only the CPUs that it reserved.
    """
    import cv2
    import pyarrow as pa

    cv2.setNumThreads(threads)
    pa.set_cpu_count(threads)
    pa.set_io_thread_count(max(2, threads))
    os.environ["OMP_NUM_THREADS"] = str(threads)


def keep_freed_memory() -> None:
    """Make glibc reuse freed memory of up to 256 MB instead of returning it to the system.

    Returned pages have to be faulted in again for the next large image, which costs CPU time. Other C libraries keep
    their defaults.
    """
    with contextlib.suppress(OSError, AttributeError):
        mallopt = ctypes.CDLL(None).mallopt
        for option, value in _MALLOC_OPTIONS:
            mallopt(option, value)


class Notice:
    """SIGTERM as a notice: work may end by itself for a while before the block is unwound.

    Args:
        seconds: between SIGTERM and the end of the machine; too few leave no time to wait.
        hint: what the user can do next.

    Attributes:
        given: whether SIGTERM arrived, so that nothing new should be started.
    """

    def __init__(self, seconds: float = 0.0, hint: str = "") -> None:
        self._wait_s = seconds - _CLEAN_UP_S
        self._hint = hint
        self.given = False

    def __call__(self, *_: object) -> None:
        """Handle SIGTERM; a second one ends the wait."""
        again, self.given = self.given, True  # first, because an error that is raised inside a destructor is ignored
        if again or self._wait_s <= 0:
            raise KeyboardInterrupt  # unwinds the stack like Ctrl-C
        signal.signal(signal.SIGALRM, _interrupt)
        signal.setitimer(signal.ITIMER_REAL, self._wait_s)

    def stops(self) -> TerminatedError | None:
        """Return the error that ends the work, now that nothing new should be started; None to go on."""
        return (
            TerminatedError(f"terminated by SIGTERM, after the work in flight ended{self._hint}")
            if self.given
            else None
        )

    def end(self) -> None:
        """Stop the clock."""
        if self.given:
            signal.setitimer(signal.ITIMER_REAL, 0)


@contextlib.contextmanager
def stoppable(hint: str = "", notice_s: float = 0.0) -> Iterator[Notice]:
    """Turn signals that arrive in the block into errors with an exit code, after the block has cleaned up.

    Args:
        hint: what the user can do next; appended to the message.
        notice_s: seconds between SIGTERM and the end of the machine.

    Yields:
        Says whether SIGTERM arrived; the block may end by itself before the notice is over.

    Raises:
        StoppedError: SIGINT.
        TerminatedError: SIGTERM.
    """
    previous, notice = None, Notice(min(notice_s, _most_notice_s()), hint)
    if in_main_thread := threading.current_thread() is threading.main_thread():
        previous = signal.signal(signal.SIGTERM, notice)
    try:
        yield notice
    except KeyboardInterrupt:
        if notice.given:  # no class of its own tells, because Ray raises a new KeyboardInterrupt in place of any
            raise TerminatedError(f"terminated by SIGTERM{hint}") from None
        raise StoppedError(f"interrupted{hint}") from None
    finally:
        if in_main_thread:
            notice.end()
            signal.signal(signal.SIGTERM, previous)


def _most_notice_s() -> float:
    """Return how long after SIGTERM this process may live: without limit, but in a Ray job what Ray waits before SIGKILL."""
    if _IN_A_RAY_JOB not in os.environ:
        return math.inf
    with contextlib.suppress(ValueError):
        return float(os.environ.get(_STOP_WAIT, _STOP_WAIT_S))
    return _STOP_WAIT_S


def _interrupt(*_: object) -> None:
    raise KeyboardInterrupt
