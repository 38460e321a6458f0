"""The watchdog kills a process that makes no progress, whatever it is stuck in, and no other."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, os, signal, sys, time
from anon_batch.cluster.watchdog import Watchdog
done = [0]
busy = sys.argv[1] != "idle"
watchdog = Watchdog(0.8, lambda: done[0] if busy else None)
begin = time.monotonic()
while time.monotonic() - begin < 1.6:
    time.sleep(0.05)
    done[0] += sys.argv[1] != "hang"
if sys.argv[1] == "stopped":
    os.kill(os.getpid(), signal.SIGSTOP)
if sys.argv[1] == "holds the interpreter":
    ctypes.PyDLL(None).sleep(60)
"""


def start(how: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", PROGRAM, how], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


@pytest.mark.parametrize("how", ["hang", "stopped", "holds the interpreter"])
def test_a_process_without_progress_is_killed(how: str) -> None:
    process = start(how)
    _, said = process.communicate(timeout=30)
    assert process.returncode == -signal.SIGKILL
    assert "no row was finished for 0.8 s: killing this worker; the shard will be retried" in said


@pytest.mark.parametrize("how", ["works", "idle"])
def test_a_process_with_progress_or_without_work_lives_and_takes_its_watchdog_along(how: str) -> None:
    process = start(how)
    _, said = process.communicate(timeout=30)  # ends when the watchdog, which inherits stderr, has ended, too
    assert (process.returncode, said) == (0, "")
