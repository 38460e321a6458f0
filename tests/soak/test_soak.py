"""A few rounds of the soak, in a process of its own, because it forks."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from soak.faults import FAULTS

TESTS = Path(__file__).parents[1]


@pytest.mark.parametrize("rounds", [2, pytest.param(20, marks=pytest.mark.full)])
def test_runs_that_are_disturbed_at_random_moments_end_as_if_they_were_not(rounds: int) -> None:
    path = os.pathsep.join([str(TESTS), str(TESTS.parent)])
    done = subprocess.run(
        [sys.executable, "-m", "soak", "--rounds", str(rounds)],
        env={**os.environ, "PYTHONPATH": path},
        capture_output=True,
        text=True,
        timeout=500,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "no row lost, doubled or leaked" in done.stdout
    named = [line for line in done.stdout.splitlines() if " injected; drivers ended" in line]
    assert [line[:42].strip() for line in named] == [fault.name for fault in FAULTS]
