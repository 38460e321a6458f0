"""A run whose every row fails for one reason stops; its rows are tried again once the cause is gone."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Generator, Iterable
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
from pipeline_fixtures import Silent, job, shards, verdict, write_dataset

from anon_batch.anonymize.checks.structure import Structure
from anon_batch.anonymize.methods.solid import Solid
from anon_batch.config import JobConfig
from anon_batch.detect.from_manifest import ManifestBoxes
from anon_batch.errors import RunStoppedError
from anon_batch.pipeline.finalize import Finished, finalize
from anon_batch.pipeline.rounds import drive
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.pipeline.uniform_failures import UniformFailures
from anon_batch.records import ShardResult, ShardSpec

ROWS, LIMIT = 40, 12


@pytest.fixture
def dataset(tmp_path: Path) -> Path:
    """Forty images of which each second has a face; shards of four rows."""
    write_dataset(str(tmp_path), [f"{number:02d}.png" for number in range(ROWS)])
    return tmp_path


def config(folder: Path, **overrides: Any) -> JobConfig:
    return job(str(folder), engine__stop_after_uniform_failures=LIMIT, engine__attempts=1, **overrides)


def start(job: JobConfig) -> tuple[Finished | None, str, Run]:
    """Run a job in this process, as a driver would; return what it wrote, or the message that it stopped with."""
    run, _ = open_run(job, ())
    processor = ShardProcessor(run)

    def dispatch(specs: Iterable[ShardSpec]) -> Generator[ShardResult]:
        for spec in specs:
            yield processor.process(spec)

    try:
        drive(run, Silent(), dispatch)
    except RunStoppedError as exc:
        return None, str(exc), run
    return finalize(run), "", run


def fail(*_: object, **__: object) -> Any:
    raise RuntimeError("broken plug-in")


def remove_sources(folder: Path, _: pytest.MonkeyPatch) -> None:
    shutil.move(folder / "src", folder / "elsewhere")


def cut_sources(folder: Path, _: pytest.MonkeyPatch) -> None:
    for path in (folder / "src").iterdir():
        path.write_bytes(path.read_bytes()[:60])


def break_detector(_: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr(ManifestBoxes, "detections", fail)


def break_encoder(_: Path, patch: pytest.MonkeyPatch) -> None:
    patch.setattr("anon_batch.anonymizer.encode_clean", fail)
    patch.setattr("anon_batch.anonymizer.encode_anonymized", fail)


@pytest.mark.parametrize(
    ("break_all", "reason"),
    [
        (remove_sources, "failed(source_not_found): no object at the address"),
        (cut_sources, "failed(truncated)"),
        (break_detector, "withheld(detect)"),
        (break_encoder, "withheld(encode)"),
    ],
)
def test_a_run_that_fails_alike_stops_and_tries_these_rows_again(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, break_all: Callable[[Path, pytest.MonkeyPatch], None], reason: str
) -> None:
    shutil.copytree(dataset / "src", dataset / "kept")
    with monkeypatch.context() as patch:
        break_all(dataset, patch)
        _, said, run = start(config(dataset))
        assert f"all 12 rows so far ended as {reason}" in said
        assert "The first is '00.png'; the ledger's audit has the details. To fix it: " in said
        assert "run the same command again" in said
        assert "engine.stop_after_uniform_failures=0" in said
        assert str(dataset) not in said, "addresses of sources belong into the ledger"
        assert run.release.parts() == []
        _, again, _ = start(config(dataset))
        assert "all 12 rows" in again, "rows of an earlier start do not count"
    shutil.rmtree(dataset / "src", ignore_errors=True)
    shutil.copytree(dataset / "kept", dataset / "src")
    finished, said, run = start(config(dataset))
    assert finished is not None, said
    assert [finished.stats.statuses[status] for status in ("anonymized", "clean")] == [ROWS // 2, ROWS // 2]
    assert verdict(run).faults == []


def only_faces(folder: Path) -> JobConfig:
    """A job of the twenty images that have a face."""
    table = pq.read_table(folder / "m.parquet")
    pq.write_table(table.take(list(range(0, ROWS, 2))), folder / "m.parquet")
    return config(folder, anonymize__face__fallback=[])


@pytest.mark.parametrize(("broken", "how"), [(Solid, "render"), (Structure, "check")])
def test_methods_and_checks_that_always_raise_stop_a_run(
    dataset: Path, monkeypatch: pytest.MonkeyPatch, broken: type, how: str
) -> None:
    monkeypatch.setattr(broken, how, fail)
    _, said, run = start(only_faces(dataset))
    assert "all 12 rows so far ended as withheld(anonymize)" in said
    assert run.release.parts() == []


@pytest.mark.parametrize("limit", [0, None])
def test_zero_and_null_switch_it_off(dataset: Path, monkeypatch: pytest.MonkeyPatch, limit: int | None) -> None:
    remove_sources(dataset, monkeypatch)
    finished, _, _ = start(job(str(dataset), engine__stop_after_uniform_failures=limit, engine__attempts=1))
    assert finished is not None
    assert finished.stats.statuses["failed"] == ROWS


def test_two_reasons_do_not_stop_a_run(dataset: Path) -> None:
    for number, path in enumerate(sorted((dataset / "src").iterdir())):
        path.unlink() if number % 8 else path.write_bytes(b"no image")
    finished, _, _ = start(config(dataset))
    assert finished is not None
    assert finished.stats.summary["reasons"]["failed"] == {"source_not_found": 35, "unsupported_format": 5}


@pytest.mark.parametrize("good", [0, 5, 11])
def test_one_good_row_among_the_first_lets_a_run_go_on(dataset: Path, good: int) -> None:
    for path in (dataset / "src").iterdir():
        if path.name != f"{good:02d}.png":
            path.unlink()
    finished, _, _ = start(config(dataset))
    assert finished is not None
    assert finished.stats.statuses["failed"] == ROWS - 1


def test_a_run_with_fewer_rows_than_the_limit_finishes(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    remove_sources(dataset, monkeypatch)
    finished, _, run = start(job(str(dataset), engine__shard_rows=ROWS, engine__stop_after_uniform_failures=ROWS + 1))
    assert finished is not None
    assert finished.stats.statuses["failed"] == ROWS
    assert verdict(run).faults == []


def test_commits_of_an_earlier_start_stay(dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run, _ = open_run(config(dataset), ())
    done = shards(run)[:2]
    for spec in done:
        assert ShardProcessor(run).process(spec).outcome == "committed"
    parts = {path.name: path.read_bytes() for path in (dataset / "out/provenance").iterdir()}
    remove_sources(dataset, monkeypatch)
    _, said, run = start(config(dataset))
    assert "all 12 rows so far" in said
    assert "The first is '08.png'" in said
    assert {path.name: path.read_bytes() for path in (dataset / "out/provenance").iterdir()} == parts


def failed(start: int, count: int, reason: str = "decode", rows: int | None = None) -> ShardResult:
    lost = count if rows is None else rows
    return ShardResult(
        ShardSpec(start, count), "committed", reasons={reason: lost}, first_without_output=f"{start}.png"
    )


def reached(alike: UniformFailures, results: list[ShardResult]) -> list[bool]:
    """Return after each result whether the run should stop."""
    said = []
    for result in results:
        alike.add(result)
        said.append(alike.reached)
    return said


def test_results_of_several_workers_arrive_in_any_order(dataset: Path) -> None:
    run, _ = open_run(config(dataset), ())
    alike = UniformFailures(LIMIT)
    assert reached(alike, [failed(start, 4) for start in (8, 0, 4)]) == [False, False, True]
    assert "The first is '0.png'" in str(alike.stop(run.release))


def test_a_shard_in_flight_may_show_that_not_all_fail() -> None:
    alike = UniformFailures(LIMIT)
    assert reached(alike, [failed(0, LIMIT), failed(LIMIT, 4), failed(20, 4, rows=3)]) == [True, True, False]


def test_shards_of_another_driver_do_not_count() -> None:
    alike = UniformFailures(LIMIT)
    assert reached(alike, [ShardResult(ShardSpec(0, 400), "already_committed"), failed(400, LIMIT)]) == [False, True]


def test_a_shard_with_published_rows_ends_the_watch() -> None:
    assert reached(UniformFailures(LIMIT), [failed(0, 100, rows=99), failed(100, 400)]) == [False, False]


def test_shards_that_always_lose_their_worker_stop_a_run(dataset: Path) -> None:
    run, _ = open_run(config(dataset), ())
    alike = UniformFailures(LIMIT)
    lost = [ShardResult(ShardSpec(start, 512), "exhausted") for start in range(0, 5120, 512)]
    assert reached(alike, lost) == [*[False] * 9, True]
    said = str(alike.stop(run.release))
    assert "no attempt at the first 10 shards (5,120 rows, the first is row 0) could be committed" in said
    good = ShardResult(ShardSpec(5120, 512), "committed", reasons=Counter())
    assert not any(reached(UniformFailures(LIMIT), [good, *lost]))
