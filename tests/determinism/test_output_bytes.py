"""Methods render the same pixels as when the digests were stored, and in fresh processes under any conditions."""

from __future__ import annotations

import base64
import json
import sys
from pathlib import Path

import numpy as np
import pytest

sys.path.insert(0, str(Path(__file__).parent))
import output_digests

from tools import check_determinism

LEVELS = 2  # that means over cells may differ on another kind of CPU or with other versions of libraries


@pytest.mark.parametrize("method", output_digests.METHODS)
def test_pixels_are_those_of_the_stored_digests(method: str) -> None:
    stored = json.loads(output_digests.FILE.read_text(encoding="utf-8"))
    expected, actual = stored["methods"][method], output_digests.summary(method)
    if stored["libraries"] == output_digests.libraries():
        assert {name: own["sha256"] for name, own in actual.items()} == {
            n: own["sha256"] for n, own in expected.items()
        }
    for name, own in actual.items():
        before, after = (np.frombuffer(base64.b64decode(one["coarse"]), np.uint8) for one in (expected[name], own))
        assert np.abs(before.astype(int) - after).max() <= LEVELS, name


@pytest.mark.full
@pytest.mark.timeout(1800)
def test_fresh_processes_give_the_same_bytes(capsys: pytest.CaptureFixture[str]) -> None:
    assert check_determinism.main(["--processes", "24", "--at-once", "2"]) == 0, capsys.readouterr().out
