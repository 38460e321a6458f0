"""What fuzzing found is replayed; `make fuzz` itself works."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

import pytest

from fuzz.seeds import FOUND, found_inputs, seeds
from fuzz.targets import TARGETS

HAS_ATHERIS = importlib.util.find_spec("atheris") is not None


@pytest.mark.parametrize("target", TARGETS)
def test_what_fuzzing_found_breaks_no_promise(target: str) -> None:
    inputs = found_inputs(target)
    assert len(inputs) >= 20
    for path in inputs:
        TARGETS[target](path.read_bytes())


def test_what_fuzzing_found_is_small() -> None:
    assert sum(path.stat().st_size for path in FOUND.rglob("*")) < 2**20


def test_a_broken_promise_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fuzz.targets.REASONS", {})
    with pytest.raises(AssertionError, match="unsupported_format"):
        TARGETS["decode"](b"no image")


@pytest.mark.full
@pytest.mark.parametrize("target", ["metadata", "splice"])
def test_seeds_break_no_promise(target: str) -> None:
    for data in seeds(target):
        TARGETS[target](data)


@pytest.mark.full
@pytest.mark.skipif(
    not HAS_ATHERIS, reason="atheris is not installed (`pip install -e '.[fuzz]'`; it has wheels for few Pythons)"
)
@pytest.mark.parametrize("target", TARGETS)
def test_fuzzing_for_some_seconds_finds_nothing(target: str, tmp_path: Path) -> None:
    tests = Path(__file__).parent.parent
    done = subprocess.run(
        [sys.executable, "-m", "fuzz", target, "--seconds", "10", "--folder", str(tmp_path)],
        cwd=tests.parent,
        env={"PYTHONPATH": f"{tests}:{tests.parent}"},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert "Done " in done.stderr
