"""Two workers process the same shards with their writes in any order, and either may die at any write: after a rerun, the
release is the one of an undisturbed run."""

from __future__ import annotations

import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pipeline_fixtures import Killed, job, on_storage, process_all, release, shards, verdict, write_dataset
from releases import release_of

from anon_batch.config import JobConfig
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import open_run
from anon_batch.pipeline.shard import ShardProcessor
from anon_batch.records import ShardSpec
from anon_batch.storage import Storage

IDS = [f"d/{n}.png" for n in range(6)]
LAYOUTS = ("files", "webdataset")
WAIT_S = 60


class Turns:
    """Let one of two workers make its next change in the order of `schedule`; alternate after its end."""

    def __init__(self, schedule: list[int]) -> None:
        self._schedule = schedule
        self._at = 0
        self._done: set[int] = set()
        self._changed = threading.Condition()

    def _next(self) -> int:
        wanted = self._schedule[self._at] if self._at < len(self._schedule) else self._at % 2
        return wanted if wanted not in self._done else 1 - wanted

    def take(self, worker: int, act: Any) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._next() == worker, WAIT_S), "the workers wait for each other"
            try:
                act()
            finally:
                self._at += 1
                self._changed.notify_all()

    def leave(self, worker: int) -> None:
        with self._changed:
            self._done.add(worker)
            self._changed.notify_all()


class ScheduledStorage(Storage):
    """Wait for the worker's turn before each change, and die before or after its `dies_at`-th change."""

    def __init__(self, config: JobConfig, turns: Turns, worker: int, dies_at: int | None, after: bool) -> None:
        super().__init__(config.storage)
        self._turns, self._worker, self._dies_at, self._after = turns, worker, dies_at, after
        self._changes = 0

    def _change(self, act: Any) -> None:
        self._changes += 1
        if self._dies_at is not None and self._changes >= self._dies_at:
            if self._after and self._changes == self._dies_at:
                self._turns.take(self._worker, act)
            raise Killed
        self._turns.take(self._worker, act)

    def put(self, uri: str, data: bytes) -> None:
        self._change(lambda: Storage.put(self, uri, data))

    def put_if_absent(self, uri: str, data: bytes) -> None:
        self._change(lambda: Storage.put_if_absent(self, uri, data))


@pytest.fixture(scope="module")
def undisturbed() -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as base:
        write_dataset(base, IDS)
        found = {layout: release_of(Storage(), release(_job(base, layout, layout)).release.uri) for layout in LAYOUTS}
        yield {"base": base, **found}


def _job(base: str, output: str, layout: str) -> JobConfig:
    return job(base, output, write__layout=layout, engine__shard_rows=3, engine__io_threads=1, engine__attempts=3)


DEATHS = st.tuples(st.one_of(st.none(), st.integers(1, 14)), st.booleans())


@settings(max_examples=60, deadline=None)
@given(
    st.sampled_from(LAYOUTS),
    st.lists(st.integers(0, 1), max_size=30),
    DEATHS,
    DEATHS,
    st.sampled_from([None, ShardSpec(1, 1), ShardSpec(0, 6)]),
)
def test_any_interleaving_and_any_deaths_end_in_the_same_release(
    undisturbed: dict[str, Any],
    layout: str,
    schedule: list[int],
    first: tuple[int | None, bool],
    second: tuple[int | None, bool],
    late: ShardSpec | None,
) -> None:
    with tempfile.TemporaryDirectory(dir=undisturbed["base"]) as folder:
        config = _job(undisturbed["base"], f"{Path(folder).name}/out", layout)
        run, _ = open_run(config, ())
        turns = Turns(schedule)
        processors = []
        for worker, (dies_at, after) in enumerate((first, second)):
            storage = ScheduledStorage(config, turns, worker, dies_at, after)
            processors.append(ShardProcessor(on_storage(run, storage)))
        faults: list[str] = []

        def work(worker: int) -> None:
            try:
                for spec in shards(run):
                    result = processors[worker].process(spec)
                    if result.outcome == "error":
                        faults.append(result.error or "")
            except Killed:
                pass
            finally:
                turns.leave(worker)

        threads = [threading.Thread(target=work, args=(worker,)) for worker in (0, 1)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join(WAIT_S)
            assert not thread.is_alive()
        assert faults == []
        run, _ = open_run(config, ())
        if late is not None:  # a late commit of a shard that was split differently, by a worker presumed dead
            assert ShardProcessor(run).process(late).outcome == "committed"
        process_all(run)
        finalize(run)
        assert release_of(Storage(), run.release.uri) == undisturbed[layout]
        result = verdict(run)
        assert result.faults == []
        assert (result.rows, result.accounted) == (6, 6)
        parts = len(list(Storage().list(f"{run.release.uri}/provenance")))
        assert len(list(Storage().list(f"{run.ledger.uri}/audit"))) == parts
        assert len(list(Storage().list(f"{run.release.uri}/shards"))) == (parts if layout == "webdataset" else 0)
