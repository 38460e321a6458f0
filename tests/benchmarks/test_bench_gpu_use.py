"""Asking for a GPU's utilization, with a made-up nvidia-smi."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest

from benchmarks import gpu_use
from benchmarks.gpu_use import GpuUse

Smi = Callable[[str], Path]


@pytest.fixture
def smi(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Smi:
    """Puts a shell script as `nvidia-smi` before all else; it leaves its process and arguments in the file that is returned."""

    def put(script: str) -> Path:
        folder, told = tmp_path / "bin", tmp_path / "told"
        folder.mkdir()
        (folder / "nvidia-smi").write_text(f"#!/bin/sh\necho $$ $* > {told}\n{script}\n")
        (folder / "nvidia-smi").chmod(0o755)
        monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
        return told

    return put


def _until(use: GpuUse, samples: int) -> None:
    end = time.monotonic() + 20
    while len(use._samples) < samples:
        assert time.monotonic() < end, use._samples
        time.sleep(0.01)


def test_idle_is_what_is_not_busy_in_the_mean_between_two_times(smi: Smi) -> None:
    told = smi("while :; do echo 40; echo ' 60'; sleep 0.02; done")
    begin = time.time()
    with GpuUse("GPU-1") as use:
        _until(use, 10)
    end = time.time()
    pid, _, arguments = told.read_text().strip().partition(" ")
    assert arguments == "-i GPU-1 --query-gpu=utilization.gpu --format=csv,noheader,nounits -lms 200"
    assert not psutil.pid_exists(int(pid))
    use._samples = use._samples[:10]
    assert use.idle_share(begin, end) == pytest.approx(0.5)
    assert use.idle_share(use._samples[0][0], use._samples[0][0]) == pytest.approx(0.6)  # of this sample alone
    assert use.idle_share(begin - 10, begin) is None


def test_single_gaps_are_left_out_and_long_ones_make_it_unknown(smi: Smi) -> None:
    smi("echo 100; echo '[N/A]'; echo 0; exec sleep 60")
    begin = time.time()
    with GpuUse() as use:
        _until(use, 2)
    end = time.time()
    assert use.idle_share(begin, end) == pytest.approx(0.5)
    assert use.idle_share(begin, end + 2.5) is None
    assert use.idle_share(begin - 2.5, end) is None


@pytest.mark.parametrize(
    "script",
    [
        "while :; do echo '[N/A]'; sleep 0.02; done",
        "echo 'No devices were found'; exit 6",
        "exit 9",
    ],
)
def test_where_it_says_nothing_idle_is_unknown(script: str, smi: Smi) -> None:
    told = smi(script)
    begin = time.time()
    with GpuUse() as use:
        while not told.exists() or not told.read_text().endswith("\n"):
            time.sleep(0.01)
        time.sleep(0.1)
    assert use.idle_share(begin, time.time()) is None
    assert not psutil.pid_exists(int(told.read_text().split()[0]))


def test_without_nvidia_smi_idle_is_unknown(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    begin = time.time()
    with GpuUse() as use:
        pass
    assert use.idle_share(begin, time.time()) is None


def test_one_that_does_not_end_when_asked_is_ended(smi: Smi, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gpu_use, "_PATIENCE_S", 0.2)
    told = smi("trap '' TERM\nwhile :; do echo 1; sleep 0.02; done")
    with GpuUse() as use:
        _until(use, 1)
    assert not psutil.pid_exists(int(told.read_text().split()[0]))


def test_a_run_that_fails_ends_it_too(smi: Smi) -> None:
    told = smi("while :; do echo 1; sleep 0.02; done")

    def fail() -> None:
        with GpuUse() as use:
            _until(use, 1)
            raise RuntimeError("of the run")

    with pytest.raises(RuntimeError, match="of the run"):
        fail()
    assert not psutil.pid_exists(int(told.read_text().split()[0]))
