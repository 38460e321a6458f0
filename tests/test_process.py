"""Freed memory stays with the process: an image as large as the last one needs no fresh pages."""

import os
import platform
import subprocess
import sys

import pytest

PROGRAM = """
import ctypes, mmap, resource, sys, threading
from anon_batch.process import keep_freed_memory
if sys.argv[1] == "kept":
    keep_freed_memory()
libc = ctypes.CDLL(None)
libc.malloc.restype, libc.malloc.argtypes, libc.free.argtypes = ctypes.c_void_p, [ctypes.c_size_t], [ctypes.c_void_p]
size = 36 << 20  # 12 megapixels

def touch():
    place = libc.malloc(size)
    ctypes.memset(place, 1, size)
    libc.free(place)

def in_a_thread():
    thread = threading.Thread(target=touch)
    thread.start()
    thread.join()

for _ in range(4):
    in_a_thread()
before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
for _ in range(4):
    in_a_thread()
print(4 * size // mmap.PAGESIZE, resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


@pytest.mark.skipif(platform.libc_ver()[0] != "glibc", reason="an option of glibc")
def test_fresh_pages_are_taken_once():
    def faults(how):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM, how], capture_output=True, text=True, check=True, timeout=60
        )
        pages, found = map(int, done.stdout.split())
        return found / pages

    assert faults("kept") < 0.01
    if faults("given back") < 0.02:
        pytest.skip("huge pages hide the difference here")


NOTICE = """
import os, signal, sys, time
from anon_batch.errors import AnonBatchError
from anon_batch.process import stoppable
begin = time.monotonic()
try:
    with stoppable(notice_s=float(sys.argv[1])) as notice:
        os.kill(os.getpid(), signal.SIGTERM)
        while time.monotonic() - begin < float(sys.argv[2]):
            time.sleep(0.01)
        if len(sys.argv) > 3:
            os.kill(os.getpid(), signal.SIGTERM)
        print("ended by itself", notice.given)
except AnonBatchError as exc:
    print(type(exc).__name__, round(time.monotonic() - begin, 1))
time.sleep(0.3)  # no late alarm
"""


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("0", "9"), "TerminatedError 0.0"),
        (("3", "9"), "TerminatedError 0.0"),
        (("5.2", "9"), "TerminatedError 0.2"),
        (("120", "0.1"), "ended by itself True"),
        (("120", "0.1", "again"), "TerminatedError 0.1"),
    ],
)
def test_a_notice_leaves_time_to_end(arguments, said):
    """SIGTERM unwinds at once, or five seconds before the machine goes away; a second one unwinds at once."""
    done = subprocess.run([sys.executable, "-c", NOTICE, *arguments], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, said, "")


@pytest.mark.parametrize(
    ("variables", "said"),
    [
        ({}, "TerminatedError 0.0"),
        ({"RAY_JOB_STOP_WAIT_TIME_S": "5.3"}, "TerminatedError 0.3"),
        ({"RAY_JOB_STOP_WAIT_TIME_S": "soon"}, "TerminatedError 0.0"),
    ],
)
def test_a_ray_job_has_no_more_notice_than_ray_gives(variables, said):
    """Ray sends SIGKILL 3 s after SIGTERM, or after what the cluster's variable says."""
    env = {**os.environ, "RAY_JOB_CONFIG_JSON_ENV_VAR": "{}", **variables}
    done = subprocess.run(
        [sys.executable, "-c", NOTICE, "120", "9"], env=env, capture_output=True, text=True, timeout=60
    )
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, said, "")


START = """
import atexit, os, signal, sys, threading, time
import anon_batch.cli as cli
def main():
    print("said")
    atexit.register(lambda: (os.kill(os.getpid(), signal.SIGTERM), time.sleep(0.05), print("cleaned up")))
    threading.Thread(target=lambda: (time.sleep(0.1), print("thread ended"))).start()
    sys.exit(int(sys.argv[1]) if sys.argv[1].isdigit() else sys.argv[1])
cli.main = main
cli.start()
"""


@pytest.mark.parametrize(("how", "code"), [("0", 0), ("10", 10), ("bye", 1)])
def test_a_command_that_has_ended_keeps_its_exit_code_whatever_arrives(how, code):
    done = subprocess.run([sys.executable, "-c", START, how], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.split("\n")) == (code, ["said", "thread ended", "cleaned up", ""])
    assert done.stderr == ("bye\n" if how == "bye" else "")


def test_a_library_that_raises_its_own_interrupt_hides_no_sigterm():
    program = """
import os, signal
from anon_batch.process import stoppable
with stoppable():
    try:
        os.kill(os.getpid(), signal.SIGTERM)
        signal.pause()
    except BaseException:
        raise KeyboardInterrupt from None
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=60)
    assert "TerminatedError: terminated by SIGTERM" in done.stderr
