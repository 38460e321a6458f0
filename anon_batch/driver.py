"""Drives a run: rounds of shards on Ray until every row has its commit."""

from __future__ import annotations

import logging
import math
import os
import re
import socket
import time
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import islice
from typing import Any, Protocol

import ray

from anon_batch.config import EngineConfig, JobConfig
from anon_batch.errors import AnonBatchError, ConfigError, TransientStorageError
from anon_batch.pipeline.attempts import all_attempts
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.parts import committed, read_metas
from anon_batch.pipeline.plan import effective, is_exhausted, pending
from anon_batch.pipeline.preflight import preflight
from anon_batch.pipeline.run import Run, open_run
from anon_batch.pipeline.shard import commit_poison
from anon_batch.records import ShardResult, ShardSpec
from anon_batch.stats import ShardStats
from anon_batch.storage import Storage
from anon_batch.worker import ShardActor, result_from_json

_PAUSE_AFTER_ERRORS_S = 5.0
_TASKS_PER_ACTOR = 2
_CONNECT_TIMEOUT_S = 10.0


class RunStoppedError(AnonBatchError):
    """The run stopped before its end; what was committed stays, the same command resumes."""

    exit_code = 2


class Reporter(Protocol):
    """Hears how a run goes."""

    def started(self, run: Run, done: Counter[str], *, resumed: bool) -> None: ...
    def shard(self, result: ShardResult) -> None: ...
    def note(self, text: str) -> None: ...


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a run ended.

    Args:
        run: the run.
        summary: what stats.json holds.
        statuses: status -> rows.
        seconds: wall time of this invocation.
    """

    run: Run
    summary: dict[str, Any]
    statuses: dict[str, int]
    seconds: float

    @property
    def exit_code(self) -> int:
        return 1 if self.statuses.get("withheld", 0) + self.statuses.get("failed", 0) else 0


def run_job(config: JobConfig, reporter: Reporter) -> Outcome:
    """Runs a job to its end, or resumes it.

    Raises:
        UsageError: before the first picture: wrong configuration, manifest, models, or a different job's output.
        RunStoppedError: a worker met something that no retry mends; the message says what.
        TransientStorageError: storage kept failing; run the same command again to resume.
    """
    begin = time.monotonic()
    models = preflight(config)
    run, resumed = open_run(config, models)
    storage = run.storage()
    specs = effective(committed(storage, run.output))
    done: Counter[str] = Counter()
    for _, meta in read_metas(storage, run.output, specs):
        done.update(ShardStats.from_json(meta.stats).statuses)
    reporter.started(run, done, resumed=resumed)
    if done.total() < run.plan.total:
        with _ray(config.engine):
            _drive(run, storage, reporter)
    summary = finalize(run)
    return Outcome(run, summary, dict(summary["statuses"]), time.monotonic() - begin)


def _drive(run: Run, storage: Storage, reporter: Reporter) -> None:
    limit, plan = run.config.engine.attempts, run.plan
    while True:
        attempts = all_attempts(storage, run.ledger)
        exhausted = {spec for spec, begun in attempts.items() if is_exhausted(begun, run.invocation, limit)}
        todo = pending(plan.total, plan.shard_rows, committed(storage, run.output), exhausted)
        outcomes: Counter[str] = Counter()
        last_error = ""
        for wave in _waves(todo, run.config.engine.wave_shards):
            poison = [spec for spec in wave if spec.count == 1 and spec in exhausted]
            for spec in poison:
                reporter.shard(commit_poison(storage, run, spec))
            outcomes["committed"] += len(poison)
            for result in run_round(run, [spec for spec in wave if spec not in set(poison)]):
                outcomes[result.outcome] += 1
                last_error = _heed(result, reporter) or last_error
        if not outcomes:
            return
        if set(outcomes) == {"error"}:
            if all_attempts(storage, run.ledger) == attempts:  # nothing even began: trying for ever would not help
                raise TransientStorageError(
                    f"nothing can be committed: {last_error}; run the same command again to resume"
                )
            time.sleep(_PAUSE_AFTER_ERRORS_S)


def _heed(result: ShardResult, reporter: Reporter) -> str:
    reporter.shard(result)
    if result.outcome != "error":
        if result.outcome == "exhausted":
            reporter.note(
                f"shard {result.spec.name}: no attempt left, "
                + ("it is split" if result.spec.count > 1 else "the row ends as failed(poison)")
            )
        return ""
    error = result.error or "unknown error"
    if not result.retryable:
        raise RunStoppedError(
            f"stopped at shard {result.spec.name}: {error.strip()}; mend it and run the same command again to resume"
        )
    reporter.note(f"shard {result.spec.name} will be tried again: {error.strip().splitlines()[-1]}")
    return error.strip().splitlines()[-1]


def run_round(run: Run, specs: Sequence[ShardSpec]) -> Iterator[ShardResult]:
    """Has Ray Data process shards on a pool of actors; yields each result as it comes, in no order.

    Only descriptors and results pass through Ray's object store. Actors that die are restarted and their shards handed out
    again by Ray, without end: what ends it is the attempts that each shard counts on storage.
    """
    if not specs:
        return
    engine = run.config.engine
    items = [{"start": spec.start, "count": spec.count} for spec in specs]
    resources: dict[str, Any] = {"num_cpus": engine.num_cpus}
    if engine.num_gpus:
        resources["num_gpus"] = engine.num_gpus
    if engine.memory_bytes:
        resources["memory"] = engine.memory_bytes
    dataset = ray.data.from_items(items, override_num_blocks=len(items)).map_batches(
        ShardActor,
        fn_constructor_args=(run,),
        batch_size=1,
        batch_format="numpy",
        compute=_pool(engine, len(items)),
        **resources,
    )
    try:
        for batch in dataset.iter_batches(batch_size=None, batch_format="numpy", prefetch_batches=0):
            yield from (result_from_json(str(text)) for text in batch["result"])
    except ray.exceptions.RayError as exc:
        raise RunStoppedError(
            f"Ray ended the round: {str(exc).strip().splitlines()[-1]}; what is committed stays, run the same "
            "command again to resume"
        ) from exc


def _pool(engine: EngineConfig, shards: int) -> Any:
    most = engine.workers or _room(engine)
    most = max(1, min(most, shards))
    least = max(1, min(engine.min_workers or most, most))
    return ray.data.ActorPoolStrategy(min_size=least, max_size=most, max_tasks_in_flight_per_actor=_TASKS_PER_ACTOR)


def _room(engine: EngineConfig) -> int:
    """Actors that the cluster, as it is now, has room for."""
    have = ray.cluster_resources()
    room = [have.get("CPU", 0) / engine.num_cpus]
    if engine.num_gpus:
        room.append(have.get("GPU", 0) / engine.num_gpus)
    if min(room) < 1:
        raise ConfigError(
            f"the cluster has {have.get('CPU', 0):g} CPUs and {have.get('GPU', 0):g} GPUs: no room for a worker with "
            f"engine.num_cpus {engine.num_cpus:g} and engine.num_gpus {engine.num_gpus:g}"
        )
    return int(min(room))


@contextmanager
def _ray(engine: EngineConfig) -> Iterator[None]:
    """Ray for the time of a run: the cluster at `engine.address`, or one started here. One that runs already is used as is."""
    if ray.is_initialized():
        _quiet()
        yield
        return
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # nothing about a private dataset is reported anywhere
    os.environ.setdefault("RAY_BACKEND_LOG_LEVEL", "fatal")  # Ray's own warnings are not for the job's user
    local: dict[str, Any] = {} if engine.address else {"include_dashboard": False, "num_cpus": _local_cpus(engine)}
    _check_reachable(engine.address)
    try:
        with _without_stderr():
            ray.init(address=engine.address, logging_level=logging.ERROR, log_to_driver=False, **local)
    except (ConnectionError, RuntimeError, ValueError) as exc:
        raise ConfigError(f"engine.address {engine.address!r}: Ray cannot be reached ({exc})") from None
    try:
        _quiet()
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str | None) -> None:
    """Ray itself tries for minutes."""
    match = re.match(r"^(?:ray://)?(?P<host>[^:/]+):(?P<port>\d+)$", address or "")
    if match is None:
        return
    try:
        socket.create_connection((match["host"], int(match["port"])), timeout=_CONNECT_TIMEOUT_S).close()
    except OSError as exc:
        raise ConfigError(f"engine.address {address!r}: no Ray cluster answers there ({exc})") from None


@contextmanager
def _without_stderr() -> Iterator[None]:
    """Ray's C++ part greets on file descriptor 2; what is wrong it raises."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nowhere)


def _local_cpus(engine: EngineConfig) -> int | None:
    """A Ray that is started here offers what the asked workers reserve, even on a smaller machine; else what Ray finds."""
    return None if engine.workers is None else math.ceil(engine.workers * engine.num_cpus)


def _quiet() -> None:
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.execution_options.preserve_order = False
    logging.getLogger("ray.data").setLevel(logging.ERROR)


def _waves(specs: Iterable[ShardSpec], size: int) -> Iterator[list[ShardSpec]]:
    iterator = iter(specs)
    while wave := list(islice(iterator, size)):
        yield wave
