"""Dispatches shards to a pool of Ray actors, one shard at a time to each."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from typing import Any

import ray
from ray.exceptions import RayError

from anon_batch.cluster.worker import ShardActor
from anon_batch.pipeline.run import Run
from anon_batch.records import ShardResult, ShardSpec

_WAIT_S = 60.0


class ShardPool:
    """A pool of actors, each with its models loaded once.

    Only descriptors and results pass through Ray. Ray restarts an actor that died, alone or with its node, and retries its
    shard, without limit; the attempts that each shard counts on storage are the limit.

    Args:
        run: the run that the actors work on.
        workers: number of actors. Actors that do not fit into the cluster yet join when it grows.
        note: called with messages for the user.
    """

    def __init__(self, run: Run, workers: int, note: Callable[[str], None]) -> None:
        self._run = run
        self._workers = workers
        self._note = note
        self._starting: dict[Any, Any] = {}
        self._idle: list[Any] = []
        self._running: dict[Any, tuple[Any, ShardSpec]] = {}
        self._last_error = "no worker could be started"

    def map(self, specs: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        """Process each shard once; yield the results as they arrive, in any order.

        `specs` is consumed as actors become free, so it may be long. Idle actors are stopped when no shard is left, because
        another actor that lost its node may be waiting for their room.

        Raises:
            RayError: Ray gave up all actors.
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
        done, _ = ray.wait(waiting, num_returns=1, timeout=_WAIT_S)
        if not done and not self._running:
            self._note(
                f"no worker has started yet; {len(self._starting)} are waiting for free resources in the cluster, or end while "
                "they start, e.g. for their memory (Ray's logs say which)"
            )
        for ref in done:
            if ref in self._starting:
                actor = self._starting.pop(ref)
                if self._get(ref) is not None:
                    self._idle.append(actor)
                continue
            actor, spec = self._running.pop(ref)
            result = self._get(ref)
            if result is None:
                yield ShardResult(spec, "error", error=self._last_error)
            else:
                self._idle.append(actor)
                yield result
        if not (self._running or self._starting or self._idle):
            raise RayError(self._last_error)

    def _get(self, ref: Any) -> Any:
        """Return the result of an actor's call; None when Ray gave up the actor."""
        try:
            return ray.get(ref)
        except RayError as exc:
            self._last_error = f"Ray gave up a worker: {str(exc).strip().splitlines()[0]}"
            self._note(self._last_error)
            return None
