"""A driver and its workers as forked processes: what Ray does for a run, in a fraction of the time.

The workers are the real ones (`ShardActor`, watchdog included), and so is everything that a driver does. Only the pool is
another: like Ray's it starts a worker that died again, and gives it the same shard.
"""

from __future__ import annotations

import contextlib
import ctypes
import functools
import importlib
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Iterable, Iterator
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

from PIL import Image

from anon_batch import plugins
from anon_batch.cluster.worker import ShardActor
from anon_batch.config import JobConfig
from anon_batch.errors import AnonBatchError
from anon_batch.pipeline import rounds
from anon_batch.pipeline.finalize import finalize
from anon_batch.pipeline.run import Run, open_run
from anon_batch.process import stoppable
from anon_batch.records import ShardResult, ShardSpec

_FORK = multiprocessing.get_context("fork")
_SIGNALS = {signal.SIGINT, signal.SIGTERM}
_PR_SET_PDEATHSIG = 1
_END_TOGETHER = ctypes.CDLL(None).prctl  # loaded before the fork


class _Worker:
    """One forked worker."""

    def __init__(self, run: Run, others: Iterable[_Worker]) -> None:
        self.pipe, theirs = _FORK.Pipe()
        inherited = [other.pipe for other in others]
        self.process = _FORK.Process(
            target=_work, args=(run, theirs, [self.pipe, *inherited], os.getpid()), daemon=True
        )
        # Because an error that a signal raises in a callback of fork is ignored.
        before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)
        self.process.start()
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        theirs.close()
        self.spec: ShardSpec | None = None

    def give(self, spec: ShardSpec) -> None:
        self.spec = spec
        try:
            self.pipe.send(spec)
        except OSError:
            return  # it died; `take` notices


def _work(run: Run, pipe: Connection, inherited: list[Connection], driver: int) -> None:
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGALRM, signal.SIG_DFL)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
    _END_TOGETHER(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != driver:
        os._exit(1)
    for other in inherited:
        other.close()
    actor = ShardActor(run)
    with contextlib.suppress(EOFError, OSError):  # the driver ended
        while True:
            pipe.send(actor.process(pipe.recv()))
    os._exit(0)


class ForkedPool:
    """Workers of one driver; see `anon_batch.cluster.pool.shard_pool`."""

    def __init__(self, run: Run, workers: int) -> None:
        self._run = run
        self._workers: list[_Worker] = []
        self._count = workers

    def map(self, specs: Iterable[ShardSpec]) -> Iterator[ShardResult]:
        source = iter(specs)
        while True:
            while len(self._workers) < self._count:
                self._workers.append(_Worker(self._run, self._workers))
            for worker in self._workers:
                if worker.spec is None and (spec := next(source, None)) is not None:
                    worker.give(spec)
            if not (busy := [worker for worker in self._workers if worker.spec is not None]):
                return
            for ready in wait([worker.pipe for worker in busy]):
                yield from self._take(next(worker for worker in busy if worker.pipe is ready))

    def _take(self, worker: _Worker) -> Iterator[ShardResult]:
        spec = worker.spec
        assert spec is not None
        try:
            result: ShardResult = worker.pipe.recv()
        except (EOFError, OSError):  # it died: another one gets its shard
            worker.process.join()
            self._workers.remove(worker)
            self._workers.append(another := _Worker(self._run, self._workers))
            another.give(spec)
            return
        worker.spec = None
        yield result


class _Report:
    """A reporter that writes every line into the driver's log."""

    def started(self, run: Run, done: Any, *, resumed: bool) -> None:
        print(f"{run.release.uri}: {done} done", file=sys.stderr)

    def shard(self, result: ShardResult) -> None:
        print(result.spec.name, result.outcome, dict(result.statuses), file=sys.stderr)

    def note(self, text: str) -> None:
        print(text, file=sys.stderr)


def warm_up() -> None:
    """Import what a run imports on its way, so that each forked process need not. No thread may be started here."""
    for module in ("jpeglib", "pyarrow.dataset", "scipy.fft", "fsspec.implementations.local"):
        importlib.import_module(module)
    Image.init()
    plugins._entry_points = functools.cache(plugins._entry_points)  # type: ignore[assignment]


def start_driver(config: JobConfig, workers: int, log: Path, disturb: Callable[[], None]) -> int:
    """Fork a driver as the leader of its own process group; return its process id.

    Args:
        config: the job.
        workers: number of its workers.
        log: where its messages and those of its workers go.
        disturb: called in the new process; changes what it and its workers run on.
    """
    sys.stderr.flush()
    before = signal.pthread_sigmask(signal.SIG_BLOCK, _SIGNALS)  # until the driver handles them
    pid = os.fork()
    if pid:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return pid
    code = 1
    try:
        os.setsid()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        file = os.open(log, os.O_CREAT | os.O_WRONLY | os.O_APPEND)
        os.dup2(file, 1)
        os.dup2(file, 2)
        sys.stdout = sys.stderr = os.fdopen(2, "w", buffering=1)
        rounds._PAUSE_AFTER_ERRORS_S = 0.05
        disturb()
        code = _drive(config, workers)
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(code)


def _drive(config: JobConfig, workers: int) -> int:
    """Do what `anon-batch run` does; return its exit code."""
    hint = "; run the same command again to resume"
    try:
        # As `anon-batch run` does, because a signal may arrive while the inner one ends.
        with stoppable(hint), stoppable(hint, config.engine.termination_notice_s) as notice:
            signal.pthread_sigmask(signal.SIG_UNBLOCK, _SIGNALS)
            run, resumed = open_run(config, ())
            _Report().started(run, run.release.parts(), resumed=resumed)
            rounds.drive(run, _Report(), ForkedPool(run, workers).map, notice.stops)
            return 0 if finalize(run).gates.passed else 10
    except AnonBatchError as exc:
        print(f"anon-batch: {exc}", file=sys.stderr)
        return int(exc.exit_code)
