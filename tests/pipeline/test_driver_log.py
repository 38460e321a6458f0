"""The driver's log in the ledger: it says what happened, names no image, stays small, and stops nothing."""

from __future__ import annotations

import stat
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import pytest
from pipeline_fixtures import Silent, job, shards, write_dataset
from typer.testing import CliRunner

from anon_batch.cli.app import app
from anon_batch.errors import (
    ExitCode,
    ObjectNotFoundError,
    RunStoppedError,
    StoppedError,
    StorageFullError,
    TerminatedError,
)
from anon_batch.formats.gates_json import Gates
from anon_batch.formats.ledger import Ledger
from anon_batch.formats.stats_json import StatsJson
from anon_batch.pipeline import driver_log
from anon_batch.pipeline.driver_log import DriverLog
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.observers import Observed
from anon_batch.pipeline.rounds import drive
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.storage import Storage, join

IDS = [f"Anna_{index}.png" for index in range(10)]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    write_dataset(str(tmp_path), IDS)
    Storage().put(join(str(tmp_path), f"src/{IDS[3]}"), b"no image")
    return open_run(job(str(tmp_path)), ())[0]


def read_log(run: Run) -> str:
    address = run.ledger.last_driver_log()
    return "" if address is None else Storage().read(address).decode()


def kept(run: Run, act: Callable[[Observed], None], interval_s: float = 60.0) -> tuple[str, list[str]]:
    """Return the log after a start of a driver that does something, and what the user was warned of."""
    warnings: list[str] = []
    with Observed(Silent(), [DriverLog(run, warnings.append, interval_s)]) as observed:
        observed.started(run, Counter(), resumed=False)
        act(observed)
        observed.finished(ExitCode.FINISHED, StatsJson({"rows": 0, "statuses": {}}), Gates(()))
    return read_log(run), warnings


def test_a_run_is_logged_from_its_start_to_its_end(run: Run) -> None:
    warnings: list[str] = []
    with Observed(Silent(), [DriverLog(run, warnings.append)]) as observed:
        observed.started(run, Counter(), resumed=False)
        observed.workers(2)
        drive(run, observed, lambda specs: map(ShardProcessor(run).process, specs))
        observed.finished(ExitCode.GATE_EXCEEDED, *finalize(run))
    text = read_log(run)
    assert warnings == []
    assert f"run {run.plan.run_id} of job 'release' starts: 0 of 10 rows are done; {run.release.uri}" in text
    assert "10 of 10 rows: 5 anonymized, 4 clean, 0 withheld, 1 failed; 3 shards by 2 workers in" in text
    assert "without an output: unsupported_format 1" in text
    assert "finished: 10 rows: 5 anonymized, 4 clean, 0 withheld, 1 failed" in text
    assert "gate failed exceeded: 10.0 % (limit: at most 1.0 %)" in text
    assert text.splitlines()[-1].endswith(
        f"ends: exit code 10: {ExitCode.GATE_EXCEEDED.meaning}; to do: {ExitCode.GATE_EXCEEDED.action}"
    )


def test_no_image_is_named_whatever_fails(run: Run) -> None:
    spec = shards(run)[0]
    texts = f"cannot read {IDS[0]} [s3://bucket/{IDS[0]}]"

    def act(observed: Observed) -> None:
        observed.shard(ShardResult(spec, "error", error=texts, code="transient_storage", place="s3://bucket"))
        observed.shard(ShardResult(spec, "exhausted", error=texts, first_without_output=IDS[0]))
        drive(run, observed, lambda specs: map(ShardProcessor(run).process, specs))
        raise RunStoppedError(f"stopped, because all rows failed. The first is {IDS[0]!r}")

    with pytest.raises(RunStoppedError):
        kept(run, act)
    text = read_log(run)
    assert f"shard {spec.name}: transient_storage s3://bucket; it is tried again" in text
    assert f"shard {spec.name}: no attempts left" in text
    assert "ends: run_stopped; exit code 2" in text
    assert "Anna" not in text


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("Anna"), "ends: unexpected ValueError < act (pipeline/test_driver_log.py:"),
        (KeyboardInterrupt(), "ends: stopped; exit code 130"),
        (
            StoppedError("the deadline of 2 h is reached"),
            "ends: stopped (the deadline of 2 h is reached); exit code 130",
        ),
        (TerminatedError("terminated by SIGTERM"), "ends: terminated (terminated by SIGTERM); exit code 75"),
        (StorageFullError("no space for Anna", "s3://bucket/Anna.png"), "ends: storage_full s3://bucket; exit code 2"),
    ],
    ids=lambda value: type(value).__name__,
)
def test_an_end_by_an_error_is_logged(run: Run, error: BaseException, line: str) -> None:
    def act(_: Observed) -> None:
        raise error

    with pytest.raises(type(error)):
        kept(run, act)
    text = read_log(run)
    assert line in text
    assert "Anna" not in text


def test_an_error_of_a_worker_that_nobody_expected_is_logged_by_its_place(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*_: object) -> None:
        raise ValueError(f"{IDS[0]} is odd")

    processor = ShardProcessor(run)
    monkeypatch.setattr(processor._planned, "read", broken)
    result = processor.process(shards(run)[0])
    assert IDS[0] in str(result.error)
    text, _ = kept(run, lambda observed: observed.shard(result))
    assert "unexpected ValueError < broken (pipeline/test_driver_log.py:" in text
    assert "Anna" not in text


