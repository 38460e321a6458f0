"""A small process beside a worker kills it when it makes no progress, whatever it is stuck in.

A thread of the worker would not do: it is stopped with its process (SIGSTOP, a frozen container), and waits for ever when native
code hangs with the interpreter lock held.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable

_MOST_BEATS_S = 1.0
# Because a worker that died closes the pipe, the process ends with it, and never kills another one that has its id.
_PROGRAM = """
import os, select, signal, sys
worker, timeout_s = int(sys.argv[1]), float(sys.argv[2])
while select.select([0], [], [], timeout_s)[0]:
    if not os.read(0, 4096):
        sys.exit()
print(f"no row was finished for {timeout_s:g} s: killing this worker; the shard will be retried", file=sys.stderr, flush=True)
os.kill(worker, signal.SIGKILL)
"""


class Watchdog:
    """Kill this process once `progress` has returned the same number for `timeout_s`.

    Args:
        timeout_s: longest time without progress.
        progress: returns a number that changes with each step of the work; None while there is nothing to do.
    """

    def __init__(self, timeout_s: float, progress: Callable[[], float | None]) -> None:
        self._progress = progress
        self._interval_s = min(_MOST_BEATS_S, timeout_s / 4)
        self._process = subprocess.Popen(
            [sys.executable, "-I", "-S", "-c", _PROGRAM, str(os.getpid()), str(timeout_s)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
        )
        threading.Thread(target=self._beat, name="watchdog", daemon=True).start()

    def _beat(self) -> None:
        pipe = self._process.stdin
        before: float | None = None
        with contextlib.suppress(OSError):  # the process is gone, e.g. killed by hand
            while pipe is not None:
                now = self._progress()
                if now is None or now != before:
                    os.write(pipe.fileno(), b".")
                before = now
                time.sleep(self._interval_s)
