"""Freed memory stays with the process: an image as large as the last one needs no fresh pages."""

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