def test_an_erased_image_is_not_in_the_ledger_any_more(tmp_path: Path) -> None:
    write_dataset(str(tmp_path), IDS)
    run, _ = open_run(job(str(tmp_path), run_key_file=None), ())

    def act(observed: Observed) -> None:
        spec = shards(run)[0]
        observed.shard(ShardResult(spec, "error", error=f"{IDS[0]} is odd", code="unexpected"))
        drive(run, observed, lambda specs: map(ShardProcessor(run).process, specs))
        finalize(run)

    kept(run, act)
    done = CliRunner().invoke(app, ["erase", run.release.uri, "--ids", IDS[0], "--yes"])
    assert done.exit_code == 0, done.output
    files = [path for path in Path(run.ledger.uri).rglob("*") if path.is_file()]
    assert any(path.parent.name == "logs" for path in files)
    assert not [path for path in files if IDS[0].encode() in path.read_bytes()]


def test_the_log_is_for_its_owner_only_and_holds_no_credentials(run: Run) -> None:
    text, _ = kept(run, lambda observed: observed.note("see https://user:secret@host/x?token=abc\n\x1b[31mred"))
    path = Path(str(run.ledger.last_driver_log()))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    assert stat.S_IMODE(path.parent.stat().st_mode) == 0o700
    assert "secret" not in text
    assert "abc" not in text
    assert "\x1b" not in text


def test_each_start_has_a_log_of_its_own(run: Run, tmp_path: Path) -> None:
    kept(run, lambda _: None)
    again, resumed = open_run(job(str(tmp_path)), ())
    assert resumed
    kept(again, lambda _: None)
    assert len(list(run.ledger.objects("logs"))) == 2


def test_a_long_log_keeps_its_beginning_and_its_end(run: Run) -> None:
    def act(observed: Observed) -> None:
        for number in range(1500):
            observed.note(f"note {number} " + "x" * 1000)

    text, _ = kept(run, act)
    assert "note 0 " in text
    assert "note 1499 " in text
    assert "lines left out ..." in text
    assert len(text) < 500_000


def test_the_log_is_written_again_while_the_run_goes_on(run: Run) -> None:
    def act(observed: Observed) -> None:
        observed.note("meanwhile")
        until = time.monotonic() + 10
        while "meanwhile" not in read_log(run):
            assert time.monotonic() < until
            time.sleep(0.02)

    kept(run, act, interval_s=0.05)


def test_a_line_about_the_progress_says_how_many_workers_there_were(run: Run) -> None:
    progress = driver_log._Progress()
    progress.begin(10, Counter(clean=2))
    result = ShardResult(ShardSpec(0, 4), "committed", {"clean": 4}, retries={"throttled": 3}, timings={"read": 1.25})
    for workers, expected in ((3, 3), (5, 5), (0, 5), (0, 0)):
        progress.set_workers(workers)
        progress.add(result)
        if (workers, expected) != (5, 5):
            line = progress.take()
            assert f" by {expected} workers in " in line
            assert "storage calls repeated: throttled " in line
            assert "seconds of all threads: read " in line
    assert progress.take() == ""


def test_a_ledger_that_takes_no_log_is_said_once_and_stops_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> None:
        raise StorageFullError("no space", "s3://ledger/logs")

    monkeypatch.setattr(Ledger, "put_driver_log", full)

    def act(observed: Observed) -> None:
        for number in range(5):
            observed.note(str(number))
            time.sleep(0.03)

    text, warnings = kept(run, act, interval_s=0.01)
    assert text == ""
    assert len(warnings) == 1
    assert "the driver's log cannot be kept in the ledger: no space" in warnings[0]


def test_a_store_that_hangs_holds_up_no_driver_that_must_stop(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_log, "_LAST_PUT_WHEN_STOPPED_S", 0.2)
    hangs = threading.Event()
    monkeypatch.setattr(Ledger, "put_driver_log", lambda *_: hangs.wait(30))
    begin = time.monotonic()
    with pytest.raises(TerminatedError):
        kept(run, _raise(TerminatedError("terminated by SIGTERM")))
    hangs.set()
    assert time.monotonic() - begin < 2


def test_an_observer_that_breaks_is_left_out_and_the_run_goes_on(run: Run) -> None:
    class Broken(DriverLog):
        def note(self, text: str) -> None:
            raise ObjectNotFoundError(f"{IDS[0]} is missing")

    heard: list[str] = []
    reporter = Silent()
    reporter.note = heard.append  # type: ignore[method-assign]
    with Observed(reporter, [Broken(run, heard.append), DriverLog(run, heard.append)]) as observed:
        observed.started(run, Counter(), resumed=False)
        observed.note("one")
        observed.note("two")
        observed.shard(ShardResult(ShardSpec(0, 4), "already_committed"))
    assert heard[0] == "one"
    assert heard[1].startswith("Broken is off: ObjectNotFoundError < note (pipeline/test_driver_log.py:")
    assert heard[1].endswith("the run goes on")
    assert heard[2:] == ["two"]


def _raise(error: Exception) -> Callable[[Observed], None]:
    def act(_: Observed) -> None:
        raise error

    return act
