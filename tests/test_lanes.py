"""The lanes leave out, skip, fail and report what they say."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
CONFTEST = """
from lanes import Lanes, add_options as pytest_addoption

def pytest_configure(config):
    config.pluginmanager.register(Lanes(config))
"""
CASES = """
import time
import pytest
import external_data

def test_quick(): pass

@pytest.mark.accuracy
def test_accuracy(): pass

@pytest.mark.full
def test_full(): time.sleep(0.5)

def test_weights(): external_data.skip_without_weights("no_such_weights.onnx")

def test_other(): pytest.skip("another reason")
"""
INI = "[pytest]\nmarkers =\n    full\n    accuracy\n    ceph\n    gpu\n"


@pytest.fixture
def suite(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text(CONFTEST)
    (tmp_path / "test_cases.py").write_text(CASES)
    (tmp_path / "pytest.ini").write_text(INI)
    return tmp_path


def run(suite: Path, *options: str) -> tuple[int, str]:
    environment = {
        name: value for name, value in os.environ.items() if not name.startswith(("ANON_BATCH_TEST", "PYTEST"))
    }
    environment["PYTHONPATH"] = str(TESTS)
    command = [sys.executable, "-m", "pytest", "-q", *options]
    done = subprocess.run(command, cwd=suite, env=environment, capture_output=True, text=True, timeout=60, check=False)
    return done.returncode, done.stdout + done.stderr


def test_a_lane_counts_skips_by_reason_and_names_the_variables(suite: Path) -> None:
    code, text = run(suite, "-m", "not full")
    assert code == 0, text
    assert "1 passed, 2 skipped, 2 deselected" in text
    assert "    1  another reason" in text
    assert "    1  weights: ANON_BATCH_TEST_MODELS names no folder with no_such_weights.onnx" in text
    assert "ANON_BATCH_TEST_DATA is not set" in text


def test_required_weights_turn_their_skips_into_failures(suite: Path) -> None:
    code, text = run(suite, "--require-weights", "-m", "not full")
    assert code == 1, text
    assert "1 failed, 1 passed, 1 skipped" in text


def test_tests_that_begin_too_late_are_skipped_and_counted(suite: Path) -> None:
    code, text = run(suite, "--stop-after-s", "0.3", "test_cases.py::test_full", "test_cases.py::test_quick")
    assert code == 0, text
    assert "1 passed, 1 skipped" in text
    assert "    1  time: not reached before --stop-after-s" in text


def test_processes_get_whole_files(suite: Path) -> None:
    (suite / "test_more.py").write_text(CASES)
    code, text = run(suite, "-n", "2", "-vv")
    assert code == 0, text
    workers = {
        name: {line.split("]")[0] for line in text.splitlines() if line.startswith("[gw") and f" {name}::" in line}
        for name in ("test_cases.py", "test_more.py")
    }
    assert [len(own) for own in workers.values()] == [1, 1], text
