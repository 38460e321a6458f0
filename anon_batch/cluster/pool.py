"""Hands shards to a pool of Ray actors, one at a time each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray
from ray.exceptions import RayError

from anon_batch.cluster.worker import ShardActor
from anon_batch.pipeline.run import Run
from anon_batch.records import ShardResult, ShardSpec

_PATIENCE_S = 60.0


class ShardPool:
    """Actors, each with its models loaded once.

    Only descriptors and results pass through Ray. An actor that dies, with its node or alone, is started again by Ray where
    there is room, and its shard with it, without end: what ends it is the attempts that each shard counts on storage.

    Args:
        run: what the actors are to do.
        workers: how many there are to be. Those that the cluster has no room for yet join when it has grown.
        note: hears what the user should know.
    """

    def __init__(self, run: Run, workers: int, note: Callable[[str], None]) -> None:
        self._run = run
        self._workers = workers
        self._note = note
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, ShardSpec]] = {}
        self._last_fault = "no worker could be started"

    def map(self, specs: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        """Has each shard processed once; yields the results as they come, in no order.

        `specs` is read as actors become free, so it may be long. Actors that find nothing more to do end at once: their
        room is needed where another has lost its node and waits for a place.

        Raises:
            RayError: Ray has given up all actors.
        """
        source = iter(specs)
        upcoming = next(source, None)
        if upcoming is not None:
            self._start()
        while upcoming is not None or self._running:
            while upcoming is not None and self._idle:
                actor = self._idle.pop()
                self._running[actor.process.remote(upcoming)] = (actor, upcoming)
                upcoming = next(source, None)
            if upcoming is None:
                self._release()
            yield from self._next_results()
        self._release()

    def _start(self) -> None:
        engine = self._run.config.engine
        options: dict[str, Any] = {
            "num_cpus": engine.num_cpus,
            "num_gpus": engine.num_gpus,
            "max_restarts": -1,
            "max_task_retries": -1,
            "scheduling_strategy": "SPREAD",
        }
        if engine.memory_bytes:
            options["memory"] = engine.memory_bytes
        remote = ray.remote(ShardActor).options(**options)
        for actor in [remote.remote(self._run) for _ in range(self._workers)]:
            self._starting[actor.ready.remote()] = actor

    def _release(self) -> None:
        for actor in [*self._idle, *self._starting.values()]:
            ray.kill(actor)
        self._idle.clear()
        self._starting.clear()

    def _next_results(self) -> Iterator[ShardResult]:
        waiting = [*self._running, *self._starting]
        done, _ = ray.wait(waiting, num_returns=1, timeout=_PATIENCE_S)
        if not done and not self._running:
            self._note(f"no worker could start yet; {len(self._starting)} wait for room in the cluster")
        for ref in done:
            if ref in self._starting:
                actor = self._starting.pop(ref)
                if self._answer(ref) is not None:
                    self._idle.append(actor)
                continue
            actor, spec = self._running.pop(ref)
            result = self._answer(ref)
            if result is None:
                yield ShardResult(spec, "error", error=self._last_fault)
            else:
                self._idle.append(actor)
                yield result
        if not (self._running or self._starting or self._idle):
            raise RayError(self._last_fault)

    def _answer(self, ref: Any) -> Any:
        """What an actor returned; None when Ray has given it up for good."""
        try:
            return ray.get(ref)
        except RayError as exc:
            self._last_fault = f"Ray has given up a worker: {str(exc).strip().splitlines()[0]}"
            self._note(self._last_fault)
            return None
