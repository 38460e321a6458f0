"""The benchmark of the mark prints what it costs."""

from __future__ import annotations

import re
import sys

import pytest

from benchmarks import marking


@pytest.mark.full
def test_it_prints_bytes_and_times(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "argv", ["marking", "--images", "1", "--repetitions", "1"])
    marking.main()
    said = capsys.readouterr().out
    assert "1 images with a generated face" in said
    assert re.search(r"bytes    \+4\d\d, ", said)
