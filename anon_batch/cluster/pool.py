"""Dispatches tasks to a pool of Ray actors, one task at a time to each."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Iterator
from itertools import chain
from typing import Any, Generic, TypeVar

import ray
from ray.exceptions import RayError

from anon_batch.cluster.worker import ShardActor
from anon_batch.config import EngineConfig
from anon_batch.pipeline.run import Run
from anon_batch.records import ShardResult, ShardSpec

_NOTE_S = 60.0
_BEAT_S = 1.0
_WITHOUT_LIMIT = -1

_Task = TypeVar("_Task")
_Result = TypeVar("_Result")


class ActorPool(Generic[_Task, _Result]):
    """A pool of actors, each with its models loaded once.

    Only tasks and results pass through Ray. Ray restarts an actor that died, alone or with its node.

    Args:
        actor: class with the methods `ready` and `process`.
        argument: of its constructor.
        engine: resources of an actor.
        workers: number of actors. Actors that do not fit into the cluster yet join when it grows.
        note: called with messages for the user.
        lost: returns the result of a task that Ray gave up, for the task and why.
        task_retries: how often Ray repeats a task whose actor died; -1 for ever, because the task itself counts its attempts.
        hold: called about once a second with the number of actors that hold resources, and with the seconds for which some
            of them held resources before they were counted; what it raises ends `map`.
    """

    def __init__(
        self,
        actor: type,
        argument: Any,
        engine: EngineConfig,
        workers: int,
        note: Callable[[str], None],
        lost: Callable[[_Task, str], _Result],
        task_retries: int = _WITHOUT_LIMIT,
        hold: Callable[[int, float], None] = lambda actors, before_s: None,
    ) -> None:
        self._class, self._argument = actor, argument
        self._engine = engine
        self._workers = workers
        self._note = note
        self._lost = lost
        self._task_retries = task_retries
        self._hold = hold
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, _Task]] = {}
        self._last_error = "no worker could be started"

    def map(self, tasks: Iterable[_Task]) -> Iterator[_Result]:
        """Process each task once; yield the results as they arrive, in any order.

        `tasks` is consumed as actors become free, but for the first, so it may be long and end early. Idle actors are stopped
        when no task is left, because another actor that lost its node may be waiting for their room.

        Raises:
            RayError: Ray gave up all actors.
        """
        source = iter(tasks)
        first = next(source, None)
        if first is None:
            return
        self._start()
        source, more = chain([first], source), True
        while True:
            while more and self._idle:
                task = next(source, None)
                if task is None:
                    more = False
                else:
                    actor = self._idle.pop()
                    self._running[actor.process.remote(task)] = (actor, task)
            if not more:
                self._release()
            if not (more or self._running):
                return
            yield from self._next_results()

    def _start(self) -> None:
        options: dict[str, Any] = {
            "num_cpus": self._engine.num_cpus,
            "num_gpus": self._engine.num_gpus,
            "max_restarts": _WITHOUT_LIMIT,
            "max_task_retries": self._task_retries,
            "scheduling_strategy": "SPREAD",
        }
        if self._engine.memory_bytes:
            options["memory"] = self._engine.memory_bytes
        remote = ray.remote(self._class).options(**options)
        for actor in [remote.remote(self._argument) for _ in range(self._workers)]:
            self._starting[actor.ready.remote()] = actor

    def _release(self) -> None:
        for actor in [*self._idle, *self._starting.values()]:
            ray.kill(actor)
        self._idle.clear()
        self._starting.clear()
        self._hold(len(self._running), 0.0)

    def _next_results(self) -> Iterator[_Result]:
        done = self._wait()
        if not done and not self._running:
            self._note(
                f"no worker has started yet; {len(self._starting)} are waiting for free resources in the cluster, or end while "
                "they start, e.g. for their memory (Ray's logs say which)"
            )
        for ref in done:
            if ref in self._starting:
                actor = self._starting.pop(ref)
                if (start_s := self._get(ref)) is not None:
                    self._idle.append(actor)
                    self._hold(len(self._running) + len(self._idle), start_s)
                continue
            actor, task = self._running.pop(ref)
            result = self._get(ref)
            if result is not None:
                self._idle.append(actor)
                yield result
                continue
            if self._task_retries != _WITHOUT_LIMIT:  # because Ray restarts an actor after it has given up a task
                self._starting[actor.ready.remote()] = actor
            yield self._lost(task, self._last_error)
        if not (self._running or self._starting or self._idle):
            raise RayError(self._last_error)

    def _wait(self) -> list[Any]:
        """Return the calls that ended; none after a while."""
        until = time.monotonic() + _NOTE_S
        while True:
            self._hold(len(self._running) + len(self._idle), 0.0)
            done, _ = ray.wait([*self._running, *self._starting], num_returns=1, timeout=_BEAT_S)
            if done or time.monotonic() >= until:
                return list(done)

    def _get(self, ref: Any) -> Any:
        """Return the result of an actor's call; None when Ray gave up the actor."""
        try:
            return ray.get(ref)
        except RayError as exc:
            self._last_error = f"Ray gave up a worker: {str(exc).strip().splitlines()[0]}"
            self._note(self._last_error)
            return None


def shard_pool(
    run: Run,
    workers: int,
    note: Callable[[str], None],
    hold: Callable[[int, float], None] = lambda actors, before_s: None,
) -> ActorPool[ShardSpec, ShardResult]:
    """Return the pool of a run. Shards are repeated without limit, because each counts its attempts on storage.

    Args:
        run: the run that the actors work on.
        workers: number of actors.
        note: called with messages for the user.
        hold: see `ActorPool`.
    """

    def lost(spec: ShardSpec, why: str) -> ShardResult:
        return ShardResult(spec, "error", error=why, code="worker_lost")

    return ActorPool(ShardActor, run, run.config.engine, workers, note, lost, hold=hold)
