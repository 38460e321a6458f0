"""`anon-batch run`: gates and exit codes. Shards are processed in this process, without Ray."""

from __future__ import annotations

import contextlib
import json
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from pipeline_fixtures import process_all, write_dataset
from ray.exceptions import RayError

from anon_batch import cli
from anon_batch.cluster import driver
from anon_batch.errors import RunStoppedError, TransientStorageError
from anon_batch.pipeline.run import Run

Main = Callable[..., tuple[int, str, str]]


@pytest.fixture
def main(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Main:
    """Exit code, output, errors of the entry point."""

    @contextlib.contextmanager
    def processed(run: Run, *_: Any) -> Iterator[None]:
        process_all(run)
        yield

    monkeypatch.setattr(driver, "_processed", processed)

    def call(*args: str) -> tuple[int, str, str]:
        monkeypatch.setattr(sys, "argv", ["anon-batch", *args])
        with pytest.raises(SystemExit) as ended:
            cli.main()
        said = capsys.readouterr()
        assert "Traceback" not in said.err
        return int(ended.value.code or 0), said.out, " ".join(said.err.split())

    return call


@pytest.fixture
def run_args(tmp_path: Path) -> list[str]:
    """Arguments of a run of four images, of which `break_sources` may break some."""
    write_dataset(str(tmp_path), [f"{n}.png" for n in range(4)])
    args = ["run", "--manifest", f"{tmp_path}/m.parquet", "--output", f"{tmp_path}/out"]
    return [*args, "--detector", "manifest", "--method", "solid"]


def break_sources(folder: Path, *numbers: int) -> None:
    for number in numbers:
        (folder / f"src/{number}.png").write_bytes(b"\x89PNG\r\n\x1a\nbroken")


def test_a_run_within_its_gates_returns_0(main: Main, run_args: list[str], tmp_path: Path) -> None:
    code, out, _ = main(*run_args)
    assert code == 0
    assert "gate     passed   failed: 0.0 %, 0 of 4 rows (limit: at most 1.0 %)" in out
    gates = json.loads((tmp_path / "out/gates.json").read_text())
    assert gates["passed"] is True
    assert [gate["name"] for gate in gates["gates"]] == ["withheld", "failed"]


def test_a_gate_that_is_exceeded_returns_10_and_is_shown_everywhere(
    main: Main, run_args: list[str], tmp_path: Path
) -> None:
    break_sources(tmp_path, 1)
    line = "gate     EXCEEDED failed: 25.0 %, 1 of 4 rows (limit: at most 1.0 %)"
    code, out, err = main(*run_args)
    assert (code, line in out, "column `reason`" in err) == (10, True, True)
    output = f"{tmp_path}/out"
    code, out, _ = main("status", output)
    assert (code, line in out) == (0, True)
    code, out, _ = main("verify", output)
    assert (code, line in out) == (0, True)
    code, out, _ = main("verify", output, "--json")
    assert (code, json.loads(out)["gates_passed"]) == (0, False)
    assert main("report", output)[0] == 0
    assert "exceeded" in (tmp_path / "out/report/index.html").read_text()


def test_finished_exit_zero_turns_10_into_0(main: Main, run_args: list[str], tmp_path: Path) -> None:
    break_sources(tmp_path, 1)
    code, out, _ = main(*run_args, "--finished-exit-zero", "--json")
    summary = json.loads(out)
    assert (code, summary["exit_code"], summary["gates_passed"]) == (0, 10, False)


def test_a_changed_gate_is_evaluated_without_another_run(main: Main, run_args: list[str], tmp_path: Path) -> None:
    break_sources(tmp_path, 1)
    assert main(*run_args)[0] == 10
    parts = sorted((tmp_path / "out/provenance").iterdir())
    times = [part.stat().st_mtime_ns for part in parts]
    assert main(*run_args, "--set", "gates.failed=0.5")[0] == 0
    assert main("verify", f"{tmp_path}/out")[0] == 0
    assert main(*run_args, "--set", "gates={failed: null, recall: 0.9}")[0] == 0
    code, out, _ = main(*run_args, "--set", "gates={failed: null, residual: 0.1}")
    assert code == 10
    assert "EXCEEDED residual: not measured: the job has no residual check" in out
    assert [part.stat().st_mtime_ns for part in parts] == times


def test_rows_that_all_fail_alike_return_2(main: Main, run_args: list[str], tmp_path: Path) -> None:
    break_sources(tmp_path, 0, 1, 2, 3)
    code, _, err = main(*run_args, "--finished-exit-zero")
    assert code == 2
    assert "No row was published: all 4 rows ended as failed(truncated): the file ends early" in err
    assert main(*run_args)[0] == 2, "a resumed run says the same"


def test_rows_that_fail_for_two_reasons_exceed_a_gate(main: Main, run_args: list[str], tmp_path: Path) -> None:
    break_sources(tmp_path, 0, 1, 2)
    (tmp_path / "src/3.png").unlink()
    assert main(*run_args)[0] == 10


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (TransientStorageError("the store is away", "s3://b/x"), 75, "the store is away [s3://b/x]"),
        (RunStoppedError("stopped at shard 0-4: access denied"), 2, "access denied"),
    ],
)
def test_errors_that_end_a_run(
    main: Main, run_args: list[str], monkeypatch: pytest.MonkeyPatch, error: Exception, code: int, said: str
) -> None:
    def fail(*_: Any) -> None:
        raise error

    monkeypatch.setattr(driver, "_processed", fail)
    found, out, err = main(*run_args)
    assert (found, said in err, out) == (code, True, "")


def test_a_lost_cluster_returns_75(main: Main, run_args: list[str], monkeypatch: pytest.MonkeyPatch) -> None:
    class Pool:
        def __init__(self, *_: object) -> None: ...

        def map(self, specs: object) -> Any:
            raise RayError("all workers died")

    monkeypatch.undo()
    monkeypatch.setattr(driver, "connected", lambda *_: contextlib.nullcontext())
    monkeypatch.setattr(driver, "worker_count", lambda *_, **__: 1)
    monkeypatch.setattr(driver, "describe_cluster", lambda: "a cluster")
    monkeypatch.setattr(driver, "shard_pool", Pool)
    monkeypatch.setattr(sys, "argv", ["anon-batch", *run_args])
    with pytest.raises(SystemExit) as ended:
        cli.main()
    assert ended.value.code == 75
