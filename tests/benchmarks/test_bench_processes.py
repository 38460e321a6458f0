"""CPU time by process, against processes that are known to be busy."""

from __future__ import annotations

import subprocess
import sys
import time

import pytest

from benchmarks import processes
from benchmarks.processes import ProcessWatch, role_of

BUSY = "import time\nwhile time.process_time() < 0.6: pass"
ORPHAN = f"import subprocess, sys; subprocess.Popen([sys.executable, '-c', {BUSY!r}], start_new_session=True)"


def _total(watch: ProcessWatch, begin: float, end: float) -> float:
    return sum(watch.cpu_s(begin, end).values())


@pytest.mark.parametrize("program", [BUSY, ORPHAN], ids=["child", "orphan"])
def test_cpu_time_of_children_and_of_orphans_is_counted(program: str) -> None:
    with ProcessWatch() as watch:
        begin = time.time()
        subprocess.run([sys.executable, "-c", program], check=True)
        deadline = time.time() + 30
        while _total(watch, begin, watch.settle()) < 0.4 and time.time() < deadline:
            time.sleep(0.1)
        end = watch.settle()
        assert 0.4 <= _total(watch, begin, end) < 3
        time.sleep(1)
        assert _total(watch, end + 0.5, watch.settle()) < 0.2  # over by then


def test_others_are_those_that_nobody_here_started() -> None:
    begin = time.time()
    other = subprocess.Popen([sys.executable, "-c", "while True: pass"])
    try:
        time.sleep(0.3)
        with ProcessWatch() as watch:
            begin = time.time()
            time.sleep(1)
            end = watch.settle()
            assert watch.others_share(begin, end) > 0
            assert _total(watch, begin, end) == 0
    finally:
        other.kill()
        other.wait()


def test_a_series_is_read_between_its_looks() -> None:
    series = processes._Series(0, 0)
    for at, value in ((1, 2), (2, 2), (3, 2), (4, 6)):
        series.add(at, value)
    assert [series.value(at) for at in (-1, 0, 0.5, 1, 2.5, 3.5, 4, 9)] == [0, 0, 1, 2, 2, 4, 6, 6]


@pytest.mark.parametrize(
    ("command", "role"),
    [
        (["ray::ShardActor.process"], "worker"),
        (["ray::IDLE", "", ""], "worker"),
        (["/venv/bin/python", "-u", "/site/ray/_private/workers/default_worker.py", "--node-ip"], "worker"),
        (
            [
                "/site/ray/core/src/ray/raylet/raylet",
                "--python_worker_command=/x/ray/_private/workers/default_worker.py",
            ],
            "ray",
        ),
        (["/site/ray/core/src/ray/gcs/gcs_server"], "ray"),
        (["/venv/bin/python", "-u", "/site/ray/_private/log_monitor.py"], "ray"),
        (["/venv/bin/python", "-u", "/site/ray/dashboard/agent.py"], "ray"),
        (["/venv/bin/python", "/venv/bin/anon-batch", "run"], "command"),
        (["/venv/bin/python", "/venv/bin/deface", "/pictures"], "command"),
        ([], None),
    ],
)
def test_roles(command: list[str], role: str | None) -> None:
    assert role_of(command) == role
